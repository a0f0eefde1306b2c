"""The native engine: the contract over the compiled core (cpp/), which does a chunk of steps in one call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, assert_never

import numpy as np
from numpy.typing import NDArray

import motegpt.engines.native._core as _core
from motegpt.batches import DocumentPlan, WindowPlan
from motegpt.engines.base import Decoder, Engine, OptimizerState, check_sources
from motegpt.errors import SettingError
from motegpt.parameters import check_shape, named_views, parameter_count, same_names, tensors
from motegpt.processors import available_processors
from motegpt.sampling.filters import not_finite
from motegpt.schedule import adam_rates_of_chunk

if TYPE_CHECKING:
    from motegpt.batches import Batch, Plan
    from motegpt.config import ModelConfig, TrainConfig
    from motegpt.engines.base import Arrays, Values
    from motegpt.rng import Stream
    from motegpt.sampling import Request

    Array = NDArray[np.floating[Any]]
    Longs = NDArray[np.int64]
    Steps = tuple[_core.Ids, Longs, Longs, NDArray[np.float64]]


BUNDLE = 64  # sequences that generate() takes side by side; as many as a product's tile has columns


class NativeEngine(Engine):
    """Parameters and moments live in the core; flat arrays (P,) in canonical order cross the border."""

    name = "native"
    dtypes = ("float32", "float64")

    def __init__(self, model: ModelConfig, train: TrainConfig, level: str | None = None) -> None:
        """level: one of _core.levels(), the instructions to use; the fastest that can run here if None."""
        super().__init__(model, train)
        self._specification = specification_of(model)
        self._level = level
        self._core = _core.Model(
            self._specification,
            dtype=train.dtype,
            level=level,
            threads=train.threads or available_processors(),
            checkpoint_activations=train.checkpoint_activations,
        )
        self._plan: PlanInCore | None = None

    def load(self, parameters: Values, optimizer_state: OptimizerState | None = None) -> None:
        zeros = np.zeros(parameter_count(self.model), self.settings.dtype)
        m = zeros if optimizer_state is None else self._flat(optimizer_state.m)
        v = zeros if optimizer_state is None else self._flat(optimizer_state.v)
        self._core.load(self._flat(parameters), m, v)

    def export(self) -> tuple[Arrays, OptimizerState]:
        w, m, v = map(self._named, self._core.store())
        return w, OptimizerState(m, v)

    def logits(self, batch: Batch) -> list[Array]:
        flat = self._core.logits(*sequences_of(batch))
        return np.split(flat, np.cumsum([len(row) for row in batch.inputs])[:-1])

    def gradients(self, batch: Batch) -> tuple[float, Arrays]:
        weights = np.array(batch.weights, np.float64)
        loss, flat = self._core.gradients(*sequences_of(batch), weights, self.settings.clip_node)
        return loss, self._named(flat)

    def train(self, plan: Plan, start: int, count: int) -> list[float]:
        if self._plan is None or self._plan.plan is not plan:
            self._plan = plan_in_core(plan)
        losses = self._core.train(
            *self._plan.steps(start, count),
            adam_rates_of_chunk(self.settings, start, count),
            clip_node=self.settings.clip_node,
            clip_value=self.settings.clip_value,
            clip_norm=self.settings.clip_norm,
        )
        return [float(loss) for loss in losses]

    def decoder(self, n: int) -> NativeDecoder:
        return NativeDecoder(self._decoder_in_core(n), n)

    def generate(self, request: Request, rngs: Sequence[Stream]) -> list[list[int]]:
        """As BatchGenerator has it: whole texts in one call."""
        states = np.array([rng.number for rng in rngs], np.uint64)
        decoder, filters = self._decoder_in_core(min(len(rngs), BUNDLE)), request.filters
        try:
            ids, lengths, states = decoder.generate(
                np.array(request.prompt, np.int32),
                -1 if request.end is None else request.end,
                filters.temperature,
                states,
                most=request.most,
                least=request.least,
                text=request.text,
                stop=np.array(request.stop, np.int32),
                masked=mask_of(request.masked, self.model.vocab_size),
                repetition_penalty=filters.repetition_penalty,
                top_k=min(filters.top_k or 0, self.model.vocab_size),
                top_p=1.0 if filters.top_p is None else filters.top_p,
                min_p=filters.min_p or 0.0,
            )
        except FloatingPointError:
            raise not_finite() from None
        for rng, state in zip(rngs, states.tolist(), strict=True):
            rng.number = state
        rows = ids[:, : lengths.max(initial=0)].tolist()
        return [row[:length] for row, length in zip(rows, lengths.tolist(), strict=True)]

    def _decoder_in_core(self, n: int) -> _core.Decoder:
        w, dtype = self._core.store()[0], self.settings.dtype
        return _core.Decoder(self._specification, w, n, dtype=dtype, level=self._level)

    def _flat(self, values: Mapping[str, Any]) -> Array:
        """Named values -> one flat array in canonical order."""
        same_names(values, self.model, "load")
        parts = []
        for tensor in tensors(self.model):
            with np.errstate(over="ignore"):
                given = np.asarray(values[tensor.name], self.settings.dtype)
            check_shape(tensor, given.shape, "load")
            parts.append(given.ravel())
        return np.concatenate(parts)

    def _named(self, flat: Array) -> Arrays:
        """A flat array -> its tensors by name, without a copy."""
        return named_views(flat, self.model)


def specification_of(model: ModelConfig) -> _core.Specification:
    """The model as the core takes it; SettingError if it has a tensor that the core does not compute with."""
    try:
        return _core.Specification(model, tensors(model))
    except ValueError as error:
        raise SettingError(str(error)) from None


class NativeDecoder(Decoder):
    """The contract over the core's decoder."""

    def __init__(self, decoder: _core.Decoder, n: int) -> None:
        self._decoder, self._n = decoder, n

    def feed(self, ids: Sequence[int]) -> Array:  # type: ignore[override]
        return self._decoder.feed(np.array(ids, np.int32))

    def reorder(self, sources: Sequence[int]) -> None:
        check_sources(sources, self._n)
        self._decoder.reorder(np.array(sources, np.int32))

    def reset(self) -> None:
        self._decoder.reset()


