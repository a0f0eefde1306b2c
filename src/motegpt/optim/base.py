"""The interface of optimizers: the state per parameter, and the scalars of each step.

An optimizer here does not update parameters; each engine has a step function per optimizer, which takes the
slots in order and the scalars. Standard library only, except `chunk`, which imports NumPy.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar

from motegpt.model import core
from motegpt.model.schedule import learning_rate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from motegpt.config.sections import TrainConfig


TABLE_DECAY_EVERY = 8  # steps between two decays of the tables; docs/log.md has the measurements


class Optimizer(ABC):
    """name: value of the setting `optimizer`; slots: arrays like the parameters, zero before step 0.

    is_compiled: cpp/schedule.cpp has its scalars too.
    """

    name: ClassVar[str]
    slots: ClassVar[tuple[str, ...]]
    is_compiled: ClassVar[bool] = False

    def scalars(self, train: TrainConfig, step: int) -> Any:
        """The scalars of step `step`, counted from 0: a named tuple, the same for every engine."""
        return self._scalars(train, *(value for (value,) in self._varying(train, [step])))

    def chunk(self, train: TrainConfig, start: int, count: int) -> NDArray[np.float64]:
        """The scalars of the steps start … start + count - 1, one row per step: (count, scalars).

        Powers and cosines are computed per step, because libraries may round them differently for arrays; the
        scalars of a step must not depend on its chunk.
        """
        if self.is_compiled and (numbers := core.numbers()) is not None:
            rows: NDArray[np.float64] = numbers.step_scalars(self.name, train, start, count)
            return rows
        return self._chunk(train, start, count)

    def _chunk(self, train: TrainConfig, start: int, count: int) -> NDArray[np.float64]:
        """The definition of `chunk`."""
        import numpy as np

        varying = self._varying(train, range(start, start + count))
        columns = self._scalars(train, *map(np.array, varying))
        rows = np.empty((count, len(columns)))
        for column, values in enumerate(columns):
            rows[:, column] = values
        return rows

    @abstractmethod
    def _varying(self, train: TrainConfig, steps: Sequence[int]) -> tuple[list[float], ...]:
        """The values per step of each quantity that varies, such as the learning rate."""

    @abstractmethod
    def _scalars(self, train: TrainConfig, *varying: Any) -> tuple[Any, ...]:
        """The scalars, computed from `varying` (floats or arrays) by + - * / and square roots only."""


def weight_decay_factor(train: TrainConfig, lr: Any) -> Any:
    """1 - lr · weight_decay, the factor of decoupled weight decay (Loshchilov and Hutter, 2019)."""
    return 1.0 - lr * train.weight_decay


def table_decay(train: TrainConfig, step: int) -> float:
    """The factor of every row of the tables after the update of step `step`; 1 at most steps.

    The decay of TABLE_DECAY_EVERY steps acts at once, so that the other steps touch only the rows they use:
    Π (1 - lr · ngram_weight_decay) over these steps. A pure function of the step.
    """
    if (step + 1) % TABLE_DECAY_EVERY or not train.ngram_weight_decay:
        return 1.0
    steps = range(step + 1 - TABLE_DECAY_EVERY, step + 1)
    return prod(1.0 - learning_rate(train, i) * train.ngram_weight_decay for i in steps)


def table_decays(train: TrainConfig, start: int, count: int) -> Sequence[float] | NDArray[np.float64]:
    """The factors of the steps start … start + count - 1."""
    if (numbers := core.numbers()) is not None:
        factors: NDArray[np.float64] = numbers.table_decays(train, start, count)
        return factors
    return [table_decay(train, step) for step in range(start, start + count)]
