"""Interpolated, modified Kneser-Ney n-grams (Chen and Goodman, 1998) over token ids.

Let h be the last n - 1 tokens before a token x, and h' the same without the first. At each length n,

    p_n(x | h) = max(c(h x) - D(c(h x)), 0) / Σ c(h ·) + γ(h) p_{n-1}(x | h'),
    γ(h) = (D(1) N_1(h ·) + D(2) N_2(h ·) + D(3) N_3+(h ·)) / Σ c(h ·),

down to p_0 = 1 / V for V possible targets; p_n = p_{n-1} where h did not occur. N_k(h ·) is the number of
tokens with count k after h. At the highest length c is the number of occurrences; below it, the number of
distinct tokens that precede the n-gram (Kneser and Ney, 1995). With n_k the number of n-grams with count k,

    Y = n_1 / (n_1 + 2 n_2),   D(k) = k - (k + 1) Y n_{k+1} / n_k for k = 1, 2, 3,   D(k) = D(3) for k > 3,

between 0.05 and k - 0.02, so that every probability is positive.

A sequence is preceded by a token of its own, START, as often as a context needs. Contexts are rows of sorted
integer keys: the context t h of length n - 1 has the key row(h) · base + t, so a row and a token identify any
context exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from motegpt.config.sections.bounds import LARGEST_ORDER
from motegpt.data.sequences import TokenSequences
from motegpt.ngrams.keys import rows_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ids = NDArray[np.int64]
    Floats = NDArray[np.float64]

ORDERS = range(2, LARGEST_ORDER + 1)
HELD_OUT = 8  # chosen_order holds out every 8th sequence
# Fewer are too few to compare orders; at 20 to 200 entries of six lists SMALL_ORDER was best (docs/log.md).
MIN_SEQUENCES, MIN_STREAM = 400, 3000  # distinct sequences; tokens of a stream
SMALL_ORDER = 4
UNDEFINED = (0.5, 0.75, 0.9)  # discounts D(k) where no n-gram has count k
MIN_DISCOUNT, MARGIN = 0.05, 0.02


class Level(NamedTuple):
    """The n-grams of one length n, sorted; a context is what precedes the last token.

    contexts (H): keys; grams (G): row of the context · base + last token; share (G): (c - D) / Σ c;
    backoff (H): γ; starts (H + 1): the n-grams of context row r are starts[r] … starts[r + 1] - 1.
    """

    contexts: Ids
    grams: Ids
    share: Floats
    backoff: Floats
    starts: Ids


class KneserNey:
    """A model of n-grams of `order` tokens.

    grams (G, order): the distinct n-grams, in which START = vocab_size precedes a sequence, and START + 1 a
    stream, whose beginning is not that of other texts; counts (G): their occurrences; vocab_size: number of
    token ids; never: the id that is never a target, if there is one; unigrams (V): p_1 of every id.
    """

    def __init__(
        self, grams: NDArray[Any], counts: NDArray[Any], vocab_size: int, never: int | None = None
    ) -> None:
        """grams, counts: may repeat an n-gram."""
        self.order, self.vocab_size, self.never = grams.shape[1], vocab_size, never
        self.size = vocab_size - (never is not None)
        self._base = vocab_size + 2
        contexts, rows = self._contexts(grams)
        key = rows * self._base + grams[:, -1]
        keys, first, inverse = np.unique(key, return_index=True, return_inverse=True)
        occurrences = np.bincount(inverse, counts).astype(np.int64)
        self.grams, self.counts = grams[first], occurrences
        self.levels = self._levels(contexts, keys, occurrences)
        self.unigrams = self._bottom()

    @classmethod
    def count(
        cls,
        sequences: Sequence[Sequence[int]],
        order: int,
        vocab_size: int,
        never: int | None = None,
        is_stream: bool = False,
    ) -> Self:
        """A model of the n-grams of sequences, each of which has at least two ids; the first is no target."""
        windows = grams_of(sequences, order, vocab_size + is_stream)
        return cls(windows, np.ones(len(windows), np.int64), vocab_size, never)

    def shortened(self, order: int) -> KneserNey:
        """The model of a lower order of the same data."""
        return KneserNey(self.grams[:, -order:], self.counts, self.vocab_size, self.never)

    @property
    def targets(self) -> int:
        """The number of targets in the data."""
        return int(self.counts.sum())

    def probabilities(self, sequences: Sequence[Sequence[int]]) -> Floats:
        """p of every target of all sequences, concatenated: Σ (length - 1) numbers."""
        windows = grams_of(sequences, self.order, self.vocab_size)
        p = np.full(len(windows), 1.0 / self.size)
        for level, row in zip(self.levels, self._rows(windows[:, :-1]), strict=True):
            at = rows_of(level.grams, row * self._base + windows[:, -1])
            share = np.where(at >= 0, level.share[at], 0.0)
            p = np.where(row >= 0, share + level.backoff[row] * p, p)
        return p

    def loss(self, sequences: Sequence[Sequence[int]]) -> float:
        """The mean over all targets, by the weights of a mask if there is one, in nats."""
        weights = sequences.weights() if isinstance(sequences, TokenSequences) else None
        return -float(np.average(np.log(self.probabilities(sequences)), weights=weights))

    def distribution(self, histories: NDArray[Any]) -> Floats:
        """p of every id after each history.   histories (B, order - 1), START before the beginning -> (B, V)

        From the longest contexts down, `scale` (B) is the product of the γ so far.
        """
        p, scale = np.zeros((len(histories), self.vocab_size)), np.ones(len(histories))
        rows = list(self._rows(histories))
        for level, row in zip(self.levels[:0:-1], rows[:0:-1], strict=True):
            known = np.flatnonzero(row >= 0)
            row = row[known]
            size = level.starts[row + 1] - level.starts[row]
            at = np.repeat(level.starts[row] - np.cumsum(size) + size, size) + np.arange(size.sum())
            target = level.grams[at] % self._base
            p[np.repeat(known, size), target] += level.share[at] * np.repeat(scale[known], size)
            scale[known] *= level.backoff[row]
        p += scale[:, None] * self.unigrams
        return p

    def tables(self) -> list[tuple[NDArray[Any], ...]]:
        """Children, first, starts, last, share and backoff of the levels from 2 up (generation.hpp)."""
        found, base = list[tuple[Any, ...]](), self._base
        for shorter, level in pairwise(self.levels):
            children = np.searchsorted(level.contexts, np.arange(len(shorter.contexts) + 1) * base)
            first, last = ((keys % base).astype(np.int32) for keys in (level.contexts, level.grams))
            found.append((children, first, level.starts, last, level.share, level.backoff))
        return found

    def _rows(self, histories: NDArray[Any]) -> Iterator[Ids]:
        """The row of each history's context at every level, from the empty one up; -1: not in the data."""
        row = np.zeros(len(histories), np.int64)
        yield row
        for level, token in zip(self.levels[1:], histories.T[::-1], strict=True):
            row = rows_of(level.contexts, row * self._base + token)  # below 0 if the row is -1
            yield row

    def _contexts(self, grams: NDArray[Any]) -> tuple[list[Ids], Ids]:
        """The keys of the contexts at every level, and the row of each n-gram's context at the highest."""
        contexts, row = [np.zeros(1, np.int64)], np.zeros(len(grams), np.int64)
        for token in grams.T[-2::-1]:
            keys, row = np.unique(row * self._base + token, return_inverse=True)
            contexts.append(keys)
        return contexts, row

    def _levels(self, contexts: list[Ids], grams: Ids, counts: Ids) -> list[Level]:
        """The levels from the shortest n-grams up. grams: keys of the longest; counts: of these."""
        levels = [self._level(contexts[-1], grams, counts)]
        for longer, keys in pairwise(reversed(contexts)):
            row, last = np.divmod(grams, self._base)
            shorter = longer[row] // self._base * self._base + last  # without the first token
            grams, counts = np.unique(shorter, return_counts=True)
            levels.append(self._level(keys, grams, counts))
        return levels[::-1]

    def _level(self, contexts: Ids, grams: Ids, counts: Ids) -> Level:
        row, d = grams // self._base, np.array(discounts(counts))[np.minimum(counts, 3) - 1]
        total = np.bincount(row, counts, len(contexts))
        starts = np.searchsorted(row, np.arange(len(contexts) + 1))
        backoff = np.bincount(row, d, len(contexts)) / total
        return Level(contexts, grams, (counts - d) / total[row], backoff, starts)

    def _bottom(self) -> Floats:
        """p_1 of every id (V)."""
        level = self.levels[0]
        p = np.full(self.vocab_size, level.backoff[0] / self.size)
        if self.never is not None:
            p[self.never] = 0.0
        p[level.grams] += level.share
        return p


