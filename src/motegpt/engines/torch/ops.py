"""The operations of the model over tensors, twice: as PyTorch's own fused functions, and written out.

`Fused` is what trains. `Written` computes the same in the scalar graph's own intermediates: it is the
reference the fused functions are tested against, and with a bound it is the node clip, for which every
intermediate's gradient has to pass by. Letters are those of docs/notation.md.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class Operations(Protocol):
    """What the model is made of, beside sums and linear layers."""

    def node(self, x: Tensor) -> Tensor:
        """x itself, where its gradient may be clipped on its way back."""
        ...

    def rmsnorm(self, x: Tensor, eps: float) -> Tensor:
        """y = x · (mean(x²) + eps)^-½ (Zhang and Sennrich, 2019).   (…, C) -> (…, C)"""
        ...

    def attention(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """y = softmax(q · kᵀ / √D) · v over the positions so far (Vaswani et al., 2017).   (B, H, T, D)"""
        ...

    def activation(self, u: Tensor, kind: str) -> Tensor:
        """max(0, u), squared if kind is squared_relu (So et al., 2021)."""
        ...

    def cross_entropy(self, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """loss = Σ weights · -log p[target].   logits (N, V), targets (N,), weights (N,) -> ()"""
        ...


class Fused:
    """PyTorch's own functions. The mask is causal alone: padding is at the end, where nobody looks."""

    def node(self, x: Tensor) -> Tensor:
        return x

    def rmsnorm(self, x: Tensor, eps: float) -> Tensor:
        return F.rms_norm(x, x.shape[-1:], eps=eps)

    def attention(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    def activation(self, u: Tensor, kind: str) -> Tensor:
        return F.relu(u) if kind == "relu" else F.relu(u).square()

    def cross_entropy(self, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        losses = F.cross_entropy(logits.to(weights.dtype), targets, reduction="none")
        return (losses * weights).sum()


class Written:
    """Node by node as the scalar engine has them; `bound` clips each node's gradient to ± bound."""

    def __init__(self, bound: float | None = None) -> None:
        self._bound = bound

    def node(self, x: Tensor) -> Tensor:
        bound = self._bound
        if bound is not None and x.requires_grad:
            x.register_hook(lambda dx: dx.clamp(-bound, bound))  # type: ignore[no-untyped-call]
        return x

    def rmsnorm(self, x: Tensor, eps: float) -> Tensor:
        mean_square = self.node(x.square().mean(-1, keepdim=True) + eps)
        return x * self.node(mean_square**-0.5)

    def attention(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        t = q.shape[-2]
        mask = torch.full((t, t), -torch.inf, dtype=q.dtype, device=q.device).triu(1)
        scores = q @ k.mT * q.shape[-1] ** -0.5
        return self._softmax(self.node(scores + mask)) @ v

    def activation(self, u: Tensor, kind: str) -> Tensor:
        positive = self.node(F.relu(u))
        return positive if kind == "relu" else self.node(positive * positive)

    def cross_entropy(self, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """With a bound through p itself, as the graph has it then: infinite at p = 0."""
        counted = weights.nonzero()[:, 0]  # padding has no gradient, not even where its p is zero
        logits, targets, weights = logits[counted], targets[counted], weights[counted]
        if self._bound is None:
            x = logits - logits.detach().amax(-1, keepdim=True)
            log_p = x.gather(1, targets[:, None]) - x.exp().sum(-1, keepdim=True).log()
        else:
            log_p = self.node(self._softmax(logits).gather(1, targets[:, None]).log())
        return self.node((log_p[:, 0] * -weights).sum())

    def _softmax(self, x: Tensor) -> Tensor:
        """p = e · inverse, e = exp(x - max x), inverse = (Σe)^-1, over the last axis."""
        e = self.node((x - x.detach().amax(-1, keepdim=True)).exp())
        inverse = self.node(self.node(e.sum(-1, keepdim=True)) ** -1.0)
        return self.node(e * inverse)
