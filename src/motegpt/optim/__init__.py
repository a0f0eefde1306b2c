"""Name -> optimizer. Standard library only.

A new one is a module here, a choice of the setting `optimizer`, and a step function in each engine that has
it; in the core that is a header, and the structure of its scalars in core.hpp.
"""

from __future__ import annotations

from motegpt.optim.adam import Adam
from motegpt.optim.base import Optimizer
from motegpt.optim.sgd import SGD

OPTIMIZERS: dict[str, Optimizer] = {optimizer.name: optimizer for optimizer in (Adam(), SGD())}