class PlanInCore(ABC):
    """A plan as the core takes it: the batches of many steps at a time."""

    plan: Plan

    @abstractmethod
    def steps(self, start: int, count: int) -> Steps:
        """Flat token ids, then of each sequence of the steps where in them it starts, how many tokens it has
        and what each of its targets counts: (count, B) all three.
        """


def plan_in_core(plan: Plan) -> PlanInCore:
    """The plan, in the core's own form if it has one."""
    if isinstance(plan, DocumentPlan):
        return DocumentsInCore(plan)
    if isinstance(plan, WindowPlan):
        return WindowsInCore(plan)
    raise TypeError(f"train: expected a plan of documents or of windows, got a {type(plan).__name__}")


class DocumentsInCore(PlanInCore):
    """Views of the plan's flat memory."""

    plan: DocumentPlan

    def __init__(self, plan: DocumentPlan) -> None:
        self.plan = plan
        self._tokens, self._offsets = np.asarray(plan.flat.tokens), np.asarray(plan.flat.offsets)
        self._order = None if plan.order is None else np.asarray(plan.order)

    def steps(self, start: int, count: int) -> Steps:
        indices = self.indices(start, count)
        starts = self._offsets[indices]
        lengths = np.minimum(self._offsets[indices + 1] - starts, self.plan.flat.longest)
        return self._tokens, starts, lengths, self.weights(lengths - 1)

    def indices(self, start: int, count: int) -> Longs:
        """DocumentPlan.indices for a chunk of steps: (count, B)."""
        batch = self.plan.batch_size
        steps = np.arange(start * batch, (start + count) * batch, dtype=np.int64)
        places: Longs = steps.reshape(count, batch) % len(self.plan.sequences)
        return places if self._order is None else self._order[places].astype(np.int64)

    def weights(self, targets: Longs) -> NDArray[np.float64]:
        """Batch.weights for a chunk of steps: (count, B) both."""
        counted: Longs
        match self.plan.loss_mean:
            case "documents":
                counted = targets * targets.shape[1]
            case "tokens":
                counted = np.broadcast_to(targets.sum(axis=1, keepdims=True), targets.shape)
            case unknown:
                assert_never(unknown)
        return 1.0 / counted


class WindowsInCore(PlanInCore):
    """Windows of a stream."""

    plan: WindowPlan

    def __init__(self, plan: WindowPlan) -> None:
        self.plan = plan
        self._stream = np.asarray(plan.stream)

    def steps(self, start: int, count: int) -> Steps:
        shape, targets = (count, self.plan.batch_size), self.plan.block_size
        first = start * self.plan.batch_size
        windows = np.arange(first, first + count * self.plan.batch_size, dtype=np.uint64).reshape(shape)
        starts = self.plan.start(windows).astype(np.int64)
        weights = np.full(shape, 1.0 / (self.plan.batch_size * targets))
        return self._stream, starts, np.full(shape, targets + 1, np.int64), weights


def mask_of(ids: Collection[int], vocab_size: int) -> NDArray[np.uint8] | None:
    """(V,) with 1 at some ids; None where there are none."""
    if not ids:
        return None
    mask = np.zeros(vocab_size, np.uint8)
    mask[list(ids)] = 1
    return mask


def sequences_of(batch: Batch) -> tuple[_core.Ids, Longs, Longs]:
    """The sequences of a batch as the core takes them: flat ids, then the start and the length of each."""
    rows = [[*row, targets[-1]] for row, targets in zip(batch.inputs, batch.targets, strict=True)]
    lengths = np.array([len(row) for row in rows], np.int64)
    return np.concatenate(rows, dtype=np.int32, casting="unsafe"), np.cumsum(lengths) - lengths, lengths
