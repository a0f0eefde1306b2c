"""Norms: norm(x, eps), with the scale r among what it saves. Gain and bias are operations of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from motegpt.engines.array.ops.base import Array, backward_of

if TYPE_CHECKING:
    from motegpt.config.sections.model import Norm


def channel_mean(x: Array) -> Array:
    """x (…, C) -> (…, 1)"""
    mean: Array = x.sum(axis=-1, keepdims=True) * (1.0 / x.shape[-1])
    return mean


class RMSNormSaved(NamedTuple):
    """x (…, C), r (…, 1)"""

    x: Array
    r: Array


def rmsnorm(x: Array, eps: float) -> tuple[Array, RMSNormSaved]:
    """y = x · r with r = (mean(x²) + eps)^-½ (Zhang and Sennrich, 2019).

    x, y (…, C), or (B, H, T, D) for each head
    """
    r: Array = (channel_mean(x * x) + eps) ** -0.5
    return x * r, RMSNormSaved(x, r)


@backward_of(rmsnorm)
def rmsnorm_backward(dy: Array, saved: RMSNormSaved) -> Array:
    """Of y = x · r with r = (mean(x²) + eps)^-½: dr = Σ dy·x, dmean = -½ r³ dr.

    dx = dy · r + dmean · 2 x / C, factored: (dy - x · r² · dr / C) · r.
    """
    x, r = saved
    dr = (dy * x).sum(axis=-1, keepdims=True)
    dx: Array = (dy - x * (r * r * dr * (1.0 / x.shape[-1]))) * r
    return dx


class LayerNormSaved(NamedTuple):
    """y (…, C), r (…, 1)"""

    y: Array
    r: Array


def layernorm(x: Array, eps: float) -> tuple[Array, LayerNormSaved]:
    """y = c · r with c = x - mean(x), r = (mean(c²) + eps)^-½ (Ba et al., 2016).   x, y (…, C)"""
    c = x - channel_mean(x)
    r: Array = (channel_mean(c * c) + eps) ** -0.5
    y = c * r
    return y, LayerNormSaved(y, r)


@backward_of(layernorm)
def layernorm_backward(dy: Array, saved: LayerNormSaved) -> Array:
    """Of y = c · r with c = x - mean(x), r = (mean(c²) + eps)^-½: dc as in rmsnorm, dx = dc - mean(dc).

    dc = (dy - y · mean(dy · y)) · r. As the mean of y is 0, mean(dc) = mean(dy) · r.
    """
    y, r = saved
    dx: Array = (dy - channel_mean(dy) - y * channel_mean(dy * y)) * r
    return dx


NORMS: dict[Norm, Callable[..., tuple[Array, Any]] | None] = {
    "rms": rmsnorm,
    "layer": layernorm,
    "none": None,
}
