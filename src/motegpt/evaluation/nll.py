"""Log-probabilities of texts, and the loss on evaluation data, in nats and double precision on every engine.

Sequences longer than the block are evaluated in windows that overlap by half. Each token counts in the first
window that contains it, so every token after the first window has at least half a block of context.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

from motegpt.config.html import table
from motegpt.config.text import concise, shortened
from motegpt.data.ids.documents import IdDocuments
from motegpt.data.plan import Batch
from motegpt.data.sequences import TokenSequences, mask_of, positions, take
from motegpt.engines import averaged
from motegpt.errors import DataError, MotegptError, PrefixError
from motegpt.generation.request import prompt_of
from motegpt.ngrams.counts import KNESER_NEY, UNIFORM, baselines, uniform_loss

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from motegpt.data.tokenizers import Tokenizer
    from motegpt.engines.base import Engine, LanguageModel
    from motegpt.ngrams.average import Average

MAX_LOGITS = 2**20  # per forward pass
MAX_SOFTMAX_LOGITS = 2**17  # converted to double precision at a time: 1 MB, which fits the cache
MAX_ROWS = 100  # of a table of scores
MODEL, GPT_ALONE = "model", "gpt"


@dataclass(frozen=True)
class Score:
    """The log-probability of a text under a model.

    log_probability: of the text and its end token, in nats; tokens: number of terms in that sum; characters:
    of the text, plus one for the end token (texts of a stream have none).
    """

    text: str
    log_probability: float
    tokens: int
    characters: int

    def __repr__(self) -> str:
        return concise(
            type(self).__name__,
            {
                "text": self.text,
                "log_probability": self.log_probability,
                "bits_per_character": self.bits_per_character,
            },
        )

    def _repr_html_(self) -> str:
        return Scores([self])._repr_html_()

    @property
    def bits_per_character(self) -> float:
        """-log₂ p per character."""
        return -self.log_probability / math.log(2) / self.characters


class Scores(list[Score]):
    """A list of scores, which a notebook shows as a table."""

    def _repr_html_(self) -> str:
        header = ["text", "log-probability (nats)", "bits per character"]
        rows = [[s.text, f"{s.log_probability:.3f}", f"{s.bits_per_character:.3f}"] for s in self[:MAX_ROWS]]
        return table(header, rows, f"{len(self):,} texts, the first {MAX_ROWS}" * (len(self) > MAX_ROWS))


def score_texts(engine: LanguageModel, tokenizer: Tokenizer, texts: Sequence[str]) -> Scores:
    """The log-probability of each text, at temperature 1 and without filters.

    A text with characters outside the vocabulary has log-probability -inf and 0 tokens.
    """
    sequences = [sequence_or_none(text, tokenizer) for text in texts]
    nll = iter(token_nll(engine, [sequence for sequence in sequences if sequence is not None]))
    scores = Scores()
    for text, sequence in zip(texts, sequences, strict=True):
        total, tokens = (-math.inf, 0) if sequence is None else (-float(next(nll).sum()), len(sequence) - 1)
        _check_finite(total if tokens else 0.0)
        scores.append(Score(text, total, tokens, character_count(text, tokenizer)))
    return scores


def sequence_of(text: str, tokenizer: Tokenizer) -> list[int]:
    """The ids fed before sampling without a prefix, then the text, then the end token if there is one.

    A text of ids is the whole sequence; PrefixError if there is no target in it.
    """
    if tokenizer.is_ids:
        ids = tokenizer.encode(text)
        if len(ids) < 2:
            raise PrefixError(f"text {shortened(text)}: expected at least 2 ids, an input and a target")
        return ids
    end = [] if tokenizer.stop is None else [tokenizer.stop]
    return [*prompt_of("", tokenizer), *tokenizer.encode(text), *end]


def evaluation_sequences(documents: Sequence[str], tokenizer: Tokenizer) -> Sequence[Sequence[int]]:
    """sequence_of for documents or a stream, in flat memory; DataError for an unknown character."""
    if not tokenizer.is_stream or tokenizer.is_ids:
        return tokenizer.encode_documents(documents)
    stream = tokenizer.encode_stream(documents)
    return [memoryview(array(stream.format, [*prompt_of("", tokenizer), *stream]))]


def sequence_or_none(text: str, tokenizer: Tokenizer) -> list[int] | None:
    """sequence_of, or None for a text with characters outside the vocabulary."""
    try:
        return sequence_of(text, tokenizer)
    except PrefixError:
        return None


def character_count(text: str, tokenizer: Tokenizer) -> int:
    """Characters of a text, plus one for the end token if there is one; at least 1. Of ids, the targets."""
    if tokenizer.is_ids:
        return max(1, len(text.split()) - 1)
    return max(1, len(text) + (tokenizer.stop is not None))


def mean_nll(
    engine: LanguageModel, sequences: Sequence[Sequence[int]], windows: Iterable[Window] | None = None
) -> float:
    """The mean loss over all targets of the sequences, or over those of some windows, in nats per token.

    Targets that a mask leaves out do not count.
    """
    sums, targets, mask = [], 0, mask_of(sequences)
    for window, nll in nll_by_window(engine, sequences, windows):
        counted = nll if mask is None else nll[counted_in(sequences, window)]
        sums.append(float(counted.sum()))
        targets += len(counted)
    return math.fsum(sums) / targets


def counted_in(sequences: Sequence[Sequence[int]], window: Window) -> NDArray[np.bool_]:
    """Which targets of a window of masked sequences count in the loss."""
    import numpy as np

    assert isinstance(sequences, TokenSequences)
    first = sequences.offsets[window.sequence] + 1
    return np.asarray(sequences.mask)[first + window.first : first + window.end].astype(bool)


def counted_windows(sequences: Sequence[Sequence[int]], block_size: int) -> Iterator[tuple[Window, int]]:
    """The windows of all sequences that have targets which count, and how many."""
    for window in windows_in(sequences, block_size):
        if count := count_in(sequences, window):
            yield window, count


def count_in(sequences: Sequence[Sequence[int]], window: Window) -> int:
    """How many targets of a window count in the loss."""
    if not isinstance(sequences, TokenSequences) or sequences.mask is None:
        return window.targets
    before, first = sequences.counted_before, sequences.offsets[window.sequence] + 1
    return int(before[first + window.end] - before[first + window.first])


def token_nll(engine: LanguageModel, sequences: Sequence[Sequence[int]]) -> list[NDArray[np.float64]]:
    """-log p of every target of every sequence, in nats."""
    import numpy as np

    result = [np.empty(len(sequence) - 1) for sequence in sequences]
    for window, nll in nll_by_window(engine, sequences):
        result[window.sequence][window.first : window.end] = nll
    return result


class Window(NamedTuple):
    """Inputs start … end - 1 of one sequence (by index); the targets from `first` on count in this window."""

    sequence: int
    start: int
    first: int
    end: int

    @property
    def targets(self) -> int:
        """The number of targets that count in this window."""
        return self.end - self.first


def windows_in(sequences: Iterable[Sequence[int]], block_size: int) -> Iterator[Window]:
    """The windows of all sequences, in order; every target counts in exactly one."""
    for i, sequence in enumerate(sequences):
        for window in windows_of(len(sequence) - 1, block_size):
            yield Window(i, *window)


def windows_of(targets: int, block_size: int) -> Iterator[tuple[int, int, int]]:
    """(start, first, end) of each window of one sequence."""
    done, end = 0, min(targets, block_size)
    while done < end:
        yield max(0, end - block_size), done, end
        done, end = end, min(targets, end + max(1, block_size // 2))


def nll_by_window(
    engine: LanguageModel, sequences: Sequence[Sequence[int]], windows: Iterable[Window] | None = None
) -> Iterator[tuple[Window, NDArray[np.float64]]]:
    """Each window (default: all) with -log p of its targets."""
    import numpy as np

    if windows is None:
        windows = windows_in(sequences, engine.model.block_size)
    for group in _groups(windows, max(1, MAX_LOGITS // engine.model.vocab_size)):
        pieces = [sequences[window.sequence][window.start : window.end + 1] for window in group]
        logits = np.concatenate(engine.logits(Batch.of(pieces, "tokens")))
        nll = _nll(logits, [target for piece in pieces for target in piece[1:]])
        ends = accumulate(len(piece) - 1 for piece in pieces)
        for window, end in zip(group, ends, strict=True):
            yield window, nll[end - window.targets : end]


def accuracy(
    engine: LanguageModel, sequences: Sequence[Sequence[int]], windows: Iterable[Window] | None = None
) -> float:
    """The share of targets, among those that count, at which the highest logit is that of the target.

    windows: of the sequences, as in mean_nll; None: all. Of equal logits the first counts as the highest.
    """
    import numpy as np

    hits, mask = list[Any](), mask_of(sequences)
    if windows is None:
        windows = windows_in(sequences, engine.model.block_size)
    for group in _groups(windows, max(1, MAX_LOGITS // engine.model.vocab_size)):
        pieces = [sequences[window.sequence][window.start : window.end + 1] for window in group]
        best = np.concatenate(engine.logits(Batch.of(pieces, "tokens"))).argmax(axis=1)
        is_hit = best == [target for piece in pieces for target in piece[1:]]
        sequence, start, first, end = np.array(group).T
        is_hit = is_hit[positions(np.cumsum(end - start) - (end - first), end - first)]
        if mask is not None:
            assert isinstance(sequences, TokenSequences)
            places = positions(take(sequences.offsets, sequence) + 1 + first, end - first)
            is_hit = is_hit[np.asarray(mask)[places] == 1]
        hits.append(is_hit)
    return float(np.concatenate(hits).mean())


def _groups(windows: Iterable[Window], positions: int) -> Iterator[list[Window]]:
    """Consecutive windows in groups of at most `positions` inputs, or of one window."""
    group: list[Window] = []
    total = 0
    for window in windows:
        size = window.end - window.start
        if group and total + size > positions:
            yield group
            group, total = [], 0
        group.append(window)
        total += size
    if group:
        yield group


def _nll(logits: NDArray[Any], targets: list[int]) -> NDArray[np.float64]:
    """-log softmax(logits)[target] of each row.   logits (n, V), targets (n) -> (n)

    Computed in blocks of rows that fit the cache, which takes half the time for V = 3,000.
    """
    import numpy as np

    count, vocab_size = logits.shape
    rows = max(1, MAX_SOFTMAX_LOGITS // vocab_size)
    nll, ids = np.empty(count), np.array(targets)
    for start in range(0, count, rows):
        block = slice(start, start + rows)
        shifted = logits[block].astype(np.float64)
        shifted -= shifted.max(axis=1, keepdims=True)
        at_target = shifted[np.arange(len(shifted)), ids[block]]
        nll[block] = np.log(np.exp(shifted, out=shifted).sum(axis=1)) - at_target
    return nll


@dataclass(frozen=True)
class Evaluation:
    """The losses of a model and of its baselines on the same documents.

    losses: name -> mean nats per token, of the baselines (if there is training data), of an average's n-grams
    and GPT alone, and of the model; documents, tokens, characters: sizes of the evaluated data, of ids the
    targets that count; known: number of documents that are also in the training data; left_out: documents
    that were skipped, as they have characters outside the vocabulary; accuracy: of data that are ids, the
    share of targets that the model finds the most likely token.
    """

    losses: dict[str, float]
    documents: int
    tokens: int
    characters: int
    known: int
    left_out: list[str]
    accuracy: float | None = None

    def __repr__(self) -> str:
        losses = dict(reversed(self.losses.items()))
        values = {"documents": self.documents, "left_out": len(self.left_out) or None}
        return concise(type(self).__name__, {**values, "accuracy": self.accuracy, **losses})

    def _repr_html_(self) -> str:
        """A table of the losses, the lowest first."""
        rows = [
            [name, f"{loss:.4f}", f"{self.bits_per_character(name):.3f}"]
            for name, loss in sorted(self.losses.items(), key=lambda item: item[1])
        ]
        size = f"{self.documents:,} documents, {self.known:,} of them in the training data"
        skipped = f", {len(self.left_out):,} skipped" * bool(self.left_out)
        right = "" if self.accuracy is None else f"; accuracy {self.accuracy:.4f}"
        return table(["", "nats per token", "bits per character"], rows, size + skipped + right)

    def bits_per_character(self, name: str) -> float:
        """A loss in bits per character, counting the end of a document as one."""
        return self.losses[name] / math.log(2) * self.tokens / self.characters


def evaluate(
    engine: Engine,
    tokenizer: Tokenizer,
    documents: Sequence[str],
    training: Sequence[str] = (),
    average: Average | None = None,
) -> Evaluation:
    """The loss on whole documents, and that of n-gram baselines counted on the training documents.

    average: to evaluate the average of the engine with n-grams, and both alone. Raises DataError if every
    document has characters outside the vocabulary. Of ids, IdDocuments with their masks; with a mask the only
    baseline is a uniform guess.
    """
    if isinstance(documents, IdDocuments):
        return _evaluate_ids(engine, tokenizer, documents, training, average)
    encoded = [(text, sequence_or_none(text, tokenizer)) for text in documents]
    texts = [text for text, sequence in encoded if sequence is not None]
    sequences = [sequence for _, sequence in encoded if sequence is not None]
    if not texts:
        raise DataError(
            "evaluate: expected documents with characters in the vocabulary, got none; the vocabulary is "
            f"{shortened(tokenizer.alphabet)}"
        )
    losses: dict[str, float] = {}
    if training:
        training_sequences = [sequence_of(text, tokenizer) for text in training]
        losses = baselines(training_sequences, sequences, tokenizer.vocab_size, never=never_target(tokenizer))
    if average is not None:
        losses[KNESER_NEY] = average.kneser_ney.loss(sequences)
        losses[GPT_ALONE] = mean_nll(engine, sequences)
    losses[MODEL] = mean_nll(averaged(engine, average), sequences)
    _check_finite(losses[MODEL])
    return Evaluation(
        losses=losses,
        documents=len(texts),
        tokens=sum(map(len, sequences)) - len(sequences),
        characters=sum(character_count(text, tokenizer) for text in texts),
        known=sum(map(set(training).__contains__, texts)),
        left_out=[text for text, sequence in encoded if sequence is None],
    )


def _evaluate_ids(
    engine: Engine,
    tokenizer: Tokenizer,
    documents: IdDocuments,
    training: Sequence[str],
    average: Average | None,
) -> Evaluation:
    """evaluate for ids: the mean is over the targets that count. DataError if the model is of texts."""
    if not tokenizer.is_ids:
        raise DataError("evaluate: expected texts, as the model learned, got token ids")
    sequences, model = tokenizer.encode_documents(documents), averaged(engine, average)
    losses = {UNIFORM: uniform_loss(tokenizer.vocab_size, None)}
    if training and sequences.mask is None:
        losses = baselines(evaluation_sequences(training, tokenizer), sequences, tokenizer.vocab_size)
    if average is not None:
        losses |= {KNESER_NEY: average.kneser_ney.loss(sequences), GPT_ALONE: mean_nll(engine, sequences)}
    losses[MODEL] = mean_nll(model, sequences)
    _check_finite(losses[MODEL])
    targets = int(sequences.counted().sum())
    known = sum(map(set(training).__contains__, documents)) if training else 0
    share = accuracy(model, sequences)
    return Evaluation(losses, len(documents), targets, targets, known, [], share)


def _check_finite(value: float) -> None:
    if not math.isfinite(value):
        raise MotegptError(
            f"evaluate: expected a finite loss, got {value}; the model has diverged or is damaged"
        )


def never_target(tokenizer: Tokenizer) -> int | None:
    """The id that is never the next token: a BOS that is not also the end token."""
    return None if tokenizer.bos == tokenizer.stop else tokenizer.bos
