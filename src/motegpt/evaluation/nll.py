"""How well a model does: log-probabilities of texts, and the loss on sequences it did not learn from.

Everything is in nats and in double precision, whatever the engine computes in. A sequence longer than
the model can see is judged in windows that overlap by half, each token once, in the first window that
has it: so every token but those of the first window has at least half a block of context.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

from motegpt.config.text import concise, shortened
from motegpt.data.plan import Batch
from motegpt.errors import DataError, MotegptError, PrefixError
from motegpt.generation.request import prompt_of
from motegpt.ngrams.counts import baselines

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from motegpt.data.tokenizers import Tokenizer
    from motegpt.engines.base import Engine

MAX_LOGITS = 2**20  # logits held at a time
MAX_SOFTMAX_LOGITS = 2**17  # and of them in double precision: a megabyte
MODEL = "model"


@dataclass(frozen=True)
class Score:
    """What a model thinks of a text.

    log_probability: of the text with its end, in nats; tokens: how many it is the sum over; characters:
    of the text, and one for its end, as the newline after it would be (the text of a stream has no end).
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

    @property
    def bits_per_character(self) -> float:
        """-log₂ of the probability, a character."""
        return -self.log_probability / math.log(2) / self.characters


def score_texts(engine: Engine, tokenizer: Tokenizer, texts: Sequence[str]) -> list[Score]:
    """What the model thinks of each text: its own probabilities, at temperature 1, with no filters.

    A text with a character that the model never saw has probability zero, in no tokens.
    """
    sequences = [sequence_or_none(text, tokenizer) for text in texts]
    costs = iter(token_nll(engine, [sequence for sequence in sequences if sequence is not None]))
    scores = []
    for text, sequence in zip(texts, sequences, strict=True):
        total, tokens = (-math.inf, 0) if sequence is None else (-float(next(costs).sum()), len(sequence) - 1)
        _check_finite(total if tokens else 0.0)
        scores.append(Score(text, total, tokens, character_count(text, tokenizer)))
    return scores


def sequence_of(text: str, tokenizer: Tokenizer) -> list[int]:
    """What the model reads before it draws anything, then the text, then its end if there are ends."""
    end = [] if tokenizer.stop is None else [tokenizer.stop]
    return [*prompt_of("", tokenizer), *tokenizer.encode(text), *end]


def evaluation_sequences(documents: Sequence[str], tokenizer: Tokenizer) -> Sequence[Sequence[int]]:
    """sequence_of for many documents, or a stream, in flat memory; DataError for an unknown character."""
    if tokenizer.bos is not None:
        return tokenizer.encode_documents(documents)
    stream = tokenizer.encode_stream(documents)
    return [memoryview(array(stream.format, [*prompt_of("", tokenizer), *stream]))]


def sequence_or_none(text: str, tokenizer: Tokenizer) -> list[int] | None:
    """The same, or None for a text with a character that the model never saw."""
    try:
        return sequence_of(text, tokenizer)
    except PrefixError:
        return None


def character_count(text: str, tokenizer: Tokenizer) -> int:
    """Characters of a text, and one for its end if there are ends; at least one."""
    return max(1, len(text) + (tokenizer.stop is not None))


def mean_nll(
    engine: Engine, sequences: Sequence[Sequence[int]], windows: Iterable[Window] | None = None
) -> float:
    """The loss of the engine's present parameters in nats per token: the mean over all targets of some
    sequences, or over those that count in some windows of them.
    """
    sums, targets = [], 0
    for _, found in _costs_in_windows(engine, sequences, windows):
        sums.append(float(found.sum()))
        targets += len(found)
    return math.fsum(sums) / targets


def token_nll(engine: Engine, sequences: Sequence[Sequence[int]]) -> list[NDArray[np.float64]]:
    """-log p of every target of every sequence, in nats."""
    import numpy as np

    costs = [np.empty(len(sequence) - 1) for sequence in sequences]
    for window, found in _costs_in_windows(engine, sequences):
        costs[window.sequence][window.first : window.end] = found
    return costs


class Window(NamedTuple):
    """What the model sees of a sequence at a time: the inputs start … end - 1, of which those from `first`
    on count. sequence: which one it is.
    """

    sequence: int
    start: int
    first: int
    end: int

    @property
    def targets(self) -> int:
        """How many count."""
        return self.end - self.first


def windows_in(sequences: Iterable[Sequence[int]], block_size: int) -> Iterator[Window]:
    """The windows of some sequences, in their order; every target counts in one of them."""
    for i, sequence in enumerate(sequences):
        for window in windows_of(len(sequence) - 1, block_size):
            yield Window(i, *window)


