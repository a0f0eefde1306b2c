"""The operations of the model over tensors, twice: as PyTorch's own fused functions, and written out.

`Fused` is what trains; `Written` is the reference that its functions are tested against. Letters are those of
docs/notation.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, assert_never

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from motegpt.config.sections import Activation


class Operations(Protocol):
    """What the model is made of, beside the lookup of embeddings."""

    def linear(self, x: Tensor, w: Tensor) -> Tensor:
        """y = x · wᵀ.   (…, in), w (out, in) -> (…, out)"""
        ...

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        """x + y"""
        ...

    def rmsnorm(self, x: Tensor, eps: float) -> Tensor:
        """y = x · (mean(x²) + eps)^-½ (Zhang and Sennrich, 2019).   (…, C) -> (…, C)"""
        ...

    def attention(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """y = softmax(q · kᵀ / √D) · v over the positions so far (Vaswani et al., 2017).   (B, H, T, D)"""
        ...

    def activation(self, u: Tensor, kind: Activation) -> Tensor:
        """max(0, u), squared if kind is squared_relu (So et al., 2021)."""
        ...

    def cross_entropy(self, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """loss = Σ weights · -log p[target].   logits (N, V), targets (N,), weights (N,) -> ()"""
        ...


class Fused:
    """PyTorch's own functions. The mask is causal alone: padding is at the end, where nobody looks."""

    def linear(self, x: Tensor, w: Tensor) -> Tensor:
        return F.linear(x, w)

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y

    def rmsnorm(self, x: Tensor, eps: float) -> Tensor:
        return F.rms_norm(x, x.shape[-1:], eps=eps)

    def attention(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    def activation(self, u: Tensor, kind: Activation) -> Tensor:
        match kind:
            case "relu":
                return F.relu(u)
            case "squared_relu":
                return F.relu(u).square()
            case _:
                assert_never(kind)

    def cross_entropy(self, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        losses = F.cross_entropy(logits.to(weights.dtype), targets, reduction="none")
        return (losses * weights).sum()


class Written(Fused):
    """Softmax, norm and loss from their definitions."""

    def rmsnorm(self, x: Tensor, eps: float) -> Tensor:
        return x * (x.square().mean(-1, keepdim=True) + eps) ** -0.5

    def attention(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        e = exp_less_largest(causal_scores(q, k))
        return e / e.sum(-1, keepdim=True) @ v

    def cross_entropy(self, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        x = logits - logits.detach().amax(-1, keepdim=True)
        log_p = x.gather(1, targets[:, None]) - x.exp().sum(-1, keepdim=True).log()
        return (log_p[:, 0] * -weights).sum()


def causal_scores(q: Tensor, k: Tensor) -> Tensor:
    """q · kᵀ / √D, -inf where position t would look ahead.   q, k (B, H, T, D) -> (B, H, T, T)"""
    t = q.shape[-2]
    mask = torch.full((t, t), -torch.inf, dtype=q.dtype, device=q.device).triu(1)
    scores: Tensor = q @ k.mT * q.shape[-1] ** -0.5 + mask
    return scores


def exp_less_largest(x: Tensor) -> Tensor:
    """exp(x - max x) over the last axis, the maximum a constant."""
    return (x - x.detach().amax(-1, keepdim=True)).exp()
