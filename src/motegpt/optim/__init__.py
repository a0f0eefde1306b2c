"""Name -> optimizer. A new one is a module here and a step function in each engine. Standard library only."""

from __future__ import annotations

from motegpt.optim.adam import Adam
from motegpt.optim.base import Optimizer
from motegpt.optim.sgd import SGD

OPTIMIZERS: dict[str, Optimizer] = {optimizer.name: optimizer for optimizer in (Adam(), SGD())}
