"""How well a model does: log-probabilities of texts, and the loss on sequences it did not learn from.

Everything is in nats and in double precision, whatever the engine computes in. A sequence longer than
the model can see is judged in windows that overlap by half, each token once, in the first window that
has it: so every token but those of the first window has at least half a block of context.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, assert_never

from motegpt.batches import Batch
from motegpt.errors import DataError, MotegptError
from motegpt.ngrams import baselines
from motegpt.sampling import prompt_of
from motegpt.settings import shortened

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from motegpt.config import LossMean
    from motegpt.engines.base import Engine
    from motegpt.tokenizer import Tokenizer

    Costs = list[NDArray[np.float64]]

JUDGED_TOGETHER = 2**22  # logits held at a time
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

    @property
    def bits_per_character(self) -> float:
        """-log₂ of the probability, a character."""
        return -self.log_probability / math.log(2) / self.characters


def score_texts(engine: Engine, tokenizer: Tokenizer, texts: Sequence[str]) -> list[Score]:
    """What the model thinks of each text: its own probabilities, at temperature 1, with no filters.

    A text with a character that the model never saw has probability zero, in no tokens.
    """
    sequences = [None if tokenizer.unknown(text) else sequence_of(text, tokenizer) for text in texts]
    costs = iter(costs_of(engine, [sequence for sequence in sequences if sequence is not None]))
    scores = []
    for text, sequence in zip(texts, sequences, strict=True):
        total, tokens = (-math.inf, 0) if sequence is None else (-float(next(costs).sum()), len(sequence) - 1)
        _check_finite(total if tokens else 0.0)
        scores.append(Score(text, total, tokens, characters_of(text, tokenizer)))
    return scores


def sequence_of(text: str, tokenizer: Tokenizer) -> list[int]:
    """What the model reads before it draws anything, then the text, then its end if there are ends."""
    end = [] if tokenizer.stop is None else [tokenizer.stop]
    return [*prompt_of("", tokenizer), *tokenizer.encode(text), *end]


def characters_of(text: str, tokenizer: Tokenizer) -> int:
    """Characters of a text, and one for its end if there are ends; at least one."""
    return max(1, len(text) + (tokenizer.stop is not None))


def mean_loss(engine: Engine, sequences: Sequence[list[int]], loss_mean: LossMean) -> float:
    """The loss of the engine's present parameters on some sequences, as training would count it."""
    return mean_cost(costs_of(engine, sequences), loss_mean)


def mean_cost(costs: Costs, over: LossMean) -> float:
    """The mean over all tokens, or over documents of each one's mean."""
    match over:
        case "documents":
            return math.fsum(float(cost.mean()) for cost in costs) / len(costs)
        case "tokens":
            return math.fsum(float(cost.sum()) for cost in costs) / sum(map(len, costs))
        case _:
            assert_never(over)


def costs_of(engine: Engine, sequences: Sequence[list[int]]) -> Costs:
    """-log p of every target of every sequence, in nats."""
    import numpy as np

    costs = [np.empty(len(sequence) - 1) for sequence in sequences]
    block = engine.model.block_size
    windows = [(i, *window) for i, one in enumerate(sequences) for window in windows_of(len(one) - 1, block)]
    for group in _groups(windows, max(1, JUDGED_TOGETHER // engine.model.vocab_size)):
        pieces = [sequences[i][start : end + 1] for i, start, _, end in group]
        logits = np.concatenate(engine.logits(Batch.of(pieces, "tokens")), dtype=np.float64)
        found = _costs(logits, [target for piece in pieces for target in piece[1:]])
        ends = accumulate(len(piece) - 1 for piece in pieces)
        for (i, _, first, end), after in zip(group, ends, strict=True):
            costs[i][first:end] = found[after - (end - first) : after]
    return costs


def windows_of(targets: int, block_size: int) -> Iterator[tuple[int, int, int]]:
    """(start, first, end) of each window: its inputs are start … end - 1, of which first … end - 1 count."""
    done, end = 0, min(targets, block_size)
    while done < end:
        yield max(0, end - block_size), done, end
        done, end = end, min(targets, end + max(1, block_size // 2))


def _groups(
    windows: list[tuple[int, int, int, int]], positions: int
) -> Iterator[list[tuple[int, int, int, int]]]:
    """The windows in their order, as many at a time as have `positions` positions, at least one."""
    group: list[tuple[int, int, int, int]] = []
    total = 0
    for window in windows:
        size = window[3] - window[1]
        if group and total + size > positions:
            yield group
            group, total = [], 0
        group.append(window)
        total += size
    if group:
        yield group


def _costs(logits: NDArray[np.float64], targets: list[int]) -> NDArray[np.float64]:
    """-log softmax(logits)[target] of each row.   logits (n, V), targets (n) -> (n)"""
    import numpy as np

    shifted = logits - logits.max(axis=1, keepdims=True)
    costs: NDArray[np.float64] = (
        np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(targets)), targets]
    )
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

    def bits_per_character(self, name: str) -> float:
        """A loss in bits a character, the end of a document counted as one."""
        return self.losses[name] / math.log(2) * self.tokens / self.characters


def evaluate(
    engine: Engine, tokenizer: Tokenizer, judged: Sequence[str], training: Sequence[str] = ()
) -> Evaluation:
    """The loss on whole documents, beside predictors that count n-grams of the training documents.

    Raises DataError if the model knows the characters of none of them.
    """
    texts: list[str] = []
    left_out: list[str] = []
    for text in judged:
        (left_out if tokenizer.unknown(text) else texts).append(text)
    if not texts:
        raise DataError(
            "evaluate: expected documents of characters the model knows, got none; it knows "
            f"{shortened(tokenizer.characters)}"
        )
    sequences = [sequence_of(text, tokenizer) for text in texts]
    losses: dict[str, float] = {}
    if training:
        learned = [sequence_of(text, tokenizer) for text in training]
        losses = baselines(learned, sequences, targets_of(tokenizer))
    losses[MODEL] = mean_cost(costs_of(engine, sequences), "tokens")
    _check_finite(losses[MODEL])
    return Evaluation(
        losses=losses,
        documents=len(texts),
        tokens=sum(map(len, sequences)) - len(sequences),
        characters=sum(characters_of(text, tokenizer) for text in texts),
        known=sum(map(set(training).__contains__, texts)),
        left_out=left_out,
    )


def _check_finite(value: float) -> None:
    if not math.isfinite(value):
        raise MotegptError(
            f"evaluate: expected a finite loss, got {value}; the model has diverged or is damaged"
        )


def targets_of(tokenizer: Tokenizer) -> int:
    """How many different tokens can follow: all but a BOS that only begins."""
    return tokenizer.vocab_size - (tokenizer.bos != tokenizer.stop)
