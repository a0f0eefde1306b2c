"""The automatic differentiation of Oxidized-GPT with tensors; engines/node_clip.py has its rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from motegpt.engines.node_clip import ADDED_TO_P, FLAT_LOG
from motegpt.engines.torch.ops import Operations, attention_scores, exp_shifted

if TYPE_CHECKING:
    from motegpt.config.sections.model import Activation


class NodeClip(Operations):
    """The operations as the scalar graph computes them, each node's gradient clipped to ± bound."""

    def __init__(self, bound: float) -> None:
        self._bound = bound

    def linear(self, x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
        return self._node(F.linear(x, w, bias))

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        return self._node(x + y)

    def rmsnorm(self, x: Tensor, eps: float, gain: Tensor | None = None) -> Tensor:
        mean_square = self._node(x.square().mean(-1, keepdim=True) + eps)
        y = self._node(x * self._node(mean_square**-0.5))
        return y if gain is None else self._node(y * gain)

    def attention(self, q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> Tensor:
        return self._node(self._softmax(self._node(attention_scores(q, k, causal))) @ v)

    def activation(self, a: Tensor, kind: Activation) -> Tensor:
        return self._node(super().activation(a, kind))

    def cross_entropy(self, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """loss = Σ weights · -log(p[target] + ADDED_TO_P), through p itself."""
        a = self._node(self._softmax(logits).gather(1, targets[:, None]) + ADDED_TO_P)
        log_p = self._node(torch.where(a > FLAT_LOG, a, a.detach()).log())
        return self._node((log_p[:, 0] * -weights).sum())

    def _softmax(self, x: Tensor) -> Tensor:
        """p = e · (Σe)^-1 over the last axis, with a node (Σe)^-1 for each p."""
        e = self._node(exp_shifted(x))
        total = self._node(e.sum(-1, keepdim=True))
        inverse = self._node(total.expand_as(e) ** -1.0)
        return self._node(e * inverse)

    def _node(self, x: Tensor) -> Tensor:
        """x itself, its gradient clipped before it is propagated."""
        bound = self._bound
        if x.requires_grad:
            x.register_hook(lambda dx: dx.clamp(-bound, bound))  # type: ignore[no-untyped-call]
        return x
