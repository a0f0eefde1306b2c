"""One step of each optimizer over a list of nodes, and the clips that come before it.

Standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from motegpt.config.sections import TrainConfig
    from motegpt.engines.scalar.graph import Value
    from motegpt.optim.adam import AdamScalars
    from motegpt.optim.sgd import SGDScalars


def clip_gradient(nodes: list[Value], train: TrainConfig) -> None:
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
    nodes: Iterable[tuple[int, Value]],
    m: list[float],
    v: list[float],
    scalars: AdamScalars,
    decayed: list[bool],
) -> None:
    """One update in place; AdamScalars has the equations. Leaves every gradient at zero."""
    beta1, one_minus_beta1, beta2, one_minus_beta2, decay, step_size, v_scale, eps = scalars
    for i, node in nodes:
        grad = node.grad
        m[i] = beta1 * m[i] + one_minus_beta1 * grad
        v[i] = beta2 * v[i] + one_minus_beta2 * grad * grad
        kept = decay * node.data if decayed[i] else node.data
        node.data = kept - step_size * m[i] / (math.sqrt(v_scale * v[i]) + eps)
        node.grad = 0.0


def sgd_step(
    nodes: Iterable[tuple[int, Value]], velocity: list[float], scalars: SGDScalars, decayed: list[bool]
) -> None:
    """One update in place; SGDScalars has the equations. Leaves every gradient at zero."""
    momentum, decay, lr = scalars
    for i, node in nodes:
        velocity[i] = momentum * velocity[i] + node.grad
        kept = decay * node.data if decayed[i] else node.data
        node.data = kept - lr * velocity[i]
        node.grad = 0.0


# step(nodes, *slots, scalars, decayed); nodes: those to update, each with its index in the slots and in
# `decayed`, which has for every node whether weight decay acts on it
STEPS: dict[str, Callable[..., None]] = {"adam": adam_step, "sgd": sgd_step}