def discounts(counts: Ids) -> list[float]:
    """D(1), D(2) and D(3) of a level."""
    n = [int((counts == k).sum()) for k in range(1, 5)]
    y = n[0] / (n[0] + 2 * n[1]) if n[0] else 0.5
    found = []
    for k, undefined in enumerate(UNDEFINED, 1):
        d = k - (k + 1) * y * n[k] / n[k - 1] if n[k - 1] else undefined
        found.append(min(max(d, MIN_DISCOUNT), k - MARGIN))
    return found


def grams_of(sequences: Sequence[Sequence[int]], order: int, start: int) -> NDArray[Any]:
    """Each target of all sequences after the order - 1 tokens before it.   -> (N, order)

    start: the id before the first token.
    """
    lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
    flat = np.full(lengths.sum() + order * len(lengths), start, np.min_scalar_type(start + 1))
    ends = np.repeat(order * np.arange(1, len(lengths) + 1), lengths) + np.arange(lengths.sum())
    flat[ends] = np.fromiter(chain.from_iterable(sequences), flat.dtype, len(ends))
    is_target = np.ones(len(ends), bool)
    is_target[np.cumsum(lengths) - lengths] = False
    return np.lib.stride_tricks.sliding_window_view(flat, order)[ends[is_target] - order + 1]


