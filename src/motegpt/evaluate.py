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
    """log_probability: of the text with its end, in nats; tokens: how many it is the sum over.

    The end of a document counts as one character, as the newline after it would.
    """

    text: str
    log_probability: float
    tokens: int

    @property
    def characters(self) -> int:
        """Characters of the text, and one for its end."""
        return len(self.text) + 1

    @property
    def bits_per_character(self) -> float:
        """-log₂ of the probability, a character."""
        return -self.log_probability / math.log(2) / self.characters


def score_texts(engine: Engine, tokenizer: Tokenizer, texts: Sequence[str]) -> list[Score]:
    """What the model thinks of each text: its own probabilities, at temperature 1, with no filters.

    A text with a character that the model never saw has probability zero.
    """
    known = [text for text in texts if not unknown_characters(text, tokenizer)]
    sequences = tokenizer.encode_all(known)
    totals = [float(costs.sum()) for costs in costs_of(engine, sequences)]
    judged = iter(zip(totals, sequences, strict=True))
    scores = []
    for text in texts:
        if unknown_characters(text, tokenizer):
            scores.append(Score(text, -math.inf, len(text) + 1))
        else:
            total, sequence = next(judged)
            scores.append(Score(text, -total, len(sequence) - 1))
    return scores


def unknown_characters(text: str, tokenizer: Tokenizer) -> str:
    """The characters of a text that the model never saw, each once."""
    return "".join(sorted(set(text) - set(tokenizer.characters)))


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
    yield 0, 0, min(targets, block_size)
    done = block_size
    while done < targets:
        end = min(targets, done + max(1, block_size // 2))
        yield max(0, end - block_size), done, end
        done = end


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
