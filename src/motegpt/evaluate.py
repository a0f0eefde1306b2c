"""How well a model does: log-probabilities of texts, and the loss on sequences it did not learn from.

Everything is in nats and in double precision, whatever the engine computes in. A sequence longer than
the model can see is judged in windows that overlap by half, each token once, in the first window that
has it: so every token but those of the first window has at least half a block of context.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from motegpt.batches import Batch
from motegpt.sampling import prompt_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from motegpt.engines.base import Engine
    from motegpt.tokenizer import Tokenizer

    Costs = list[NDArray[np.float64]]

JUDGED_TOGETHER = 2**22  # logits held at a time
PARTS = ("documents", "tokens")  # what a mean can be over, as TrainConfig.loss_mean has it


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
        scores.append(Score(text, total, tokens, characters_of(text, tokenizer)))
    return scores


def sequence_of(text: str, tokenizer: Tokenizer) -> list[int]:
    """What the model reads before it draws anything, then the text, then its end if there are ends."""
    end = [] if tokenizer.stop is None else [tokenizer.stop]
    return [*prompt_of("", tokenizer), *tokenizer.encode(text), *end]


def characters_of(text: str, tokenizer: Tokenizer) -> int:
    """Characters of a text, and one for its end if there are ends; at least one."""
    return max(1, len(text) + (tokenizer.stop is not None))


def mean_loss(engine: Engine, sequences: Sequence[list[int]], loss_mean: str) -> float:
    """The loss of the engine's present parameters on some sequences, as training would count it."""
    return mean_cost(costs_of(engine, sequences), loss_mean)


def mean_cost(costs: Costs, over: str) -> float:
    """The mean over all tokens, or over documents of each one's mean."""
    if over == "documents":
        return math.fsum(float(cost.mean()) for cost in costs) / len(costs)
    return math.fsum(float(cost.sum()) for cost in costs) / sum(map(len, costs))


def costs_of(engine: Engine, sequences: Sequence[list[int]]) -> Costs:
    """-log p of every target of every sequence, in nats."""
    import numpy as np

    costs = [np.empty(len(sequence) - 1) for sequence in sequences]
    block = engine.model.block_size
    windows = [(i, *window) for i, one in enumerate(sequences) for window in windows_of(len(one) - 1, block)]
    for group in _groups(windows, max(1, JUDGED_TOGETHER // engine.model.vocab_size)):
        pieces = [sequences[i][start : end + 1] for i, start, _, end in group]
        logits = engine.logits(Batch.of(pieces, "tokens"))
        for (i, start, first, end), piece, x in zip(group, pieces, logits, strict=True):
            costs[i][first:end] = _costs(np.asarray(x, np.float64), piece[1:])[first - start :]
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
