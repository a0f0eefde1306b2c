"""The automatic differentiation of Oxidized-GPT over arrays; engines/node_clip.py has its rules.

In the scalar graph every number is a node, whose gradient is clipped as it is passed on. So each backward
here first clips the gradient it is given, and those that stand for several nodes clip in between too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from motegpt.engines.array import ops
from motegpt.engines.array.ops import Array, Ids
from motegpt.engines.node_clip import ADDED_TO_P, FLAT_LOG

if TYPE_CHECKING:
    from motegpt.config.sections import Activation


class Backward(Protocol):
    """The loss, and the backward of every operation: the textbook's are those of the module ops."""

    def cross_entropy(self, logits: Array, targets: Ids, weights: Array) -> tuple[float, Array]: ...
    def cross_entropy_backward(self, p: Array, targets: Ids, weights: Array) -> Array: ...
    def linear_backward(self, dy: Array, x: Array, w: Array, dw: Array) -> Array: ...
    def add_backward(self, dz: Array) -> Array: ...
    def activation_backward(self, dg: Array, u: Array, kind: Activation) -> Array: ...
    def attention_backward(
        self, dy: Array, q: Array, k: Array, v: Array, p: Array
    ) -> tuple[Array, Array, Array]: ...
    def rmsnorm_backward(self, dy: Array, x: Array, r: Array) -> Array: ...
    def embedding_backward(self, dx: Array, ids: Ids, dwte: Array, dwpe: Array) -> None: ...


class NodeClip:
    """The same with every node's gradient clipped to ± bound."""

    def __init__(self, bound: float) -> None:
        self._bound = bound

    def clip(self, dx: Array) -> Array:
        return np.clip(dx, -self._bound, self._bound)

    def cross_entropy(self, logits: Array, targets: Ids, weights: Array) -> tuple[float, Array]:
        """loss = Σ weights · -log(p[target] + ADDED_TO_P), through p itself."""
        p = ops.softmax(logits)
        a = p[np.arange(len(targets)), targets] + ADDED_TO_P
        return float(-(weights * np.log(a)).sum()), p

    def cross_entropy_backward(self, p: Array, targets: Ids, weights: Array) -> Array:
        """dloss = 1, dlog = -weights · dloss, dp = dlog / (p[target] + ADDED_TO_P), then the softmax.

        Here the clip acts on confident mistakes, where 1 / p is large.
        """
        rows = np.arange(len(targets))
        a = p[rows, targets] + ADDED_TO_P
        dlog = self.clip(-weights * self.clip(np.ones_like(weights)))
        dp = np.zeros_like(p)
        dp[rows, targets] = np.where(a <= FLAT_LOG, 0.0, dlog / a)
        return self._softmax_backward(dp, p)

    def linear_backward(self, dy: Array, x: Array, w: Array, dw: Array) -> Array:
        return ops.linear_backward(self.clip(dy), x, w, dw)

    def add_backward(self, dz: Array) -> Array:
        return ops.add_backward(self.clip(dz))

    def activation_backward(self, dg: Array, u: Array, kind: Activation) -> Array:
        return ops.activation_backward(self.clip(dg), u, kind)

    def attention_backward(
        self, dy: Array, q: Array, k: Array, v: Array, p: Array
    ) -> tuple[Array, Array, Array]:
        dy = self.clip(dy)
        dv = p.swapaxes(-1, -2) @ dy
        dp = dy @ v.swapaxes(-1, -2)
        dscores = self.clip(self._softmax_backward(dp, p)) * q.shape[-1] ** -0.5
        return dscores @ k, dscores.swapaxes(-1, -2) @ q, dv

    def rmsnorm_backward(self, dy: Array, x: Array, r: Array) -> Array:
        dy = self.clip(dy)
        dr = self.clip((dy * x).sum(axis=-1, keepdims=True))
        dmean = self.clip(-0.5 * r**3 * dr)
        dx: Array = dy * r + x * (2.0 / x.shape[-1] * dmean)
        return dx

    def embedding_backward(self, dx: Array, ids: Ids, dwte: Array, dwpe: Array) -> None:
        ops.embedding_backward(self.clip(dx), ids, dwte, dwpe)

    def _softmax_backward(self, dp: Array, p: Array) -> Array:
        """dx of p = e · (Σe)^-1, one node after the other, a node (Σe)^-1 for each p.

        The largest e is 1, so (Σe)^-1 is the largest p, and e is p over it.
        """
        inverse = p.max(axis=-1, keepdims=True)
        e, dp = p / inverse, self.clip(dp)
        dinverse = self.clip(dp * e)
        dtotal = self.clip((-dinverse * inverse**2).sum(axis=-1, keepdims=True))
        dx: Array = self.clip(dp * inverse + dtotal) * e
        return dx
