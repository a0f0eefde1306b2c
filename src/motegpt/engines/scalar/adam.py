"""Adam over a list of nodes, and the clips that come before it. Standard library only."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from motegpt.config import TrainConfig
    from motegpt.engines.scalar.graph import Node
    from motegpt.schedule import AdamRates


def clip_gradient(nodes: list[Node], train: TrainConfig) -> None:
    """First each gradient to ± clip_value, then the whole to a norm of at most clip_norm."""
    if train.clip_value is not None:
        for node in nodes:
            node.grad = min(max(node.grad, -train.clip_value), train.clip_value)
    if train.clip_norm is not None:
        norm = math.sqrt(sum(node.grad * node.grad for node in nodes))
        if norm > train.clip_norm:
            for node in nodes:
                node.grad *= train.clip_norm / norm


def adam_step(
    nodes: list[Node], m: list[float], v: list[float], rates: AdamRates, decayed: list[bool]
) -> None:
    """One update in place; AdamRates has the equations. Leaves every gradient at zero.

    decayed: for each node whether weight decay acts on it.
    """
    keep_m, take_m, keep_v, take_v, shrink, rate, square, eps = rates
    for i, node in enumerate(nodes):
        grad = node.grad
        m[i] = mean = keep_m * m[i] + take_m * grad
        v[i] = mean_square = keep_v * v[i] + take_v * grad * grad
        kept = shrink * node.data if decayed[i] else node.data
        node.data = kept - rate * mean / (math.sqrt(square * mean_square) + eps)
        node.grad = 0.0
