"""Baselines of a model: uniform, unigram, bigram, trigram and Kneser-Ney, counted on the training data.

Kneser-Ney is in kneser_ney.py. The others are interpolated n-grams after Witten and Bell (1991), in the form
of Chen and Goodman (1998). With history h, its count c(h), the number T(h) of distinct tokens that follow it,
and h' = h without its first token,

    p(x | h) = (c(h x) + T(h) · p(x | h')) / (c(h) + T(h)),

down to the uniform distribution. There are no hyperparameters, and every probability is positive.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

UNIFORM, KNESER_NEY = "uniform", "kneser-ney"
NAMES = (UNIFORM, "unigram", "bigram", "trigram", KNESER_NEY)

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


def uniform_loss(vocab_size: int, never: int | None) -> float:
    """The loss in nats per token if all targets are equally likely. never: the id that is none, if any."""
    return math.log(vocab_size - (never is not None))


def baselines(
    training: Sequence[Sequence[int]],
    evaluated: Sequence[Sequence[int]],
    vocab_size: int,
    loss_mean: str = "tokens",
    never: int | None = None,
) -> dict[str, float]:
    """Name -> loss on the `evaluated` sequences in nats per token, of predictors fit to `training`.

    never: the id that is no target, if there is one; loss_mean: as in TrainConfig. The order of Kneser-Ney is
    the best on a part of the training data.
    """
    size = vocab_size - (never is not None)
    losses = {UNIFORM: uniform_loss(vocab_size, never)}
    for order, name in enumerate(NAMES[1:-1], 1):
        model = NGram(training, order, size)
        weights: dict[Gram, float] = defaultdict(float)
        for sequence in evaluated:
            weight = _target_weight(sequence, len(evaluated), loss_mean)
            for gram in grams(sequence, order):
                weights[gram] += weight
        total = math.fsum(weights.values())
        losses[name] = -math.fsum(w * math.log(model.probability(g)) for g, w in weights.items()) / total
    losses[KNESER_NEY] = _kneser_ney_loss(training, evaluated, vocab_size, loss_mean, never)
    return losses


def _kneser_ney_loss(
    training: Sequence[Sequence[int]],
    evaluated: Sequence[Sequence[int]],
    vocab_size: int,
    loss_mean: str,
    never: int | None,
) -> float:
    import numpy as np

    from motegpt.ngrams.kneser_ney import KneserNey, chosen_order

    model = KneserNey.count(training, chosen_order(training, vocab_size), vocab_size, never)
    of_sequences = [_target_weight(sequence, len(evaluated), loss_mean) for sequence in evaluated]
    weights = np.repeat(of_sequences, [len(sequence) - 1 for sequence in evaluated])
    return -float(np.average(np.log(model.probabilities(evaluated)), weights=weights))


def _target_weight(sequence: Sequence[int], sequences: int, loss_mean: str) -> float:
    """The weight of each target of a sequence in the mean."""
    of_document = 1.0 / max(1, len(sequence) - 1) / sequences
    return {"documents": of_document, "tokens": 1.0}[loss_mean]