def windows_of(targets: int, block_size: int) -> Iterator[tuple[int, int, int]]:
    """(start, first, end) of each window of one sequence."""
    done, end = 0, min(targets, block_size)
    while done < end:
        yield max(0, end - block_size), done, end
        done, end = end, min(targets, end + max(1, block_size // 2))


def _costs_in_windows(
    engine: Engine, sequences: Sequence[Sequence[int]], windows: Iterable[Window] | None = None
) -> Iterator[tuple[Window, NDArray[np.float64]]]:
    """Each window, all of them unless some are given, with -log p of the targets that count in it."""
    import numpy as np

    if windows is None:
        windows = windows_in(sequences, engine.model.block_size)
    for group in _groups(windows, max(1, MAX_LOGITS // engine.model.vocab_size)):
        pieces = [sequences[window.sequence][window.start : window.end + 1] for window in group]
        logits = np.concatenate(engine.logits(Batch.of(pieces, "tokens")))
        costs = _costs(logits, [target for piece in pieces for target in piece[1:]])
        ends = accumulate(len(piece) - 1 for piece in pieces)
        for window, end in zip(group, ends, strict=True):
            yield window, costs[end - window.targets : end]


def _groups(windows: Iterable[Window], positions: int) -> Iterator[list[Window]]:
    """The windows in their order, as many at a time as have `positions` positions, at least one."""
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


def _costs(logits: NDArray[Any], targets: list[int]) -> NDArray[np.float64]:
    """-log softmax(logits)[target] of each row.   logits (n, V), targets (n) -> (n)

    Some rows at a time, whose numbers the processor's cache holds: with 3,000 tokens in half the time.
    """
    import numpy as np

    count, vocab_size = logits.shape
    rows = max(1, MAX_SOFTMAX_LOGITS // vocab_size)
    costs, ids = np.empty(count), np.array(targets)
    for start in range(0, count, rows):
        some = slice(start, start + rows)
        shifted = logits[some].astype(np.float64)
        shifted -= shifted.max(axis=1, keepdims=True)
        chosen = shifted[np.arange(len(shifted)), ids[some]]
        costs[some] = np.log(np.exp(shifted, out=shifted).sum(axis=1)) - chosen
    return costs


@dataclass(frozen=True)
class Evaluation:
    """A model and its baselines on the same documents.

    losses: name -> nats a token, the mean over all tokens: the baselines, if there was something to count
    them from, then the model; documents, tokens, characters: what they are the mean over; known: how many
    of the documents are in the training data; left_out: those with characters the model never saw.
    """

    losses: dict[str, float]
    documents: int
    tokens: int
    characters: int
    known: int
    left_out: list[str]

    def __repr__(self) -> str:
        losses = dict(reversed(self.losses.items()))
        left_out = len(self.left_out) or None
        return concise(type(self).__name__, {"documents": self.documents, "left_out": left_out, **losses})

    def bits_per_character(self, name: str) -> float:
        """A loss in bits a character, the end of a document counted as one."""
        return self.losses[name] / math.log(2) * self.tokens / self.characters


def evaluate(
    engine: Engine, tokenizer: Tokenizer, judged: Sequence[str], training: Sequence[str] = ()
) -> Evaluation:
    """The loss on whole documents, beside predictors that count n-grams of the training documents.

    Raises DataError if the model knows the characters of none of them.
    """
    found = [(text, sequence_or_none(text, tokenizer)) for text in judged]
    texts = [text for text, sequence in found if sequence is not None]
    sequences = [sequence for _, sequence in found if sequence is not None]
    if not texts:
        raise DataError(
            "evaluate: expected documents of characters the model knows, got none; it knows "
            f"{shortened(tokenizer.alphabet)}"
        )
    losses: dict[str, float] = {}
    if training:
        learned = [sequence_of(text, tokenizer) for text in training]
        losses = baselines(learned, sequences, target_count(tokenizer))
    losses[MODEL] = mean_nll(engine, sequences)
    _check_finite(losses[MODEL])
    return Evaluation(
        losses=losses,
        documents=len(texts),
        tokens=sum(map(len, sequences)) - len(sequences),
        characters=sum(character_count(text, tokenizer) for text in texts),
        known=sum(map(set(training).__contains__, texts)),
        left_out=[text for text, sequence in found if sequence is None],
    )


def _check_finite(value: float) -> None:
    if not math.isfinite(value):
        raise MotegptError(
            f"evaluate: expected a finite loss, got {value}; the model has diverged or is damaged"
        )


def target_count(tokenizer: Tokenizer) -> int:
    """How many different tokens can follow: all but a BOS that only begins."""
    return tokenizer.vocab_size - (tokenizer.bos != tokenizer.stop)
