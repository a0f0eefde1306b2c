"""Hook points: where a forward pass shows an intermediate, may be given another, and receives its gradient.

A hook may keep some numbers of an intermediate and change others. The gradient passes through those it kept
and stops at those it changed, which it made constants: exact for ablation and patching. A backward hook
gives another gradient instead, for a change that depends on the value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from motegpt.engines.array.ops.base import Array, backward_of
from motegpt.engines.array.ops.norms import channel_mean, layernorm

Change = Callable[[Array], Array | None]  # a value or gradient -> what takes its place, or None


class Layout(NamedTuple):
    """How the array of an operation is shown to hooks, and back."""

    shown: Callable[[Array], Array]
    inner: Callable[[Array], Array]


def as_rows(batch: int) -> Layout:
    """(N, C) as (B, T, C)"""
    return Layout(lambda x: x.reshape(batch, -1, x.shape[-1]), lambda x: x.reshape(-1, x.shape[-1]))


def as_heads(batch: int, heads: int) -> Layout:
    """(N, H·D) as (B, T, H, D)"""
    return Layout(
        lambda x: x.reshape(batch, -1, heads, x.shape[1] // heads),
        lambda x: x.reshape(-1, heads * x.shape[3]),
    )


def swapped(x: Array) -> Array:
    """(B, H, T, D) <-> (B, T, H, D)"""
    return x.swapaxes(1, 2)


HEADS, SAME = Layout(swapped, swapped), Layout(lambda x: x, lambda x: x)


@dataclass
class Points:
    """The hook points of one pass: values and, after Tape.backward, gradients of the shown arrays by name.

    hooks, backward_hooks: by name; keep: the names whose values and gradients are wanted (default: all).
    A value is that after its hook, and a gradient that with respect to this value.
    """

    hooks: Mapping[str, Change] = field(default_factory=dict)
    backward_hooks: Mapping[str, Change] = field(default_factory=dict)
    keep: Callable[[str], bool] = lambda name: True
    values: dict[str, Array] = field(default_factory=dict)
    gradients: dict[str, Array] = field(default_factory=dict)


class Point:
    """One hook point."""

    def __init__(self, points: Points, name: str, layout: Layout) -> None:
        self._points, self._name, self._layout = points, name, layout
        self._kept: NDArray[np.bool_] | None = None  # None: the whole value

    def forward(self, x: Array) -> Array:
        """x itself, or another array if a hook changes numbers of it."""
        value, hook = self._layout.shown(x), self._points.hooks.get(self._name)
        if hook is not None and (changed := hook(value)) is not None:
            kept = (changed == value) | ((changed != changed) & (value != value))
            if not kept.all():
                self._kept, value, x = kept, changed, self._layout.inner(changed)
        if self._points.keep(self._name):
            self._points.values[self._name] = value
        return x

    def backward(self, dy: Array) -> Array:
        """The gradient of the value as it came, from that of the value as it went on."""
        dvalue, hook = self._layout.shown(dy), self._points.backward_hooks.get(self._name)
        if self._points.keep(self._name):
            self._points.gradients[self._name] = dvalue
        if hook is not None and (changed := hook(dvalue)) is not None:
            return self._layout.inner(changed)
        return dy if self._kept is None else self._layout.inner(np.where(self._kept, dvalue, 0.0))


def at_point(x: Array, point: Point) -> tuple[Array, Point]:
    """y = x, but for what a hook changes"""
    return point.forward(x), point


@backward_of(at_point)
def at_point_backward(dy: Array, point: Point) -> Array:
    """Of y = x, but for what a hook changes: dx is dy, and 0 where y was changed, or as a hook says."""
    return point.backward(dy)


class NormAtPointSaved(NamedTuple):
    """c (…, C); scale, used (…, 1): before and after the hooks; centered: whether c is x - mean(x)"""

    c: Array
    scale: Array
    used: Array
    centered: bool
    point: Point


def norm_at_point(
    x: Array, norm: Callable[..., tuple[Array, Any]], eps: float, point: Point
) -> tuple[Array, NormAtPointSaved]:
    """y = norm(x, eps), one of NORMS, as c / s with s = 1 / r at a hook point.   x, y (…, C)"""
    y, saved = norm(x, eps)
    centered, scale = norm is layernorm, 1.0 / saved.r
    c, used = x - channel_mean(x) if centered else x, point.forward(scale)
    return y if used is scale else c / used, NormAtPointSaved(c, scale, used, centered, point)


@backward_of(norm_at_point)
def norm_at_point_backward(dy: Array, saved: NormAtPointSaved) -> Array:
    """Of y = c / s with s = (mean(c²) + eps)^½: ds = -Σ dy·c / s² and dc = dy / s + ds · c / (C · s).

    dx is dc, of LayerNorm dc - mean(dc). A hook that changes s changes that of y alone.
    """
    c, scale, used, centered, point = saved
    ds = point.backward(-(dy * c).sum(axis=-1, keepdims=True) / used**2)
    dc: Array = dy / used + ds * c / (c.shape[-1] * scale)
    return dc - channel_mean(dc) if centered else dc
