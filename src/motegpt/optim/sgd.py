"""Stochastic gradient descent with momentum, as in torch.optim.SGD, but with decoupled weight decay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from motegpt.model.schedule import learning_rate
from motegpt.optim.base import Optimizer, weight_decay_factor

if TYPE_CHECKING:
    from motegpt.config.sections import TrainConfig


class SGDScalars(NamedTuple):
    """Scalars of one SGD step. With gradient g:

    velocity <- momentum · velocity + g,   w <- decay · w - lr · velocity
    """

    momentum: float
    decay: float
    lr: float


class SGD(Optimizer):
    """velocity: the sum of past gradients, decayed by momentum per step.

    Sutskever et al. (2013) include lr in the velocity; here, as in PyTorch, lr multiplies the velocity, so a
    schedule scales past gradients too. PyTorch adds weight_decay · w to g, which differs from `decay` unless
    momentum is 0.
    """

    name = "sgd"
    slots = ("velocity",)
    is_compiled = True

    def _varying(self, train: TrainConfig, steps: Sequence[int]) -> tuple[list[float], ...]:
        return ([learning_rate(train, step) for step in steps],)

    def _scalars(self, train: TrainConfig, *varying: Any) -> SGDScalars:
        (lr,) = varying
        return SGDScalars(train.momentum, weight_decay_factor(train, lr), lr)
