"""The contract: what the loop, the sampler and the tests may ask of any engine.

Arrays cross it as NumPy arrays under the canonical names of model/spec.py, matrices (out, in).
Nothing heavy is imported here; an engine's own libraries come with the engine.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Self

from motegpt.config.fields import kinds
from motegpt.config.sections import REQUESTS, section_of
from motegpt.config.text import concise, shortened
from motegpt.engines.node_clip import why_not_clipped
from motegpt.errors import SettingError, UsageError
from motegpt.model.spec import parameter_count
from motegpt.optim import OPTIMIZERS
from motegpt.system import ranks

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from motegpt.config.sections import ModelConfig, TrainConfig
    from motegpt.data.plan import Batch, Plan
    from motegpt.generation.request import Request
    from motegpt.model.rng import Stream

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


def refuse(reason: str | None) -> None:
    """SettingError with a reason of Engine.why_not, if there is one."""
    if reason is not None:
        raise SettingError(reason)


def why_not_setting(what: str, chosen: str, name: str, value: Any) -> str | None:
    """Why the chosen engine or optimizer (`what`) does not take a setting of another; its default it does."""
    section = REQUESTS[section_of(name)]
    kind = kinds(section)[name]
    owners = {"engine": kind.engines, "optimizer": kind.optimizers}[what]
    if not owners or chosen in owners or kind.check(name, value) == getattr(section, name, None):
        return None
    others = " or ".join(f"`{what}={owner!r}`" for owner in owners)
    return f"{name}: the {chosen} {what} does not have it; leave it out, or try {others}"


class Engine(ABC):
    """One model with its optimizer, computed one way."""

    name: ClassVar[str]
    dtypes: ClassVar[tuple[str, ...]]

    def __init__(self, model: ModelConfig, train: TrainConfig) -> None:
        refuse(self.why_not(model=model, train=train))
        self.model = model
        self.settings = train
        self.optimizer = OPTIMIZERS[train.optimizer]

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
        if model is not None and train is not None and (reason := why_not_clipped(model, train)):
            return reason
        if request is not None:
            return f"generate: the {cls.name} engine draws token by token"
        if processes > 1:
            return (
                f"engine: torchrun started {processes} processes, but the {cls.name} engine trains in one; "
                "try `engine='torch'`"
            )
        reasons = (why_not_setting("engine", cls.name, name, value) for name, value in given.items())
        return next(filter(None, reasons), None)

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
        """Operations per second that its devices reach in a large matrix product; None if not known."""
        return None

    def close(self) -> None:  # noqa: B027  # most engines hold nothing outside this process
        """Let go of what is held outside this process; the engine is not used again."""
