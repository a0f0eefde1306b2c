"""The operations of the model over tensors.

`Operations` calls PyTorch's own functions and is what trains; `Reference` computes the same from the
definitions, and tests compare the two. Letters are those of docs/notation.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, assert_never

import torch
import torch.nn.functional as F
from torch import Tensor

from motegpt.model.dropout import mask_hash, threshold
from motegpt.model.rope import frequencies

if TYPE_CHECKING:
    from motegpt.config.sections import Activation, ModelConfig, Norm

Rotations = tuple[Tensor, Tensor]  # cos and sin (T, D / 2)


class Operations:
    """PyTorch's own functions."""

    def linear(self, x: Tensor, w: Tensor) -> Tensor:
        """y = x · wᵀ.   (…, in), w (out, in) -> (…, out)"""
        return F.linear(x, w)

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        """x + y"""
        return x + y

    def dropout(self, x: Tensor, keys: Tensor, p: float, dtype: torch.dtype) -> Tensor:
        """y = x · m with m = 0 or 1 / (1 - p), by model/dropout.py.   (B, T, C), keys (B,) -> (B, T, C)

        dtype: of m; 16 bits would round 1 / (1 - p) too much.
        """
        numbers = torch.arange(x[0].numel(), device=x.device)
        kept: Tensor = mask_hash(keys[:, None], numbers) >= threshold(p)
        return x * (kept.view_as(x).to(dtype) * (1.0 / (1.0 - p)))

    def norm(self, kind: Norm, x: Tensor, *own: Tensor, eps: float) -> Tensor:
        """The norm of that kind, with its own tensors (C,).   (…, C) -> (…, C)"""
        norms: dict[Norm, Callable[..., Tensor]] = {"rms": self.rmsnorm}
        return norms[kind](x, *own, eps)

    def rmsnorm(self, x: Tensor, eps: float) -> Tensor:
        """y = x · (mean(x²) + eps)^-½ (Zhang and Sennrich, 2019).   (…, C) -> (…, C)"""
        return F.rms_norm(x, x.shape[-1:], eps=eps)

    def rotate(self, x: Tensor, by: Rotations) -> Tensor:
        """y = (a · cos - b · sin, b · cos + a · sin) with x = (a, b) (Su et al., 2021).   (B, H, T, D)"""
        (cos, sin), (a, b) = by, x.chunk(2, -1)
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

    def attention(self, q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> Tensor:
        """y = softmax(q · kᵀ / √D) · v (Vaswani et al., 2017).   q (B, H, T, D), k and v (B, H, S, D) -> as q

        causal: query t sees the keys 0 … t alone, and S = T; otherwise every query sees every key.
        """
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal)

    def activation(self, u: Tensor, kind: Activation) -> Tensor:
        """max(0, u), squared if kind is squared_relu (So et al., 2021)."""
        match kind:
            case "relu":
                return F.relu(u)
            case "squared_relu":
                return F.relu(u).square()
            case _:
                assert_never(kind)

    def cross_entropy(self, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """loss = Σ weights · -log p[target].   logits (N, V), targets (N,), weights (N,) -> ()"""
        losses = F.cross_entropy(logits.to(weights.dtype), targets, reduction="none")
        return (losses * weights).sum()


def rotations(model: ModelConfig, start: int, t: int, like: Tensor) -> Rotations:
    """cos and sin of the angles of positions start … start + t - 1, rounded to the precision of `like`.

    Angles are in double precision, where the device has it; model/rope.py has the frequencies.
    """
    exact = torch.float32 if like.device.type == "mps" else torch.float64
    positions = torch.arange(start, start + t, dtype=exact, device=like.device)
    angles = positions[:, None] * torch.tensor(frequencies(model), dtype=exact, device=like.device)
    return angles.cos().to(like.dtype), angles.sin().to(like.dtype)


class Reference(Operations):
    """Attention, norm and loss from their definitions."""

    def rmsnorm(self, x: Tensor, eps: float) -> Tensor:
        return x * (x.square().mean(-1, keepdim=True) + eps) ** -0.5

    def attention(self, q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> Tensor:
        e = exp_shifted(attention_scores(q, k, causal))
        return e / e.sum(-1, keepdim=True) @ v

    def cross_entropy(self, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        x = logits - logits.detach().amax(-1, keepdim=True)
        log_p = x.gather(1, targets[:, None]) - x.exp().sum(-1, keepdim=True).log()
        return (log_p[:, 0] * -weights).sum()


def attention_scores(q: Tensor, k: Tensor, causal: bool) -> Tensor:
    """q · kᵀ / √D; if causal, -inf where key s > query t.   q (B, H, T, D), k (B, H, S, D) -> (B, H, T, S)"""
    scores: Tensor = q @ k.mT * q.shape[-1] ** -0.5
    if not causal:
        return scores
    return scores + torch.full(scores.shape[-2:], -torch.inf, dtype=q.dtype, device=q.device).triu(1)


def exp_shifted(x: Tensor) -> Tensor:
    """exp(x - max x) over the last axis, the maximum a constant."""
    return (x - x.detach().amax(-1, keepdim=True)).exp()
