"""Cross-entropy."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from motegpt.engines.array.ops.base import Array, Ids, backward_of


class CrossEntropySaved(NamedTuple):
    """p (N, V), targets (N,), weights (N,)"""

    p: Array
    targets: Ids
    weights: Array


def cross_entropy(logits: Array, targets: Ids, weights: Array) -> tuple[Array, CrossEntropySaved]:
    """loss = Σ weights · -log p[target] with p = softmax(logits).   logits (N, V), targets and weights (N,)

    log p is taken as x - max x - log Σe, which stays finite where p itself would round to zero.
    """
    x = logits - logits.max(axis=-1, keepdims=True)
    e = np.exp(x)
    total = e.sum(axis=-1, keepdims=True)
    log_p = x[np.arange(len(targets)), targets] - np.log(total[:, 0])
    loss: Array = -(weights * log_p).sum()
    return loss, CrossEntropySaved(e / total, targets, weights)


@backward_of(cross_entropy)
def cross_entropy_backward(dloss: Array, saved: CrossEntropySaved) -> Array:
    """Of loss = Σ weights · -log p[target] with p = softmax(logits), differentiated as one:

    dlogits = dloss · weights · (p - onehot(target))
    """
    p, targets, weights = saved
    scale = dloss * weights
    dlogits: Array = p * scale[:, None]
    dlogits[np.arange(len(targets)), targets] -= scale
    return dlogits
