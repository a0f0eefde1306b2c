"""RoPE: the rotation of queries and keys by their positions (Su et al., 2021)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from motegpt.engines.array.ops.base import Array, backward_of
from motegpt.model.rope import frequencies

if TYPE_CHECKING:
    from motegpt.config.sections import ModelConfig


class RotateSaved(NamedTuple):
    """cos, sin (T, D / 2)"""

    cos: Array
    sin: Array


def rotations(model: ModelConfig, start: int, t: int, dtype: np.dtype[Any]) -> RotateSaved:
    """cos and sin of the angles of positions start … start + t - 1; model/rope.py has the frequencies."""
    angles = np.outer(np.arange(start, start + t), frequencies(model))
    return RotateSaved(np.cos(angles).astype(dtype), np.sin(angles).astype(dtype))


def rotate(x: Array, by: RotateSaved) -> tuple[Array, RotateSaved]:
    """y = (a · cos - b · sin, b · cos + a · sin) with x = (a, b).   x, y (B, H, T, D)   (Su et al., 2021)"""
    a, b = np.split(x, 2, axis=-1)
    return np.concatenate([a * by.cos - b * by.sin, b * by.cos + a * by.sin], axis=-1), by


@backward_of(rotate)
def rotate_backward(dy: Array, saved: RotateSaved) -> Array:
    """Of y = (a · cos - b · sin, b · cos + a · sin): dx is dy rotated back, by -sin."""
    return rotate(dy, RotateSaved(saved.cos, -saved.sin))[0]
