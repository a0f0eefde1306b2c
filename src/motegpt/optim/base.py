"""What an optimizer is: the state that it keeps of each parameter, and the scalars of each step.

It computes nothing with parameters: each engine has a step function per optimizer, which takes the slots in
their order and the scalars. Standard library only; NumPy is imported where a chunk of steps is asked for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from motegpt.config.sections import TrainConfig


class Optimizer(ABC):
    """name: as the setting `optimizer` has it; slots: arrays like the parameters, all zero before step 0."""

    name: ClassVar[str]
    slots: ClassVar[tuple[str, ...]]

    def scalars(self, train: TrainConfig, step: int) -> Any:
        """The scalars of step `step`, counted from 0: a named tuple, the same one for every engine."""
        return self._scalars(train, *(value for (value,) in self._varying(train, [step])))

    def chunk(self, train: TrainConfig, start: int, count: int) -> NDArray[np.float64]:
        """The scalars of the steps start … start + count - 1, one row per step: (count, scalars).

        Powers and cosines, which a library might compute differently for a whole array, are computed step by
        step, so that a step's scalars do not depend on the chunk it is in.
        """
        import numpy as np

        varying = self._varying(train, range(start, start + count))
        columns = self._scalars(train, *map(np.array, varying))
        rows = np.empty((count, len(columns)))
        for column, values in enumerate(columns):
            rows[:, column] = values
        return rows

    @abstractmethod
    def _varying(self, train: TrainConfig, steps: Sequence[int]) -> tuple[list[float], ...]:
        """What changes from step to step, such as the learning rate: for each such number its values."""

    @abstractmethod
    def _scalars(self, train: TrainConfig, *varying: Any) -> tuple[Any, ...]:
        """The scalars, by + - * / and square roots from `varying`: numbers of one step, or arrays of many."""


def weight_decay_factor(train: TrainConfig, lr: Any) -> Any:
    """1 - lr · weight_decay, by which the weights are multiplied: decay decoupled from the gradient.

    Loshchilov and Hutter, 2019; the same for every optimizer.
    """
    return 1.0 - lr * train.weight_decay
