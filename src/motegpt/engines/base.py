"""The interface of engines.

Parameters, gradients and slots are NumPy arrays under the canonical names of model/spec.py; matrices are
(out, in). No library of an engine is imported here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

from motegpt.config.fields import kinds
from motegpt.config.sections import REQUESTS, section_of
from motegpt.config.text import concise, shortened
from motegpt.engines.node_clip import why_not_clipped
from motegpt.errors import SettingError, UsageError
from motegpt.model.spec import parameter_count
from motegpt.ngrams.contexts import Contexts
from motegpt.optim import OPTIMIZERS
from motegpt.optim.groups import Groups, groups_of, why_not_grouped
from motegpt.system import ranks

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from motegpt.config.sections import ModelConfig, TrainConfig
    from motegpt.data.batches import Batch, Chunk
    from motegpt.data.plan import Plan
    from motegpt.engines.losses import Losses
    from motegpt.generation.request import Request
    from motegpt.generation.rows import Rows
    from motegpt.model.rng import Stream
    from motegpt.ngrams.average import Average

    Arrays = dict[str, NDArray[np.floating[Any]]]
    # Flat in row-major order or already (out, in): a NumPy array, array.array or list of numbers.
    Values = Mapping[str, Any]


@dataclass(frozen=True)
class Snapshot:
    """The trained state of an engine: parameters, and optimizer slots of the same names and shapes."""

    parameters: Arrays
    slots: dict[str, Arrays]

    def is_finite(self) -> bool:
        """Whether all elements are finite."""
        return all_finite(self.parameters, *self.slots.values())


def all_finite(*groups: Values) -> bool:
    """Whether all elements of the named arrays are finite."""
    import numpy as np

    return all(bool(np.isfinite(array).all()) for group in groups for array in group.values())


class Decoder(ABC):
    """Token-by-token decoding of n sequences with a KV cache."""

    @abstractmethod
    def feed(self, ids: Sequence[int]) -> Sequence[Sequence[float]]:
        """Append one token to each sequence; returns the logits (n, V) of the next token.

        Raises ValueError once block_size tokens have been fed.
        """

    @abstractmethod
    def reorder(self, sources: Sequence[int]) -> None:
        """Replace the cache of each sequence i by a copy of the cache of sequence sources[i].

        Raises ValueError unless there are n sources in 0 … n - 1.
        """

    @abstractmethod
    def reset(self) -> None:
        """Clear the cache."""


class LanguageModel(Protocol):
    """What generation and evaluation need of a model: an Engine, or one averaged with n-grams."""

    @property
    def model(self) -> ModelConfig:
        """The architecture."""

    def why_not(self, *, request: Request | None = None) -> str | None:
        """As Engine.why_not."""

    def logits(self, batch: Batch) -> list[NDArray[np.floating[Any]]]:
        """As Engine.logits."""

    def nll(self, chunk: Chunk) -> Losses:
        """As Engine.nll."""

    def decoder(self, n: int) -> Decoder:
        """As Engine.decoder."""

    def generate(self, request: Request, rngs: Sequence[Stream]) -> list[list[int]]:
        """As Engine.generate."""

    def generate_rows(self, request: Request, states: NDArray[np.uint64]) -> Rows:
        """As Engine.generate_rows."""


def check_sources(sources: Sequence[int], n: int) -> None:
    """ValueError unless there are n sources in 0 … n - 1."""
    if len(sources) != n or not all(0 <= source < n for source in sources):
        raise ValueError(f"reorder: expected {n} sources of 0 … {n - 1}, got {shortened(list(sources))}")


def refuse(reason: str | None) -> None:
    """SettingError with a reason of Engine.why_not, if there is one."""
    if reason is not None:
        raise SettingError(reason)


def why_not_setting(what: str, chosen: str, name: str, value: Any) -> str | None:
    """Why the chosen engine or optimizer (`what`) does not accept a setting; all accept the default."""
    section = REQUESTS[section_of(name)]
    kind = kinds(section)[name]
    owners = {"engine": kind.engines, "optimizer": kind.optimizers}[what]
    if not owners or chosen in owners or kind.check(name, value) == getattr(section, name, None):
        return None
    others = " or ".join(f"`{what}={owner!r}`" for owner in owners)
    return f"{name}: the {chosen} {what} does not have it; leave it out, or try {others}"


class Engine(ABC):
    """A model with its optimizer."""

    name: ClassVar[str]
    dtypes: ClassVar[tuple[str, ...]]

    def __init__(self, model: ModelConfig, train: TrainConfig, contexts: Contexts | None = None) -> None:
        """contexts: of the n-gram embedding, if there is one."""
        refuse(self.why_not(model=model, train=train))
        self.model = model
        self.settings = train
        self.contexts = Contexts() if contexts is None else contexts
        self.contexts.check(model)
        self.optimizer = OPTIMIZERS[train.optimizer]

    @cached_property
    def groups(self) -> Groups:
        """The groups of tensors that are trained alike."""
        return groups_of(self.model, self.settings)

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
        """Why the engine does not support the arguments, as an error message; None if it does, at full speed.

        model, train: to train; given: settings that the user named (defaults are always supported); request:
        for `generate`; processes: number of processes in training, which `follow` rank 0.
        """
        if train is not None and train.dtype not in cls.dtypes:
            return (
                f"dtype: the {cls.name} engine expected {' or '.join(cls.dtypes)}, got {train.dtype}; "
                f"try `dtype={cls.dtypes[0]!r}`"
            )
        if model is not None and train is not None:
            reason = why_not_clipped(model, train) or why_not_grouped(model, train)
            if reason is not None:
                return reason
        if request is not None:
            return f"generate: the {cls.name} engine generates token by token"
        if processes > 1:
            return (
                f"engine: torchrun started {processes} processes, but the {cls.name} engine trains in one; "
                "try `engine='torch'`"
            )
        reasons = (why_not_setting("engine", cls.name, name, value) for name, value in given.items())
        return next(filter(None, reasons), None)

    @classmethod
    def level(cls, requested: str | None = None) -> str:
        """The instruction set that it uses here, as in budget.py; "" for engines without levels.

        requested: the setting `level`.
        """
        return ""

    @classmethod
    def inference(cls, model: ModelConfig, train: TrainConfig, contexts: Contexts | None = None) -> Self:
        """An engine for generation and evaluation, of this process alone, even if several train together.

        It has no gradients and optimizer slots until it is asked to train, and where it can its `load` refers
        to read-only arrays instead of copying them; nothing else may change them.
        """
        return cls(model, train, contexts)

    def __repr__(self) -> str:
        parameters, dtype = parameter_count(self.model), self.settings.dtype
        return concise(type(self).__name__, {"parameters": parameters, "dtype": dtype})

    def load(self, state: Snapshot | Values) -> None:
        """Load a copy of a snapshot, or of parameters alone, with all optimizer slots zero.

        Raises ValueError if a name or shape does not fit the model, or a slot does not fit the optimizer.
        """
        if not isinstance(state, Snapshot):
            return self._load(state, None)
        if state.slots.keys() != set(self.optimizer.slots):
            raise ValueError(
                f"load: {self.optimizer.name} expected slots {', '.join(self.optimizer.slots)}, got "
                f"{', '.join(state.slots) or 'none'}; load the parameters alone to start with slots at zero"
            )
        return self._load(state.parameters, [state.slots[name] for name in self.optimizer.slots])

    @abstractmethod
    def _load(self, parameters: Values, slots: Sequence[Values] | None) -> None:
        """Implement `load`. slots: in the optimizer's order, or None for zeros."""

    @abstractmethod
    def export(self) -> Snapshot:
        """Copies of the parameters and optimizer slots."""

    def parameters(self) -> Arrays:
        """The parameters by name; of an engine for inference they may be read-only views."""
        return self.export().parameters

    def is_finite(self) -> bool:
        """Whether all parameters and slots are finite."""
        return self.export().is_finite()

    def _snapshot(self, parameters: Arrays, slots: Sequence[Arrays]) -> Snapshot:
        """slots: in the optimizer's order."""
        return Snapshot(parameters, dict(zip(self.optimizer.slots, slots, strict=True)))

    @abstractmethod
    def logits(self, batch: Batch) -> list[NDArray[np.floating[Any]]]:
        """The logits (n_b, V) of each sequence, computed without a cache."""

    def nll(self, chunk: Chunk) -> Losses:
        """The losses of the sequences of a chunk of one step, in double precision, without dropout."""
        from motegpt.engines.losses import losses_by_logits

        batch = chunk.batch(0)
        return losses_by_logits(self.logits(batch), batch)

    @abstractmethod
    def gradients(self, batch: Batch, step: int | None = None) -> tuple[float, Arrays]:
        """Loss in nats, and its gradient by name; with clip_node, but before clip_value and clip_norm.

        Frozen tensors have a gradient too.

        step: with the dropout of this training step; None: without dropout.
        """

    @abstractmethod
    def train(self, plan: Plan, start: int, count: int) -> list[float]:
        """Train for steps start … start + count - 1, counted from 0; returns the loss of each in nats.

        The loss of a step is that of its batch before the update.
        """

    @abstractmethod
    def decoder(self, n: int) -> Decoder:
        """A new decoder for n sequences."""

    def generate(
        self, request: Request, rngs: Sequence[Stream], average: Average | None = None
    ) -> list[list[int]]:
        """Generate in one call: for each generator the ids after the prompt, without the end.

        average: n-grams to average the model with. Same ids, errors and generator states as
        sampling.generate_by_token. UsageError if `why_not` has a reason.
        """
        raise UsageError(self.why_not(request=request))

    def generate_rows(
        self, request: Request, states: NDArray[np.uint64], average: Average | None = None
    ) -> Rows:
        """The same as arrays, for generators in these states (n)."""
        raise UsageError(self.why_not(request=request))

    def follow(self, plan: Plan) -> None:
        """On ranks above 0: take part in the work of rank 0 until it stops; RankLost if it ends early.

        UsageError for an engine that trains in one process.
        """
        raise UsageError(self.why_not(processes=max(2, ranks.world_size())))

    def peak(self) -> float | None:
        """Operations per second of a large matrix product on its devices; None if not known."""
        return None

    @property
    def uses_processor(self) -> bool:
        """Whether it computes on the processor, not on another device."""
        return True

    def close(self) -> None:  # noqa: B027  # optional: most engines hold no external resources
        """Release resources outside this process; the engine must not be used afterwards."""
