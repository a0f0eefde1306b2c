"""The contract: what the loop, the sampler and the tests may ask of any engine.

Arrays cross it as NumPy arrays under the canonical names of parameters.py, matrices (out, in).
Nothing heavy is imported here; an engine's own libraries come with the engine.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, runtime_checkable

from motegpt.concise import concise
from motegpt.errors import SettingError
from motegpt.optim import OPTIMIZERS
from motegpt.parameters import parameter_count
from motegpt.settings import shortened

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from motegpt.batches import Batch, Plan
    from motegpt.config import ModelConfig, TrainConfig
    from motegpt.rng import Stream
    from motegpt.sampling.request import Request

    Arrays = dict[str, NDArray[np.floating[Any]]]
    # Flat in row-major order or already (out, in): a NumPy array, array.array or list of numbers.
    Values = Mapping[str, Any]


@dataclass(frozen=True)
class Snapshot:
    """All that an engine learns: the parameters, and the optimizer's slots, each like the parameters."""

    parameters: Arrays
    slots: dict[str, Arrays]


class Decoder(ABC):
    """A KV cache for n sequences that advance together."""

    @abstractmethod
    def feed(self, ids: Sequence[int]) -> Sequence[Sequence[float]]:
        """Append one token to each sequence; returns logits (n, V) of the token to follow.

        Raises ValueError once block_size tokens have been fed.
        """

    @abstractmethod
    def reorder(self, sources: Sequence[int]) -> None:
        """Let sequence i go on from what sequence sources[i] has been fed; a source may be taken twice.

        Copies caches and feeds nothing. Raises ValueError unless there are n sources of 0 … n - 1.
        """

    @abstractmethod
    def reset(self) -> None:
        """Forget everything that was fed."""


def check_sources(sources: Sequence[int], n: int) -> None:
    """ValueError unless these are n sources of 0 … n - 1."""
    if len(sources) != n or not all(0 <= source < n for source in sources):
        raise ValueError(f"reorder: expected {n} sources of 0 … {n - 1}, got {shortened(list(sources))}")


class Engine(ABC):
    """One model with its optimizer, computed one way."""

    name: ClassVar[str]
    dtypes: ClassVar[tuple[str, ...]]

    def __init__(self, model: ModelConfig, train: TrainConfig) -> None:
        if train.dtype not in self.dtypes:
            raise SettingError(
                f"dtype: the {self.name} engine expected {' or '.join(self.dtypes)}, got {train.dtype}; "
                f"try `dtype={self.dtypes[0]!r}`"
            )
        self.model = model
        self.settings = train
        self.optimizer = OPTIMIZERS[train.optimizer]

    @classmethod
    def alone(cls, model: ModelConfig, train: TrainConfig) -> Self:
        """An engine of this process alone, even where several train together: to draw and to evaluate."""
        return cls(model, train)

    def __repr__(self) -> str:
        parameters, dtype = parameter_count(self.model), self.settings.dtype
        return concise(type(self).__name__, {"parameters": parameters, "dtype": dtype})

    def load(self, state: Snapshot | Values) -> None:
        """Load a snapshot, or parameters alone, with every slot of the optimizer at zero. Copies.

        Raises ValueError if a name or a size is not of this model, or a slot not of its optimizer.
        """
        if not isinstance(state, Snapshot):
            return self._load(state, None)
        if state.slots.keys() != set(self.optimizer.slots):
            raise ValueError(
                f"load: {self.optimizer.name} expected slots {', '.join(self.optimizer.slots)}, got "
                f"{', '.join(state.slots) or 'none'}; load the parameters alone to begin with slots at zero"
            )
        return self._load(state.parameters, [state.slots[name] for name in self.optimizer.slots])

    @abstractmethod
    def _load(self, parameters: Values, slots: Sequence[Values] | None) -> None:
        """What `load` promises; slots: in the optimizer's order, or None for zeros."""

    @abstractmethod
    def export(self) -> Snapshot:
        """Copies of the parameters and of the optimizer's slots."""

    def _snapshot(self, parameters: Arrays, slots: Sequence[Arrays]) -> Snapshot:
        """slots: in the optimizer's order."""
        return Snapshot(parameters, dict(zip(self.optimizer.slots, slots, strict=True)))

    @abstractmethod
    def logits(self, batch: Batch) -> list[NDArray[np.floating[Any]]]:
        """For each sequence its logits (n_b, V), computed without a cache."""

    @abstractmethod
    def gradients(self, batch: Batch) -> tuple[float, Arrays]:
        """Loss in nats, and its gradient for each parameter; clipped by node, not yet by value or norm."""

    @abstractmethod
    def train(self, plan: Plan, start: int, count: int) -> list[float]:
        """Do the steps start … start + count - 1 (counted from 0); returns the loss of each, in nats.

        The loss of a step is that of its batch before the update.
        """

    @abstractmethod
    def decoder(self, n: int) -> Decoder:
        """A fresh KV cache for n sequences."""

    def close(self) -> None:  # noqa: B027  # most engines hold nothing outside this process
        """Let go of what is held outside this process; the engine is not used again."""


@runtime_checkable
class Follower(Protocol):
    """What an engine has that trains in several processes: on every rank but the first it follows."""

    def follow(self, plan: Plan) -> None:
        """Do what rank 0 does until it stops; RankLost if it is gone."""
        ...


@runtime_checkable
class KnowsItsPeak(Protocol):
    """What an engine has that can tell how fast its devices are at best."""

    def peak(self) -> float:
        """Operations a second in matrix products."""
        ...


@runtime_checkable
class BatchGenerator(Protocol):
    """What an engine has that can draw whole texts in one call."""

    def why_not(self, request: Request) -> str | None:
        """Why it cannot draw those of a request, which are then drawn token by token; None if it can."""
        ...

    def generate(self, request: Request, rngs: Sequence[Stream]) -> list[list[int]]:
        """The ids after the prompt, one list for each generator, without what ends them.

        The same text as sampling.generate_by_token draws, and the same errors; advances the generators as it
        does.
        """
        ...
