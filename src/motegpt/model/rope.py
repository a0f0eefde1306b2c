"""Rotary position embedding, RoPE (Su et al., 2021): the angles by which queries and keys are rotated.

Channels i and i + D/2 of a head are a pair (the halves of Llama, not the neighbors of the paper, which are
the same up to the order of the channels). At position t it is rotated by the angle t · f_i:

    y_i       = x_i · cos(t f_i) - x_(i + D/2) · sin(t f_i)        f_i = rope_base^(-2i / D)
    y_(i+D/2) = x_(i + D/2) · cos(t f_i) + x_i · sin(t f_i)

The product of a query at t and a key at u then depends on t - u alone. Standard library only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from motegpt.config.sections import ModelConfig


def frequencies(model: ModelConfig) -> list[float]:
    """f_i in radians per position for each of the D/2 pairs; empty without RoPE."""
    if model.position != "rope":
        return []
    return [model.rope_base ** (-2 * i / model.head_size) for i in range(model.head_size // 2)]
