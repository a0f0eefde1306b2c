"""Log-probabilities of texts, and the loss on evaluation data, in nats and double precision on every engine.

Sequences longer than the block are evaluated in overlapping windows (windows.py).
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from motegpt.config.html import table
from motegpt.config.text import concise, shortened
from motegpt.data.batches import Batch, Chunk
from motegpt.data.ids.documents import IdDocuments
from motegpt.data.tokenizers import Tokenizer
from motegpt.engines import averaged
from motegpt.errors import DataError, MotegptError, PrefixError, UsageError
from motegpt.evaluation.windows import Window, chunks_of, flat_sequences, window_table, windows_in
from motegpt.generation.request import prompt_of
from motegpt.ngrams.counts import KNESER_NEY, UNIFORM, baselines, uniform_loss

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from motegpt.engines.base import Engine, LanguageModel
    from motegpt.ngrams.average import Average

MAX_LOGITS = 2**20  # per forward pass
MAX_ROWS = 100  # of a table of scores
MODEL, GPT_ALONE = "model", "gpt"


@dataclass(frozen=True)
class Score:
    """The log-probability of a text under a model.

    log_probability: of the text and its end token, in nats; tokens: number of terms in that sum; characters:
    of the text, plus one for the end token (texts of a stream have none); of ids, the tokens; unit: what
    these are, as Tokenizer.text_unit; bits: -log₂ p per unit.
    """

    text: str
    log_probability: float
    tokens: int
    characters: int
    unit: str = Tokenizer.text_unit

    def __repr__(self) -> str:
        return concise(
            type(self).__name__,
            {
                "text": self.text,
                "log_probability": self.log_probability,
                f"bits_per_{self.unit}": self.bits,
            },
        )

    def _repr_html_(self) -> str:
        return Scores([self])._repr_html_()

    @property
    def bits(self) -> float:
        """-log₂ p per `unit`."""
        return 0.0 - self.log_probability / math.log(2) / self.characters

    @property
    def bits_per_character(self) -> float:
        """-log₂ p per character; UsageError for ids."""
        _check_characters(self.unit)
        return self.bits


class Scores(list[Score]):
    """A list of scores, which a notebook shows as a table."""

    def _repr_html_(self) -> str:
        unit = self[0].unit if self else Tokenizer.text_unit
        header = ["text", "log-probability (nats)", f"bits per {unit}"]
        rows = [[s.text, f"{s.log_probability:.3f}", f"{s.bits:.3f}"] for s in self[:MAX_ROWS]]
        return table(header, rows, f"{len(self):,} texts, the first {MAX_ROWS}" * (len(self) > MAX_ROWS))


def score_texts(engine: LanguageModel, tokenizer: Tokenizer, texts: Sequence[str]) -> Scores:
    """The log-probability of each text, at temperature 1 and without filters.

    A text with characters, or ids, outside the vocabulary has log-probability -inf and 0 tokens; a single id,
    which nothing predicts, 0.
    """
    sequences = [sequence_or_none(text, tokenizer) for text in texts]
    nll = iter(sequence_nll(engine, [sequence for sequence in sequences if sequence is not None]).tolist())
    scores = Scores()
    for text, sequence in zip(texts, sequences, strict=True):
        total, tokens = (-math.inf, 0) if sequence is None else (-next(nll), max(0, len(sequence) - 1))
        _check_finite(total if tokens else 0.0)
        scores.append(Score(text, total, tokens, tokenizer.text_length(text), tokenizer.text_unit))
    return scores


def sequence_of(text: str, tokenizer: Tokenizer) -> list[int]:
    """The ids fed before sampling without a prefix, then the text, then the end token if there is one.

    A text of ids is the whole sequence.
    """
    if tokenizer.is_ids:
        return tokenizer.encode(text)
    end = [] if tokenizer.stop is None else [tokenizer.stop]
    return [*prompt_of("", tokenizer), *tokenizer.encode(text), *end]


def evaluation_sequences(documents: Sequence[str], tokenizer: Tokenizer) -> Sequence[Sequence[int]]:
    """sequence_of for documents or a stream, in flat memory; DataError for an unknown character."""
    if not tokenizer.is_stream or tokenizer.is_ids:
        return tokenizer.encode_documents(documents)
    stream = tokenizer.encode_stream(documents)
    return [memoryview(array(stream.format, [*prompt_of("", tokenizer), *stream]))]


def check_target(text: str, sequence: Sequence[int]) -> None:
    """PrefixError for a text of ids, and its sequence, without a target."""
    if len(sequence) < 2:
        raise PrefixError(f"text {shortened(text)}: expected at least 2 ids, an input and a target")


def sequence_or_none(text: str, tokenizer: Tokenizer) -> list[int] | None:
    """sequence_of, or None for a text with characters, or ids, outside the vocabulary."""
    try:
        return sequence_of(text, tokenizer)
    except PrefixError:
        return None


def _check_characters(unit: str) -> None:
    """UsageError for what is not measured in characters."""
    if unit != Tokenizer.text_unit:
        raise UsageError(
            f"bits_per_character: expected a model of texts, got one of ids; bits are per {unit}"
        )


class Means(NamedTuple):
    """Over the targets that count: the mean loss in nats, and the share that is the most likely token.

    With the weights of a mask the loss is the weighted mean; the accuracy counts targets, whatever their
    weights. Of equal probabilities the first counts as the highest.
    """

    loss: float
    accuracy: float


def mean_nll(
    model: LanguageModel, sequences: Sequence[Sequence[int]], windows: Iterable[Window] | None = None
) -> float:
    """The mean loss over all targets of the sequences, or over those of some windows, in nats per token.

    Targets that a mask leaves out do not count.
    """
    return means(model, sequences, windows).loss


def means(
    model: LanguageModel, sequences: Sequence[Sequence[int]], windows: Iterable[Window] | None = None
) -> Means:
    """As mean_nll, with the accuracy."""
    import numpy as np

    flat = flat_sequences(sequences)
    table = (
        window_table(flat, model.model.block_size) if windows is None else np.array(list(windows), np.int64)
    )
    chunks = chunks_of(flat, table, max_positions(model.model.vocab_size))
    return means_over(model, (chunk for _, chunk in chunks))


def means_over(model: LanguageModel, chunks: Iterable[Chunk]) -> Means:
    """The means over the targets of chunks of one step with a weight other than 0."""
    sums, total, likely, targets = list[float](), 0.0, 0, 0
    for chunk in chunks:
        found = model.nll(chunk)
        sums += found.losses.tolist()
        total += float(chunk.weights.sum())
        likely += int(found.likely.sum())
        targets += int((chunk.weights != 0).sum())
    return Means(math.fsum(sums) / total, likely / targets)


def sequence_nll(model: LanguageModel, sequences: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    """-log p of each sequence (n), in nats."""
    import numpy as np

    flat = flat_sequences(sequences)
    table, total = window_table(flat, model.model.block_size), np.zeros(len(flat))
    for part, chunk in chunks_of(flat, table, max_positions(model.model.vocab_size)):
        np.add.at(total, table[part, 0], model.nll(chunk).losses)
    return total


def max_positions(vocab_size: int) -> int:
    """The number of inputs of one forward pass."""
    return max(1, MAX_LOGITS // vocab_size)


def token_nll(engine: LanguageModel, sequences: Sequence[Sequence[int]]) -> list[NDArray[np.float64]]:
    """-log p of every target of every sequence, in nats."""
    import numpy as np

    result = [np.empty(len(sequence) - 1) for sequence in sequences]
    for window, nll in nll_by_window(engine, sequences):
        result[window.sequence][window.first : window.end] = nll
    return result


def nll_by_window(
    engine: LanguageModel, sequences: Sequence[Sequence[int]], windows: Iterable[Window] | None = None
) -> Iterator[tuple[Window, NDArray[np.float64]]]:
    """Each window (default: all) with -log p of its targets."""
    import numpy as np

    from motegpt.engines import losses

    if windows is None:
        windows = windows_in(sequences, engine.model.block_size)
    for group in _groups(windows, max_positions(engine.model.vocab_size)):
        pieces = [sequences[window.sequence][window.start : window.end + 1] for window in group]
        logits = np.concatenate(engine.logits(Batch.of(pieces, "tokens")))
        nll = losses.token_nll(logits, [target for piece in pieces for target in piece[1:]])
        ends = accumulate(len(piece) - 1 for piece in pieces)
        for window, end in zip(group, ends, strict=True):
            yield window, nll[end - window.targets : end]


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


@dataclass(frozen=True)
class Evaluation:
    """The losses of a model and of its baselines on the same documents.

    losses: name -> mean nats per token, of the baselines (if there is training data), of an average's n-grams
    and GPT alone, and of the model; documents, tokens, characters: sizes of the evaluated data, of ids the
    targets that count; known: number of documents that are also in the training data; left_out: documents
    that were skipped, as they have characters outside the vocabulary; accuracy: of data that are ids, the
    share of targets that the model finds the most likely token; unit: what `characters` counts, of ids
    "token".
    """

    losses: dict[str, float]
    documents: int
    tokens: int
    characters: int
    known: int
    left_out: list[str]
    accuracy: float | None = None
    unit: str = Tokenizer.text_unit

    def __repr__(self) -> str:
        losses = dict(reversed(self.losses.items()))
        values = {"documents": self.documents, "left_out": len(self.left_out) or None}
        return concise(type(self).__name__, {**values, "accuracy": self.accuracy, **losses})

    def _repr_html_(self) -> str:
        """A table of the losses, the lowest first."""
        bits = self.bits()
        rows = [
            [name, f"{loss:.4f}", f"{bits[name]:.3f}"]
            for name, loss in sorted(self.losses.items(), key=lambda item: item[1])
        ]
        size = f"{self.documents:,} documents, {self.known:,} of them in the training data"
        skipped = f", {len(self.left_out):,} skipped" * bool(self.left_out)
        right = "" if self.accuracy is None else f"; accuracy {self.accuracy:.4f}"
        return table(["", "nats per token", f"bits per {self.unit}"], rows, size + skipped + right)

    def bits(self) -> dict[str, float]:
        """Name -> loss in bits per `unit`, counting the end of a document as one."""
        per_unit = self.tokens / self.characters / math.log(2)
        return {name: loss * per_unit for name, loss in self.losses.items()}

    def bits_per_character(self, name: str) -> float:
        """A loss in bits per character, counting the end of a document as one; UsageError for ids."""
        _check_characters(self.unit)
        return self.bits()[name]


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
        first = f"; {tokenizer.unknown_error(documents[0])}" if documents else ""
        raise DataError(f"evaluate: expected a document that the model can read, got none{first}")
    losses: dict[str, float] = {}
    for text, sequence in zip(texts, sequences, strict=True):
        check_target(text, sequence)
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
        characters=sum(map(tokenizer.text_length, texts)),
        known=sum(map(set(training).__contains__, texts)),
        left_out=[text for text, sequence in encoded if sequence is None],
        unit=tokenizer.text_unit,
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
    losses[MODEL], accuracy = means(model, sequences)
    _check_finite(losses[MODEL])
    targets = int(sequences.counted().sum())
    known = sum(map(set(training).__contains__, documents)) if training else 0
    return Evaluation(losses, len(documents), targets, targets, known, [], accuracy, tokenizer.text_unit)


def _check_finite(value: float) -> None:
    if not math.isfinite(value):
        raise MotegptError(
            f"evaluate: expected a finite loss, got {value}; the model has diverged or is damaged"
        )


def never_target(tokenizer: Tokenizer) -> int | None:
    """The id that is never the next token: a BOS that is not also the end token."""
    return None if tokenizer.bos == tokenizer.stop else tokenizer.bos
