"""The losses of evaluation, in double precision from logits of any."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from motegpt.data.batches import Batch

MAX_SOFTMAX_LOGITS = 2**17  # converted to double precision at a time: 1 MB, which fits the cache


class Losses(NamedTuple):
    """Of the sequences of a batch.

    losses (B): the sum of the weighted -log p of the targets of each, in nats; likely (B): how many of its
    targets with a weight other than 0 are the most likely token, the first of equals.
    """

    losses: NDArray[np.float64]
    likely: NDArray[np.int64]


def losses_by_logits(logits: Sequence[NDArray[Any]], batch: Batch) -> Losses:
    """The losses of a batch with these logits (n_b, V) of each sequence."""
    flat = np.concatenate(logits)
    targets, weights = (np.array([*chain.from_iterable(rows)]) for rows in (batch.targets, batch.weights))
    counts, firsts = weights != 0, np.cumsum([0, *map(len, batch.inputs[:-1])])
    losses = np.where(counts, token_nll(flat, targets), 0.0) * weights  # 0 · ∞ is not a number
    likely = counts & (flat.argmax(axis=1) == targets)
    return Losses(np.add.reduceat(losses, firsts), np.add.reduceat(likely, firsts, dtype=np.int64))


def token_nll(logits: NDArray[Any], targets: Sequence[int] | NDArray[Any]) -> NDArray[np.float64]:
    """-log softmax(logits)[target] of each row.   logits (n, V), targets (n) -> (n)

    Computed in blocks of rows that fit the cache, which takes half the time for V = 3,000.
    """
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
