"""The split of channels into heads, and heads that several queries share."""

from __future__ import annotations

from typing import NamedTuple

from motegpt.engines.array.ops.base import Array, backward_of


def split_heads(x: Array, batch: int, heads: int) -> tuple[Array, None]:
    """y[b, h, t, d] = x[b·T + t, h·D + d].   x (N, H·D) -> y (B, H, T, D)"""
    return x.reshape(batch, -1, heads, x.shape[1] // heads).transpose(0, 2, 1, 3), None


@backward_of(split_heads)
def split_heads_backward(dy: Array, saved: None) -> Array:
    """Of y[b, h, t, d] = x[b·T + t, h·D + d]: dx is dy, merged."""
    return merge_heads(dy)


def merge_heads(x: Array) -> Array:
    """The inverse of split_heads.   x (B, H, T, D) -> y (N, H·D)"""
    b, h, t, d = x.shape
    return x.transpose(0, 2, 1, 3).reshape(b * t, h * d)


class RepeatSaved(NamedTuple):
    """times: queries that share a head"""

    times: int


def repeat_heads(x: Array, times: int) -> tuple[Array, RepeatSaved]:
    """y[b, h] = x[b, h // times] (Ainslie et al., 2023).   x (B, K, U, D) -> y (B, K·times, U, D)"""
    return x.repeat(times, axis=1), RepeatSaved(times)


@backward_of(repeat_heads)
def repeat_heads_backward(dy: Array, saved: RepeatSaved) -> Array:
    """Of y[b, h] = x[b, h // times]: a head collects the dy of all that share it."""
    b, h, u, d = dy.shape
    dx: Array = dy.reshape(b, h // saved.times, saved.times, u, d).sum(axis=2)
    return dx
