"""Activations of the MLP: activation(u), and that of gated MLPs, activation(a, u)."""

from __future__ import annotations

from collections.abc import Callable
from math import erf, pi, sqrt
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from motegpt.engines.array.ops.base import Array, backward_of

if TYPE_CHECKING:
    from motegpt.config.sections.model import Activation


class ActivationSaved(NamedTuple):
    """u (N, hidden)"""

    u: Array


def relu(u: Array) -> tuple[Array, ActivationSaved]:
    """g = max(0, u)"""
    return np.maximum(u, 0.0), ActivationSaved(u)


@backward_of(relu)
def relu_backward(dg: Array, saved: ActivationSaved) -> Array:
    """Of g = max(0, u): du = dg where u > 0, else 0."""
    return dg * (saved.u > 0.0)


def squared_relu(u: Array) -> tuple[Array, ActivationSaved]:
    """g = max(0, u)² (So et al., 2021)"""
    return np.square(np.maximum(u, 0.0)), ActivationSaved(u)


@backward_of(squared_relu)
def squared_relu_backward(dg: Array, saved: ActivationSaved) -> Array:
    """Of g = max(0, u)²: du = 2 · max(0, u) · dg"""
    du: Array = 2.0 * np.maximum(saved.u, 0.0) * dg
    return du


# GELU (Hendrycks and Gimpel, 2016)


def normal_distribution(u: Array) -> Array:
    """Φ(u) = ½ (1 + erf(u / √2)), computed in float64; NumPy has no erf."""
    distribution: Array = 0.5 + 0.5 * np.vectorize(erf, otypes=[np.float64])(u.astype(np.float64) * sqrt(0.5))
    return distribution.astype(u.dtype)


def gelu(u: Array) -> tuple[Array, ActivationSaved]:
    """g = u · Φ(u) with Φ of the normal distribution"""
    return u * normal_distribution(u), ActivationSaved(u)


@backward_of(gelu)
def gelu_backward(dg: Array, saved: ActivationSaved) -> Array:
    """Of g = u · Φ(u): du = dg · (Φ(u) + u · φ(u)) with φ(u) = exp(-u² / 2) / √(2π)."""
    (u,) = saved
    density = np.exp(-0.5 * u * u) * (2.0 * pi) ** -0.5
    du: Array = dg * (normal_distribution(u) + u * density)
    return du


GELU_SCALE, GELU_CUBE = sqrt(2.0 / pi), 0.044715  # s and c of the approximation


def gelu_tanh(u: Array) -> tuple[Array, ActivationSaved]:
    """g = ½ u · (1 + τ) with τ = tanh(s · (u + c · u³))"""
    g: Array = 0.5 * u * (1.0 + np.tanh(GELU_SCALE * (u + GELU_CUBE * u * u * u)))
    return g, ActivationSaved(u)


@backward_of(gelu_tanh)
def gelu_tanh_backward(dg: Array, saved: ActivationSaved) -> Array:
    """Of g = ½ u · (1 + τ), τ = tanh(s · (u + c · u³)): dτ / du = (1 - τ²) · s · (1 + 3 c · u²).

    du = dg · ½ (1 + τ + u · dτ / du)
    """
    (u,) = saved
    tau = np.tanh(GELU_SCALE * (u + GELU_CUBE * u * u * u))
    slope = (1.0 - tau * tau) * (GELU_SCALE * (1.0 + 3.0 * GELU_CUBE * u * u))
    du: Array = dg * (0.5 * (1.0 + tau + u * slope))
    return du


# SwiGLU (Shazeer, 2020)


class SwiGLUSaved(NamedTuple):
    """a, u (N, hidden)"""

    a: Array
    u: Array


def sigmoid(a: Array) -> Array:
    """σ(a) = 1 / (1 + exp(-a)), without overflow."""
    e = np.exp(-np.abs(a))
    return np.where(a < 0.0, e, 1.0) / (1.0 + e)


def swiglu(a: Array, u: Array) -> tuple[Array, SwiGLUSaved]:
    """g = a · σ(a) · u.   a, the gate, and u, g (N, hidden)"""
    return a * sigmoid(a) * u, SwiGLUSaved(a, u)


@backward_of(swiglu)
def swiglu_backward(dg: Array, saved: SwiGLUSaved) -> tuple[Array, Array]:
    """Of g = a · σ(a) · u, with σ' = σ · (1 - σ): da = dg · u · σ · (1 + a · (1 - σ)) and du = dg · a · σ."""
    a, u = saved
    s = sigmoid(a)
    return dg * u * s * (1.0 + a * (1.0 - s)), dg * a * s


ACTIVATIONS: dict[Activation, Callable[..., tuple[Array, Any]]] = {
    "relu": relu,
    "squared_relu": squared_relu,
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "swiglu": swiglu,
}
