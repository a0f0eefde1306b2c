"""Activations of the MLP."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from motegpt.engines.array.ops.base import Array, backward_of

if TYPE_CHECKING:
    from motegpt.config.sections import Activation


class ActivationSaved(NamedTuple):
    """u (N, 4C)"""

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


ACTIVATIONS: dict[Activation, Callable[[Array], tuple[Array, ActivationSaved]]] = {
    "relu": relu,
    "squared_relu": squared_relu,
}
