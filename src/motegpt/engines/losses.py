"""The losses of evaluation, in double precision from logits of any."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from motegpt.data.plan import Chunk
    from motegpt.engines.base import LanguageModel

MAX_SOFTMAX_LOGITS = 2**17  # converted to double precision at a time: 1 MB, which fits the cache


class Losses(NamedTuple):
    """Of the sequences of a batch.

    losses (B): the sum of the weighted -log p of the targets of each, in nats; likely (B): how many of its
    targets with a weight other than 0 are the most likely token, the first of equals.
    """

    losses: NDArray[np.float64]
    likely: NDArray[np.int64]


def losses_by_logits(model: LanguageModel, chunk: Chunk) -> Losses:
    """The losses of the one step of a chunk, from the logits of a model."""
    batch = chunk.batch(0)
    logits = np.concatenate(model.logits(batch))
    targets = [target for row in batch.targets for target in row]
    nll, likely = token_nll(logits, targets), logits.argmax(axis=1) == targets
    firsts = np.cumsum([0, *map(len, batch.inputs[:-1])])
    weights = chunk.weights
    counted = np.where(weights != 0, nll, 0.0) * weights  # 0 · inf is not a number
    return Losses(
        np.add.reduceat(counted, firsts), np.add.reduceat(likely & (weights != 0), firsts, dtype=np.int64)
    )


def token_nll(logits: NDArray[Any], targets: Sequence[int]) -> NDArray[np.float64]:
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
