"""Sums, and products with masks and gains."""

from __future__ import annotations

from typing import NamedTuple

from motegpt.engines.array.ops.base import Array, backward_of


def add(x: Array, y: Array) -> tuple[Array, None]:
    """z = x + y, of equal shapes"""
    return x + y, None


@backward_of(add)
def add_backward(dz: Array, saved: None) -> tuple[Array, Array]:
    """Of z = x + y: dx and dy are dz."""
    return dz, dz


class DropoutSaved(NamedTuple):
    """mask (N, C): 0, or 1 / (1 - p)"""

    mask: Array


def dropout(x: Array, mask: Array) -> tuple[Array, DropoutSaved]:
    """y = x · mask.   x, mask, y (N, C)"""
    return x * mask, DropoutSaved(mask)


@backward_of(dropout)
def dropout_backward(dy: Array, saved: DropoutSaved) -> Array:
    """Of y = x · mask: dx = dy · mask."""
    dx: Array = dy * saved.mask
    return dx


class ScaleSaved(NamedTuple):
    """x of any shape, gain (1,)"""

    x: Array
    gain: Array


def scale(x: Array, gain: Array) -> tuple[Array, ScaleSaved]:
    """y = x · gain.   gain (1,)"""
    return x * gain, ScaleSaved(x, gain)


@backward_of(scale)
def scale_backward(dy: Array, saved: ScaleSaved) -> tuple[Array, Array]:
    """Of y = x · gain: dx = dy · gain and dgain = Σ dy · x."""
    x, gain = saved
    return dy * gain, (dy * x).sum().reshape(1)
