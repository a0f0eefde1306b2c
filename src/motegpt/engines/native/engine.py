"""The engine interface over the compiled core (cpp/)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np

import motegpt.engines.native._core as _core
from motegpt.data.batches import Chunk
from motegpt.engines.base import Decoder, Engine, Snapshot, check_sources
from motegpt.engines.losses import Losses
from motegpt.engines.native.generating import Decoders, arguments_of
from motegpt.errors import SettingError, UsageError
from motegpt.generation.filters import non_finite_error
from motegpt.generation.rows import Rows
from motegpt.model.rng import numbers_of, set_numbers
from motegpt.model.spec import (
    check_names_match,
    check_shape,
    flat_view,
    named_views,
    parameter_count,
    tensors,
    unchanging,
)
from motegpt.optim.base import table_decays
from motegpt.system.processors import available_processors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from motegpt.config.sections import ModelConfig, TrainConfig
    from motegpt.data.batches import Batch
    from motegpt.data.plan import Plan
    from motegpt.engines.base import Arrays, Values
    from motegpt.generation.request import Request
    from motegpt.model.rng import Stream
    from motegpt.ngrams.average import Average
    from motegpt.ngrams.contexts import Contexts
    from motegpt.ngrams.kneser_ney import KneserNey

    Array = NDArray[np.floating[Any]]


FILTERS = frozenset({"repetition_penalty", "top_k", "top_p", "min_p"})  # filters that the core implements


class NativeEngine(Engine):
    """The core owns parameters and slots; they are passed as flat arrays (P,) in canonical order.

    For inference, parameters stay in a flat array, which decoders read; the core copies them when it is first
    asked for logits.
    """

    name = "native"
    dtypes = ("float32", "float64")

    def __init__(
        self,
        model: ModelConfig,
        train: TrainConfig,
        contexts: Contexts | None = None,
        inference: bool = False,
    ) -> None:
        """inference: see Engine.inference."""
        super().__init__(model, train, contexts)
        self._specification = specification_of(model, self.contexts)
        self._threads = train.threads or available_processors()
        self._n_grams: tuple[KneserNey, _core.NGrams] | None = None
        self._request: tuple[Request | None, dict[str, Any]] = None, {}  # the last, as arguments
        self._flat = np.zeros(parameter_count(model), train.dtype) if inference else None
        self._core = None if inference else self._make_core()

    def _make_core(self, inference: bool = False) -> _core.Model:
        core = _core.Model(
            self._specification,
            dtype=self.settings.dtype,
            optimizer=self.settings.optimizer,
            scalars=self.optimizer.scalars(self.settings, 0)._fields,
            level=self.settings.level,
            threads=self._threads,
            checkpoint_activations=self.settings.checkpoint_activations,
            inference=inference,
        )
        if not (inference or self.groups.are_one):
            specified = tensors(self.model)
            groups = np.array([self.groups.of[one.name] for one in specified], self.settings.dtype)
            sizes = [one.size for one in specified]
            core.set_groups(np.repeat(groups, sizes), len(self.groups.settings))
        return core

    def _training_core(self) -> _core.Model:
        """The core with gradients and slots; for inference it is made here."""
        if self._flat is not None:
            core = self._make_core()
            core.load(self._flat, self._flat_slots(()))
            self._core, self._flat = core, None
        assert self._core is not None
        return self._core

    def _logits_core(self) -> _core.Model:
        """The core that computes logits; for inference one without gradients and slots is made here."""
        if self._core is None:
            assert self._flat is not None
            self._core = self._make_core(inference=True)
            self._core.load(self._flat, np.zeros((0, self._flat.size), self._flat.dtype))
        return self._core

    @classmethod
    def inference(cls, model: ModelConfig, train: TrainConfig, contexts: Contexts | None = None) -> Self:
        """See Engine.inference; at the fastest level here if the processor lacks that of the training."""
        usable = train if train.level in _core.levels() else train.replace(level=None)
        return cls(model, usable, contexts, inference=True)

    @classmethod
    def level(cls, requested: str | None = None) -> str:
        """See Engine.level."""
        return requested or _core.levels()[0]

    @classmethod
    def why_not(
        cls, *, train: TrainConfig | None = None, request: Request | None = None, **others: Any
    ) -> str | None:
        """See Engine.why_not."""
        levels = _core.levels()
        if train is not None and train.level is not None and train.level not in levels:
            return (
                f"level: expected one that this processor has, {' or '.join(levels)}, got {train.level}; "
                f"leave it out, or try `level={levels[0]!r}`"
            )
        if request is not None and (unknown := request.filters.on.keys() - FILTERS):
            return (
                f"generate: the native core has no {', '.join(sorted(unknown))}; it generates token by token"
            )
        if request is not None and request.rules is not None:
            return "generate: the native core counts and stops by ids, which needs tokens of one character"
        return super().why_not(train=train, **others)

    def _load(self, parameters: Values, slots: Sequence[Values] | None) -> None:
        self._forget_decoders()
        flat = self._flattened(parameters)
        if self._flat is not None and slots is None:
            self._flat, self._core = unchanging(flat, parameters), None
        else:
            self._training_core().load(flat, self._flat_slots(slots or ()))

    def _flat_slots(self, slots: Sequence[Values]) -> Array:
        """The slots of the optimizer, or zeros if none are given: (n, P)."""
        flat = np.zeros((len(self.optimizer.slots), parameter_count(self.model)), self.settings.dtype)
        for i, values in enumerate(slots):
            flat[i] = self._flattened(values)
        return flat

    def export(self) -> Snapshot:
        parameters, slots = self._training_core().store()
        return self._snapshot(self._named(parameters), list(map(self._named, slots)))

    def is_finite(self) -> bool:
        return all(bool(np.isfinite(flat).all()) for flat in self._training_core().store())

    def parameters(self) -> Arrays:
        """See Engine.parameters."""
        return self._named(self._flat_parameters())

    def _flat_parameters(self) -> Array:
        """(P,): a copy, or for inference a read-only view."""
        if self._flat is None:
            return self._training_core().parameters()
        view = self._flat.view()
        view.flags.writeable = False
        return view

    def logits(self, batch: Batch) -> list[Array]:
        flat = self._logits_core().logits(*core_arguments(Chunk.of([batch])))
        return np.split(flat, np.cumsum([len(row) for row in batch.inputs])[:-1])

    def nll(self, chunk: Chunk) -> Losses:
        return Losses(*self._logits_core().evaluate(*core_arguments(chunk)))

    def gradients(self, batch: Batch, step: int | None = None) -> tuple[float, Arrays]:
        train = self.settings
        loss, flat = self._training_core().gradients(
            *core_arguments(Chunk.of([batch])),
            clip_node=train.clip_node,
            step=step or 0,
            seed=train.seed,
            dropout=0.0 if step is None else train.dropout,
            ngram_dropout=0.0 if step is None else train.ngram_dropout,
        )
        return loss, self._named(flat)

    def train(self, plan: Plan, start: int, count: int) -> list[float]:
        self._forget_decoders()
        losses = self._training_core().train(
            *core_arguments(plan.chunk(start, count)),
            self._scalars(start, count),
            clip_node=self.settings.clip_node,
            clip_value=self.settings.clip_value,
            clip_norm=self.settings.clip_norm,
            first=start,
            seed=self.settings.seed,
            dropout=self.settings.dropout,
            ngram_dropout=self.settings.ngram_dropout,
            table_decay=self._table_decay(start, count),
        )
        found: list[float] = losses.tolist()
        return found

    def _scalars(self, start: int, count: int) -> NDArray[np.float64]:
        """The optimizer's scalars (count · groups, n) of `count` steps, of every group after one another."""
        rows = [self.optimizer.chunk(settings, start, count) for settings in self.groups.settings]
        return rows[0] if len(rows) == 1 else np.concatenate(np.stack(rows, axis=1))

    def _table_decay(self, start: int, count: int) -> NDArray[np.float64] | None:
        """The factors (count · groups) of the tables after `count` steps; None without tables."""
        if not self.contexts.keys:
            return None
        factors = [table_decays(settings, start, count) for settings in self.groups.settings]
        return np.stack(factors, axis=1, dtype=np.float64).ravel()

    def decoder(self, n: int) -> NativeDecoder:
        return NativeDecoder(self._core_decoder(n), n)

    def generate(
        self, request: Request, rngs: Sequence[Stream], average: Average | None = None
    ) -> list[list[int]]:
        """See Engine.generate."""
        rows = self.generate_rows(request, numbers_of(rngs), average)
        set_numbers(rngs, rows.states)
        return rows.lists()

    def generate_rows(
        self, request: Request, states: NDArray[np.uint64], average: Average | None = None
    ) -> Rows:
        """See Engine.generate_rows."""
        last, arguments = self._request
        if last is not request:
            if reason := self.why_not(request=request):
                raise UsageError(reason)
            arguments = arguments_of(request, self.model.vocab_size)
            self._request = request, arguments
        try:
            with self._decoders.borrow(len(states), self._flat is None) as decoder:
                return Rows(*decoder.generate(states=states, **arguments, **self._averaging(average)))
        except FloatingPointError:
            raise non_finite_error() from None

    def _averaging(self, average: Average | None) -> dict[str, Any]:
        """The core's arguments for an average; its copy of the last n-grams is kept."""
        if average is None:
            return {}
        n_grams = average.kneser_ney
        if self._n_grams is None or self._n_grams[0] is not n_grams:
            self._n_grams = n_grams, _core.NGrams(n_grams.tables(), n_grams.unigrams)
        return {"n_grams": self._n_grams[1], "n_gram_weight": average.weight}

    @cached_property
    def _decoders(self) -> Decoders:
        """For `generate`, until the parameters change."""
        return Decoders(self.model, self.settings.dtype, self._core_decoder)

    def _forget_decoders(self) -> None:
        vars(self).pop("_decoders", None)

    def _core_decoder(self, n: int) -> _core.Decoder:
        return _core.Decoder(
            self._specification,
            self._flat_parameters(),
            n,
            dtype=self.settings.dtype,
            level=self.settings.level,
            threads=self._threads,
        )

    def _flattened(self, values: Mapping[str, Any]) -> Array:
        """Named values -> one flat array in canonical order; not copied if they are views of one."""
        check_names_match(values, self.model, "load")
        for tensor in tensors(self.model):
            check_shape(tensor, np.shape(values[tensor.name]), "load")
        flat: Array | None = flat_view(values, self.model, self.settings.dtype)
        if flat is not None:
            return flat
        parts = []
        for tensor in tensors(self.model):
            with np.errstate(over="ignore"):
                parts.append(np.asarray(values[tensor.name], self.settings.dtype).ravel())
        return np.concatenate(parts)

    def _named(self, flat: Array) -> Arrays:
        """A flat array -> views of its tensors by name."""
        return named_views(flat, self.model)


def specification_of(model: ModelConfig, contexts: Contexts) -> _core.Specification:
    """The model as passed to the core; SettingError if it has a tensor that the core does not implement."""
    try:
        return _core.Specification(model, tensors(model), contexts.keys)
    except ValueError as error:
        raise SettingError(str(error)) from None


class NativeDecoder(Decoder):
    """The decoder interface over the core's decoder."""

    def __init__(self, decoder: _core.Decoder, n: int) -> None:
        self._decoder, self._n = decoder, n

    def feed(self, ids: Sequence[int]) -> Array:  # type: ignore[override]
        return self._decoder.feed(np.array(ids, np.int32))

    def reorder(self, sources: Sequence[int]) -> None:
        check_sources(sources, self._n)
        self._decoder.reorder(np.array(sources, np.int32))

    def reset(self) -> None:
        self._decoder.reset()


def core_arguments(chunk: Chunk) -> _core.Steps:
    """The arrays of a chunk in the order of the core's arguments."""
    return chunk.tokens, chunk.starts, chunk.lengths, chunk.weights
