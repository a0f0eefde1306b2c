"""Products with matrices, and the split of their results into heads."""

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


def split_heads(x: Array, batch: int, heads: int) -> Array:
    """y[b, h, t, d] = x[b·T + t, h·D + d].   x (N, C) -> y (B, H, T, D)"""
    return x.reshape(batch, -1, heads, x.shape[1] // heads).transpose(0, 2, 1, 3)


def merge_heads(x: Array) -> Array:
    """The inverse of split_heads.   x (B, H, T, D) -> y (N, C)"""
    b, h, t, d = x.shape
    return x.transpose(0, 2, 1, 3).reshape(b * t, h * d)


def linear_heads(x: Array, w: Array, batch: int, heads: int) -> tuple[Array, LinearSaved]:
    """y = split_heads(x · wᵀ).   x (N, C), w (C, C) -> y (B, H, T, D)"""
    y, saved = linear(x, w)
    return split_heads(y, batch, heads), saved


@backward_of(linear_heads)
def linear_heads_backward(dy: Array, saved: LinearSaved) -> tuple[Array, Array]:
    """Of y = split_heads(x · wᵀ): dx and dw."""
    return linear_backward(merge_heads(dy), saved)
