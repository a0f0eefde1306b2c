"""The engine interface over the compiled core (cpp/)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

import motegpt.engines.native._core as _core
from motegpt.data.plan import Chunk
from motegpt.engines.base import Decoder, Engine, Snapshot, check_sources
from motegpt.engines.losses import Losses
from motegpt.errors import SettingError, UsageError
from motegpt.generation.filters import non_finite_error
from motegpt.model.spec import (
    check_names_match,
    check_shape,
    flat_view,
    named_views,
    parameter_count,
    tensors,
)
from motegpt.optim.base import table_decays
from motegpt.system.processors import available_processors

if TYPE_CHECKING:
    from motegpt.config.sections import ModelConfig, TrainConfig
    from motegpt.data.plan import Batch, Plan
    from motegpt.engines.base import Arrays, Values
    from motegpt.generation.request import Request
    from motegpt.model.rng import Stream
    from motegpt.ngrams.average import Average
    from motegpt.ngrams.contexts import Contexts
    from motegpt.ngrams.kneser_ney import KneserNey

    Array = NDArray[np.floating[Any]]


FILTERS = frozenset({"repetition_penalty", "top_k", "top_p", "min_p"})  # filters that the core implements
BUNDLE = 64  # sequences that generate() decodes together: the columns of a tile of a matrix product


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
        level: str | None = None,
        inference: bool = False,
    ) -> None:
        """level: instruction set, one of _core.levels(); default: the fastest that this machine supports.

        inference: see Engine.inference.
        """
        super().__init__(model, train, contexts)
        self._specification = specification_of(model, self.contexts)
        self._level, self._threads = level, train.threads or available_processors()
        self._n_grams: tuple[KneserNey, _core.NGrams] | None = None
        self._flat = np.zeros(parameter_count(model), train.dtype) if inference else None
        self._core = None if inference else self._make_core()

    def _make_core(self, inference: bool = False) -> _core.Model:
        return _core.Model(
            self._specification,
            dtype=self.settings.dtype,
            optimizer=self.settings.optimizer,
            scalars=self.optimizer.scalars(self.settings, 0)._fields,
            level=self._level,
            threads=self._threads,
            checkpoint_activations=self.settings.checkpoint_activations,
            inference=inference,
        )

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
        """See Engine.inference."""
        return cls(model, train, contexts, inference=True)

    @classmethod
    def level(cls) -> str:
        """See Engine.level."""
        return _core.levels()[0]

    @classmethod
    def why_not(cls, *, request: Request | None = None, **others: Any) -> str | None:
        """See Engine.why_not."""
        if request is not None and (unknown := request.filters.on.keys() - FILTERS):
            return (
                f"generate: the native core has no {', '.join(sorted(unknown))}; it generates token by token"
            )
        if request is not None and request.rules is not None:
            return "generate: the native core counts and stops by ids, which needs tokens of one character"
        return super().why_not(**others)

    def _load(self, parameters: Values, slots: Sequence[Values] | None) -> None:
        flat = self._flattened(parameters)
        if self._flat is not None and slots is None:
            self._flat, self._core = flat, None
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
        losses = self._training_core().train(
            *core_arguments(plan.chunk(start, count)),
            self.optimizer.chunk(self.settings, start, count),
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

    def _table_decay(self, start: int, count: int) -> NDArray[np.float64] | None:
        """The factors of the tables after `count` steps; None without tables."""
        if not self.contexts.keys:
            return None
        return np.asarray(table_decays(self.settings, start, count))

    def decoder(self, n: int) -> NativeDecoder:
        return NativeDecoder(self._core_decoder(n), n)

    def generate(
        self, request: Request, rngs: Sequence[Stream], average: Average | None = None
    ) -> list[list[int]]:
        """See Engine.generate. The core decodes BUNDLE sequences together."""
        if reason := self.why_not(request=request):
            raise UsageError(reason)
        states = np.array([rng.number for rng in rngs], np.uint64)
        decoder, filters = self._core_decoder(min(len(rngs), BUNDLE)), dict(request.filters.on)
        if "top_k" in filters:
            filters["top_k"] = min(filters["top_k"], self.model.vocab_size)  # larger numbers overflow 64 bits
        try:
            ids, lengths, states = decoder.generate(
                np.array(request.prompt, np.int32),
                -1 if request.end is None else request.end,
                request.filters.temperature,
                states,
                max_new_tokens=request.max_new_tokens,
                min_new_tokens=request.min_new_tokens,
                n_prefix_tokens=request.n_prefix_tokens,
                stop=np.array(request.stop, np.int32),
                masked=mask_of(request.masked, self.model.vocab_size),
                **filters,
                **self._averaging(average),
            )
        except FloatingPointError:
            raise non_finite_error() from None
        for rng, state in zip(rngs, states.tolist(), strict=True):
            rng.number = state
        rows = ids[:, : lengths.max(initial=0)].tolist()
        return [row[:length] for row, length in zip(rows, lengths.tolist(), strict=True)]

    def _averaging(self, average: Average | None) -> dict[str, Any]:
        """The core's arguments for an average; its copy of the last n-grams is kept."""
        if average is None:
            return {}
        n_grams = average.kneser_ney
        if self._n_grams is None or self._n_grams[0] is not n_grams:
            self._n_grams = n_grams, _core.NGrams(n_grams.tables(), n_grams.unigrams)
        return {"n_grams": self._n_grams[1], "n_gram_weight": average.weight}

    def _core_decoder(self, n: int) -> _core.Decoder:
        return _core.Decoder(
            self._specification,
            self._flat_parameters(),
            n,
            dtype=self.settings.dtype,
            level=self._level,
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


def mask_of(ids: Collection[int], vocab_size: int) -> NDArray[np.uint8] | None:
    """(V,), 1 at `ids` and 0 elsewhere; None if there are no ids."""
    if not ids:
        return None
    mask = np.zeros(vocab_size, np.uint8)
    mask[list(ids)] = 1
    return mask


def core_arguments(chunk: Chunk) -> _core.Steps:
    """The arrays of a chunk in the order of the core's arguments."""
    return chunk.tokens, chunk.starts, chunk.lengths, chunk.weights
