"""Products with matrices."""

from __future__ import annotations

from typing import NamedTuple

from motegpt.engines.array.ops.base import Array, backward_of


class LinearSaved(NamedTuple):
    """x (N, in), w (out, in)"""

    x: Array
    w: Array


def linear(x: Array, w: Array) -> tuple[Array, LinearSaved]:
    """y = x · wᵀ.   x (N, in), w (out, in) -> y (N, out)"""
    return x @ w.T, LinearSaved(x, w)


@backward_of(linear)
def linear_backward(dy: Array, saved: LinearSaved) -> tuple[Array, Array]:
    """Of y = x · wᵀ: dx = dy · w and dw = dyᵀ · x."""
    x, w = saved
    return dy @ w, dy.T @ x