def losses_by_order(
    training: Sequence[Sequence[int]],
    evaluated: Sequence[Sequence[int]],
    vocab_size: int,
    orders: range = ORDERS,
) -> dict[int, float]:
    """Order -> mean loss of the evaluated sequences in nats per token."""
    longest = KneserNey.count(training, max(orders), vocab_size)
    models = map(longest.shortened, orders)
    return {model.order: model.loss(evaluated) for model in models}


def chosen_order(sequences: Sequence[Sequence[int]], vocab_size: int) -> int:
    """The order with the lowest loss on a part of the distinct sequences, or of a stream.

    SMALL_ORDER where there is too little to hold a part out.
    """
    kept, held_out = _halves(sequences)
    if not held_out:
        return SMALL_ORDER
    losses = losses_by_order(kept, held_out, vocab_size)
    return min(losses, key=losses.__getitem__)


def _halves(sequences: Sequence[Sequence[int]]) -> tuple[list[Sequence[int]], list[Sequence[int]]]:
    """Every HELD_OUT-th distinct sequence apart from the others; of a stream, its end apart from the rest."""
    if len(sequences) == 1:
        at = len(sequences[0]) * (HELD_OUT - 1) // HELD_OUT
        return [sequences[0][:at]], [sequences[0][at:]] * (len(sequences[0]) >= MIN_STREAM)
    distinct: list[Sequence[int]] = list(dict.fromkeys(map(tuple, sequences)))
    held_out = distinct[HELD_OUT - 1 :: HELD_OUT] if len(distinct) >= MIN_SEQUENCES else []
    return [one for i, one in enumerate(distinct, 1) if i % HELD_OUT], held_out
