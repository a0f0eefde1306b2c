"""The automatic differentiation of Oxidized-GPT over arrays; engines/node_clip.py has its rules.

In the scalar graph every number is a node, whose gradient is clipped as it is passed on. So each backward
here first clips the gradient it is given, and those that stand for several nodes clip in between too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from motegpt.engines.array import ops
from motegpt.engines.array.ops import Array, Ids
from motegpt.engines.node_clip import ADDED_TO_P, FLAT_LOG

if TYPE_CHECKING:
    from motegpt.engines.array.tape import Operation, Rules

    Clip = Callable[[Array], Array]


def clipped_rules(bound: float) -> Rules:
    """For a tape: the backward of every operation with every node's gradient clipped to ± bound."""

    def clip(dx: Array) -> Array:
        return np.clip(dx, -bound, bound)

    def clipped(backward: Callable[..., Any], *last: Clip) -> Callable[..., Any]:
        return lambda dy, saved: backward(clip(dy), saved, *last)

    rules: dict[Operation, Callable[..., Any]] = {
        operation: clipped(backward) for operation, backward in ops.BACKWARD.items()
    }
    rules[ops.rmsnorm] = clipped(rmsnorm_backward, clip)
    rules[ops.softmax] = clipped(softmax_backward, clip)
    rules[cross_entropy_clipped] = clipped(cross_entropy_clipped_backward, clip)
    return rules


def rmsnorm_backward(dy: Array, saved: ops.RMSNormSaved, clip: Clip) -> Array:
    """Of y = x · r with r = (mean(x²) + eps)^-½, which are three nodes."""
    x, r = saved
    dr = clip((dy * x).sum(axis=-1, keepdims=True))
    dmean = clip(-0.5 * r**3 * dr)
    dx: Array = dy * r + x * (2.0 / x.shape[-1] * dmean)
    return dx


def softmax_backward(dp: Array, saved: ops.SoftmaxSaved, clip: Clip) -> Array:
    """Of p = e · (Σe)^-1, one node after the other, a node (Σe)^-1 for each p.

    The largest e is 1, so (Σe)^-1 is the largest p, and e is p over it.
    """
    (p,) = saved
    inverse = p.max(axis=-1, keepdims=True)
    e = p / inverse
    dinverse = clip(dp * e)
    dtotal = clip((-dinverse * inverse**2).sum(axis=-1, keepdims=True))
    dx: Array = clip(dp * inverse + dtotal) * e
    return dx


def cross_entropy_clipped(logits: Array, targets: Ids, weights: Array) -> tuple[Array, ops.CrossEntropySaved]:
    """loss = Σ weights · -log(p[target] + ADDED_TO_P), through p itself.

    logits (N, V), targets (N,), weights (N,)
    """
    p, _ = ops.softmax(logits)
    a = p[np.arange(len(targets)), targets] + ADDED_TO_P
    loss: Array = -(weights * np.log(a)).sum()
    return loss, ops.CrossEntropySaved(p, targets, weights)


def cross_entropy_clipped_backward(dloss: Array, saved: ops.CrossEntropySaved, clip: Clip) -> Array:
    """Of loss = Σ weights · -log(p[target] + ADDED_TO_P): dlog = -weights · dloss, then log, then softmax.

    Here the clip acts on confident mistakes, where 1 / p is large.
    """
    p, targets, weights = saved
    rows = np.arange(len(targets))
    a = p[rows, targets] + ADDED_TO_P
    dlog = clip(-weights * dloss)
    dp = np.zeros_like(p)
    dp[rows, targets] = np.where(a <= FLAT_LOG, 0.0, dlog / a)
    return softmax_backward(clip(dp), ops.SoftmaxSaved(p), clip)
