"""What a model has to beat: uniform, unigram, bigram and trigram predictors, counted from the training data.

The n-grams are interpolated after Witten and Bell (1991), in the form of Chen and Goodman (1998): with h
the tokens before, c(h) how often they were seen, T(h) how many different tokens followed them, and h'
the same without its first,

    p(x | h) = (c(h x) + T(h) · p(x | h')) / (c(h) + T(h))

down to the uniform distribution. There is nothing to tune, and every probability is above zero.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

NAMES = ("uniform", "unigram", "bigram", "trigram")

Gram = tuple[int, ...]


class NGram:
    """Counts of the grams of up to `order` tokens. size: how many tokens can follow at all."""

    def __init__(self, sequences: Iterable[Sequence[int]], order: int, size: int) -> None:
        self.order, self.size = order, size
        longest = Counter(gram for sequence in sequences for gram in grams(sequence, order))
        self._counts: Counter[Gram] = Counter()
        for gram, count in longest.items():
            for start in range(len(gram)):
                self._counts[gram[start:]] += count
        self._seen: Counter[Gram] = Counter()  # by context: how often, and how many kinds of token followed
        self._kinds: Counter[Gram] = Counter()
        for gram, count in self._counts.items():
            self._seen[gram[:-1]] += count
            self._kinds[gram[:-1]] += 1

    def probability(self, gram: Gram) -> float:
        """Of the last token, after those before it."""
        if not gram:
            return 1.0 / self.size
        seen, kinds = self._seen.get(gram[:-1], 0), self._kinds.get(gram[:-1], 0)
        shorter = self.probability(gram[1:])
        return (self._counts.get(gram, 0) + kinds * shorter) / (seen + kinds) if seen else shorter


def grams(sequence: Sequence[int], order: int) -> Iterator[Gram]:
    """Each target of a sequence after the order - 1 tokens before it, fewer near the beginning."""
    for at in range(1, len(sequence)):
        yield tuple(sequence[max(0, at - order + 1) : at + 1])


def baselines(
    training: Sequence[Sequence[int]], judged: Sequence[Sequence[int]], size: int, loss_mean: str = "tokens"
) -> dict[str, float]:
    """Name -> loss on the judged sequences, in nats a token, of predictors that learned from others.

    size: how many different targets there can be; loss_mean as TrainConfig has it.
    """
    losses = {NAMES[0]: math.log(size)}
    for order, name in enumerate(NAMES[1:], 1):
        model = NGram(training, order, size)
        weights: dict[Gram, float] = defaultdict(float)
        for sequence in judged:
            weight = {"documents": 1.0 / max(1, len(sequence) - 1) / len(judged), "tokens": 1.0}[loss_mean]
            for gram in grams(sequence, order):
                weights[gram] += weight
        total = math.fsum(weights.values())
        losses[name] = -math.fsum(w * math.log(model.probability(g)) for g, w in weights.items()) / total
    return losses
