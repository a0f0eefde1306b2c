"""The contract: what the loop, the sampler and the tests may ask of any engine.

Arrays cross it as NumPy arrays under the canonical names of parameters.py, matrices (out, in).
Nothing heavy is imported here; an engine's own libraries come with the engine.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Self

from motegpt import ranks
from motegpt.concise import concise
from motegpt.config import REQUESTS, section_of
from motegpt.errors import SettingError, UsageError
from motegpt.parameters import parameter_count
from motegpt.settings import kinds, shortened

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
class OptimizerState:
    """Adam's moments under the names and shapes of the parameters: m of the gradients, v of their squares."""

    m: Values
    v: Values


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


def refuse(reason: str | None) -> None:
    """SettingError with a reason of Engine.why_not, if there is one."""
    if reason is not None:
        raise SettingError(reason)


def why_not_setting(engine: str, name: str, value: Any) -> str | None:
    """Why an engine does not take a setting that is another's; its default it does."""
    section = REQUESTS[section_of(name)]
    kind = kinds(section)[name]
    if not kind.engines or engine in kind.engines or kind.check(name, value) == getattr(section, name):
        return None
    others = " or ".join(f"`engine={other!r}`" for other in kind.engines)
    return f"{name}: the {engine} engine does not have it; leave it out, or try {others}"


class Engine(ABC):
    """One model with its optimiser, computed one way."""

    name: ClassVar[str]
    dtypes: ClassVar[tuple[str, ...]]

    def __init__(self, model: ModelConfig, train: TrainConfig) -> None:
        refuse(self.why_not(model=model, train=train))
        self.model = model
        self.settings = train

    @classmethod
    def why_not(
        cls,
        *,
        model: ModelConfig | None = None,
        train: TrainConfig | None = None,
        given: Mapping[str, Any] = MappingProxyType({}),
        request: Request | None = None,
        processes: int = 1,
    ) -> str | None:
        """Why the engine cannot do what is asked, in one line for the user; None if it can, at full speed.

        model, train: train such a model so; given: take these settings, which a user named (defaults may be);
        request: draw its texts by `generate`, in one call; processes: train in so many that `follow` rank 0.
        What is left out is not asked.
        """
        if train is not None and train.dtype not in cls.dtypes:
            return (
                f"dtype: the {cls.name} engine expected {' or '.join(cls.dtypes)}, got {train.dtype}; "
                f"try `dtype={cls.dtypes[0]!r}`"
            )
        if request is not None:
            return f"generate: the {cls.name} engine draws token by token; try `engine='native'`"
        if processes > 1:
            return (
                f"engine: torchrun started {processes} processes, but the {cls.name} engine trains in one; "
                "try `engine='torch'`"
            )
        return next((why for name in given if (why := why_not_setting(cls.name, name, given[name]))), None)

    @classmethod
    def alone(cls, model: ModelConfig, train: TrainConfig) -> Self:
        """An engine of this process alone, even where several train together: to draw and to evaluate."""
        return cls(model, train)

    def __repr__(self) -> str:
        parameters, dtype = parameter_count(self.model), self.settings.dtype
        return concise(type(self).__name__, {"parameters": parameters, "dtype": dtype})

    @abstractmethod
    def load(self, parameters: Values, optimizer_state: OptimizerState | None = None) -> None:
        """Take over parameters, and Adam's moments (zero if None). Copies.

        Raises ValueError if a name or a size is not of this model.
        """

    @abstractmethod
    def export(self) -> tuple[Arrays, OptimizerState]:
        """Copies of the parameters and of Adam's moments."""

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

    def generate(self, request: Request, rngs: Sequence[Stream]) -> list[list[int]]:
        """The ids after the prompt in one call, one list for each generator, without what ends them.

        The same text as sampling.generate_by_token draws, and the same errors; advances the generators as it
        does. UsageError where `why_not` has a reason.
        """
        raise UsageError(self.why_not(request=request))

    def follow(self, plan: Plan) -> None:
        """On every rank but the first: do what rank 0 does until it stops. RankLost if it is gone.

        UsageError for an engine that trains in one process.
        """
        raise UsageError(self.why_not(processes=max(2, ranks.world_size())))

    def peak(self) -> float | None:
        """Operations per second in matrix products that its devices can do at best; None if not known."""
        return None

    def close(self) -> None:  # noqa: B027  # most engines hold nothing outside this process
        """Let go of what is held outside this process; the engine is not used again."""
