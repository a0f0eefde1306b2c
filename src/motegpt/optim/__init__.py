"""Optimizers by name. Standard library only.

A new optimizer needs a module here, a choice of the setting `optimizer`, and a step function in each engine
that supports it; in the C++ core a header.
"""

from __future__ import annotations

from motegpt.optim.adam import Adam
from motegpt.optim.base import Optimizer
from motegpt.optim.sgd import SGD

OPTIMIZERS: dict[str, Optimizer] = {optimizer.name: optimizer for optimizer in (Adam(), SGD())}
