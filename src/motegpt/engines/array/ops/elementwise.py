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


class GainSaved(NamedTuple):
    """x (N, C), gain (C,)"""

    x: Array
    gain: Array


def apply_gain(x: Array, gain: Array) -> tuple[Array, GainSaved]:
    """y[n] = x[n] · gain.   x, y (N, C), gain (C,)"""
    return x * gain, GainSaved(x, gain)


@backward_of(apply_gain)
def apply_gain_backward(dy: Array, saved: GainSaved) -> tuple[Array, Array]:
    """Of y[n] = x[n] · gain: dx[n] = dy[n] · gain and dgain = Σ_n dy[n] · x[n]."""
    x, gain = saved
    return dy * gain, (dy * x).sum(axis=0)


def add_bias(x: Array, bias: Array) -> tuple[Array, None]:
    """y[n] = x[n] + bias.   x, y (N, C), bias (C,)"""
    return x + bias, None


@backward_of(add_bias)
def add_bias_backward(dy: Array, saved: None) -> tuple[Array, Array]:
    """Of y[n] = x[n] + bias: dx is dy, and dbias = Σ_n dy[n]."""
    return dy, dy.sum(axis=0)
