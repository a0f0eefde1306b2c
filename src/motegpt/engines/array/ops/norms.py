"""Norms: norm(x, eps), with the scale r among what it saves."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from motegpt.engines.array.ops.base import Array, backward_of

if TYPE_CHECKING:
    from motegpt.config.sections import Norm


class RMSNormSaved(NamedTuple):
    """x (…, C), r (…, 1)"""

    x: Array
    r: Array


def rmsnorm(x: Array, eps: float) -> tuple[Array, RMSNormSaved]:
    """y = x · r with r = (mean(x²) + eps)^-½.   x, y (…, C), or (B, H, T, D) for each head"""
    mean = (x * x).sum(axis=-1, keepdims=True) * (1.0 / x.shape[-1])
    r: Array = (mean + eps) ** -0.5
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


NORMS: dict[Norm, Callable[..., tuple[Array, Any]]] = {"rms": rmsnorm}
