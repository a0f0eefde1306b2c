"""Baselines of a model: uniform, unigram, bigram and trigram predictors, counted on the training data.

Interpolated n-grams after Witten and Bell (1991), in the form of Chen and Goodman (1998). With history h, its
count c(h), the number T(h) of distinct tokens that follow it, and h' = h without its first token,

    p(x | h) = (c(h x) + T(h) · p(x | h')) / (c(h) + T(h)),

down to the uniform distribution. There are no hyperparameters, and every probability is positive.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

NAMES = ("uniform", "unigram", "bigram", "trigram")

Gram = tuple[int, ...]


class NGram:
    """An interpolated n-gram model of up to `order` tokens. size: number of possible targets."""

    def __init__(self, sequences: Iterable[Sequence[int]], order: int, size: int) -> None:
        self.order, self.size = order, size
        longest = Counter(gram for sequence in sequences for gram in grams(sequence, order))
        self._counts: Counter[Gram] = Counter()
        for gram, count in longest.items():
            for start in range(len(gram)):
                self._counts[gram[start:]] += count
        self._totals: Counter[Gram] = Counter()  # c(h)
        self._types: Counter[Gram] = Counter()  # T(h)
        for gram, count in self._counts.items():
            self._totals[gram[:-1]] += count
            self._types[gram[:-1]] += 1

    def probability(self, gram: Gram) -> float:
        """The conditional probability of the last token given those before it."""
        if not gram:
            return 1.0 / self.size
        total, types = self._totals.get(gram[:-1], 0), self._types.get(gram[:-1], 0)
        backoff = self.probability(gram[1:])
        return (self._counts.get(gram, 0) + types * backoff) / (total + types) if total else backoff


def grams(sequence: Sequence[int], order: int) -> Iterator[Gram]:
    """Each target of a sequence preceded by its last order - 1 tokens, fewer near the beginning."""
    for i in range(1, len(sequence)):
        yield tuple(sequence[max(0, i - order + 1) : i + 1])


def baselines(
    training: Sequence[Sequence[int]],
    evaluated: Sequence[Sequence[int]],
    size: int,
    loss_mean: str = "tokens",
) -> dict[str, float]:
    """Name -> loss on the `evaluated` sequences in nats per token, of predictors fit to `training`.

    size: number of possible targets; loss_mean: as in TrainConfig.
    """
    losses = {NAMES[0]: math.log(size)}
    for order, name in enumerate(NAMES[1:], 1):
        model = NGram(training, order, size)
        weights: dict[Gram, float] = defaultdict(float)
        for sequence in evaluated:
            of_document = 1.0 / max(1, len(sequence) - 1) / len(evaluated)
            weight = {"documents": of_document, "tokens": 1.0}[loss_mean]
            for gram in grams(sequence, order):
                weights[gram] += weight
        total = math.fsum(weights.values())
        losses[name] = -math.fsum(w * math.log(model.probability(g)) for g, w in weights.items()) / total
    return losses
