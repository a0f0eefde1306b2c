"""The operations of the model over tensors.

`Operations` calls PyTorch's own functions and is what trains; `Reference` computes the same from the
definitions, and tests compare the two. Letters are those of docs/notation.md.
"""

from __future__ import annotations

from math import pi, sqrt
from typing import TYPE_CHECKING, assert_never

import torch
import torch.nn.functional as F
from torch import Tensor

from motegpt.model.dropout import mask_hash, threshold
from motegpt.model.rope import frequencies

if TYPE_CHECKING:
    from motegpt.config.sections import ModelConfig
    from motegpt.config.sections.model import Activation, Norm

Rotations = tuple[Tensor, Tensor]  # cos and sin (T, D / 2)


class Operations:
    """PyTorch's own functions."""

    def linear(self, x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
        """y = x · wᵀ + bias.   (…, in), w (out, in), bias (out,) -> (…, out)"""
        return F.linear(x, w, bias)

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

    def norm(self, kind: Norm, x: Tensor, gain: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
        """The norm of that kind, times gain (C,) and plus bias (C,) if there are any.   (…, C) -> (…, C)"""
        match kind:
            case "rms":
                y = self.rmsnorm(x, eps, gain)
                return y if bias is None else y + bias
            case "layer":
                return self.layernorm(x, eps, gain, bias)
            case "none":
                return x
            case _:
                assert_never(kind)

    def rmsnorm(self, x: Tensor, eps: float, gain: Tensor | None = None) -> Tensor:
        """y = x · (mean(x²) + eps)^-½ · gain (Zhang and Sennrich, 2019).   (…, C), gain (C,) -> (…, C)"""
        return F.rms_norm(x, x.shape[-1:], gain, eps)

    def layernorm(self, x: Tensor, eps: float, gain: Tensor | None, bias: Tensor | None) -> Tensor:
        """y = z · (mean(z²) + eps)^-½ · gain + bias, z = x - mean(x) (Ba et al., 2016).   As rmsnorm."""
        return F.layer_norm(x, x.shape[-1:], gain, bias, eps)

    def rotate(self, x: Tensor, by: Rotations) -> Tensor:
        """y = (a · cos - b · sin, b · cos + a · sin) with x = (a, b) (Su et al., 2021).   (B, H, T, D)"""
        (cos, sin), (a, b) = by, x.chunk(2, -1)
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

    def attention(self, q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> Tensor:
        """y = softmax(q · kᵀ / √D) · v (Vaswani et al., 2017).   q (B, H, T, D), k and v (B, G, S, D) -> as q

        causal: query t sees the keys 0 … t alone, and S = T; otherwise every query sees every key. G divides
        H; head h of the queries sees head h // (H / G) of the keys (Ainslie et al., 2023). On a CUDA GPU in
        float32 heads are repeated: the fused kernel of that precision has no shared ones.
        """
        if q.is_cuda and q.dtype == torch.float32:
            k, v = repeat_heads(k, q.shape[1]), repeat_heads(v, q.shape[1])
        shared = k.shape[1] < q.shape[1]
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=shared)

    def activation(self, a: Tensor, kind: Activation) -> Tensor:
        """The nonlinearity of the MLP; that of swiglu is silu(a) = a · σ(a), with which it multiplies u.

        max(0, a); its square (So et al., 2021); gelu: a · Φ(a), and its approximation by tanh (Hendrycks and
        Gimpel, 2016); swiglu: Shazeer, 2020.
        """
        match kind:
            case "relu":
                return F.relu(a)
            case "squared_relu":
                return F.relu(a).square()
            case "gelu":
                return F.gelu(a)
            case "gelu_tanh":
                return F.gelu(a, approximate="tanh")
            case "swiglu":
                return F.silu(a)
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
    """Products, norms, attention, activations and loss from their definitions."""

    def linear(self, x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
        y = x @ w.T
        return y if bias is None else y + bias

    def rmsnorm(self, x: Tensor, eps: float, gain: Tensor | None = None) -> Tensor:
        y = x * (x.square().mean(-1, keepdim=True) + eps) ** -0.5
        return y if gain is None else y * gain

    def layernorm(self, x: Tensor, eps: float, gain: Tensor | None, bias: Tensor | None) -> Tensor:
        y = self.rmsnorm(x - x.mean(-1, keepdim=True), eps, gain)
        return y if bias is None else y + bias

    def attention(self, q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> Tensor:
        k, v = repeat_heads(k, q.shape[1]), repeat_heads(v, q.shape[1])
        e = exp_shifted(attention_scores(q, k, causal))
        return e / e.sum(-1, keepdim=True) @ v

    def activation(self, a: Tensor, kind: Activation) -> Tensor:
        match kind:
            case "relu":
                return a * (a > 0)
            case "squared_relu":
                return a * a * (a > 0)
            case "gelu":
                return a / 2 * (1 + torch.erf(a / sqrt(2)))
            case "gelu_tanh":
                return a / 2 * (1 + torch.tanh(sqrt(2 / pi) * (a + 0.044715 * a**3)))
            case "swiglu":
                return a / (1 + torch.exp(-a))
            case _:
                assert_never(kind)

    def cross_entropy(self, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        x = logits - logits.detach().amax(-1, keepdim=True)
        log_p = x.gather(1, targets[:, None]) - x.exp().sum(-1, keepdim=True).log()
        return (log_p[:, 0] * -weights).sum()


def repeat_heads(x: Tensor, heads: int) -> Tensor:
    """Each head of keys or values for all queries that share it.   (B, G, S, D) -> (B, heads, S, D)"""
    return x if x.shape[1] == heads else x.repeat_interleave(heads // x.shape[1], 1)


def attention_scores(q: Tensor, k: Tensor, causal: bool) -> Tensor:
    """q · kᵀ / √D; if causal, -inf where key s > query t.   q (B, H, T, D), k (B, H, S, D) -> (B, H, T, S)"""
    scores: Tensor = q @ k.mT * q.shape[-1] ** -0.5
    if not causal:
        return scores
    return scores + torch.full(scores.shape[-2:], -torch.inf, dtype=q.dtype, device=q.device).triu(1)


def exp_shifted(x: Tensor) -> Tensor:
    """exp(x - max x) over the last axis, the maximum a constant."""
    return (x - x.detach().amax(-1, keepdim=True)).exp()
