"""The array engine: the contract over the model's arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from motegpt.engines.array import model as network
from motegpt.engines.array import ops
from motegpt.engines.array.decoder import ArrayDecoder
from motegpt.engines.array.node_clip import clipped_rules, cross_entropy_clipped
from motegpt.engines.array.ops import Array
from motegpt.engines.array.optimizers import STEPS, clip_gradient
from motegpt.engines.array.tables import Used, dense_parts, used_rows
from motegpt.engines.array.tape import Tape
from motegpt.engines.base import Engine, Snapshot
from motegpt.model.dropout import masks_of
from motegpt.model.spec import (
    check_names_match,
    check_shape,
    named_views,
    parameter_count,
    table_names,
    tensors,
)
from motegpt.ngrams.vectors import vectors_of
from motegpt.optim.base import table_decay
from motegpt.optim.groups import FROZEN

if TYPE_CHECKING:
    from motegpt.config.sections import ModelConfig, TrainConfig
    from motegpt.data.batches import Batch
    from motegpt.data.plan import Plan
    from motegpt.engines.array.tape import Operation, Rules
    from motegpt.engines.base import Arrays, Values
    from motegpt.ngrams.contexts import Contexts


class ArrayEngine(Engine):
    """Parameters, gradient and each slot are flat arrays (P,); the tensors are views into them.

    For inference, the parameters are the given arrays themselves, and the rest is made when first used.
    """

    name = "array"
    dtypes = ("float64", "float32")

    def __init__(
        self,
        model: ModelConfig,
        train: TrainConfig,
        contexts: Contexts | None = None,
        inference: bool = False,
    ) -> None:
        """inference: see Engine.inference."""
        super().__init__(model, train, contexts)
        self._for_inference, self._tables = True, table_names(model)
        self._w = self._views(np.zeros(parameter_count(model), train.dtype))
        if not inference:
            self._prepare_training()
        self._cross_entropy: Operation = ops.cross_entropy
        self._rules: Rules = ops.BACKWARD
        if train.clip_node is not None:
            self._cross_entropy, self._rules = cross_entropy_clipped, clipped_rules(train.clip_node)

    def _prepare_training(self) -> None:
        """Copy the parameters into a flat array and allocate the gradient and the slots, once."""
        if not self._for_inference:
            return
        w, size = self._w, parameter_count(self.model)
        self._flat, self._gradient, *self._slots = np.zeros(
            (2 + len(self.optimizer.slots), size), self.settings.dtype
        )
        self._w, dw = self._views(self._flat), self._views(self._gradient)
        for name, array in w.items():
            self._w[name][...] = array
        self._dense = list(dense_parts(self.model, self.groups))
        self._parameters = [(w, dw[name]) for name, w in self._w.items() if name not in self._tables]
        self._for_inference = False

    @classmethod
    def inference(cls, model: ModelConfig, train: TrainConfig, contexts: Contexts | None = None) -> Self:
        """See Engine.inference."""
        return cls(model, train, contexts, inference=True)

    def _load(self, parameters: Values, slots: Sequence[Values] | None) -> None:
        if self._for_inference and slots is None:
            self._w = self._checked(parameters)
            return
        self._prepare_training()
        self._fill(self._flat, parameters)
        for i, slot in enumerate(self._slots):
            if slots is None:
                slot[:] = 0.0
            else:
                self._fill(slot, slots[i])

    def parameters(self) -> Arrays:
        """See Engine.parameters."""
        if not self._for_inference:
            return self._views(self._flat.copy())
        views = {name: array.view() for name, array in self._w.items()}
        for view in views.values():
            view.flags.writeable = False
        return views

    def export(self) -> Snapshot:
        self._prepare_training()
        w, *slots = (self._views(flat.copy()) for flat in (self._flat, *self._slots))
        return self._snapshot(w, slots)

    def logits(self, batch: Batch) -> list[Array]:
        ids = network.pad(batch.inputs)
        vectors = vectors_of(self.contexts, batch.inputs, self.settings)
        with np.errstate(all="ignore"):  # numbers that overflow show in what comes of them
            logits = network.forward(self._w, ids, self.model, vectors=vectors)
        padded = logits.reshape(*ids.shape, -1)
        return [padded[b, : len(row)] for b, row in enumerate(batch.inputs)]

    def gradients(self, batch: Batch, step: int | None = None) -> tuple[float, Arrays]:
        self._prepare_training()
        with np.errstate(all="ignore"):
            loss, used = self._backpropagate(batch, step)
        gradient = self._views(self._gradient.copy())
        for one in used:
            gradient[one.name][one.rows] = one.dw
        return loss, gradient

    def train(self, plan: Plan, start: int, count: int) -> list[float]:
        self._prepare_training()
        with np.errstate(all="ignore"):  # a training that has run away shows in its losses
            batches = plan.chunk(start, count).batches()
            return [self._step(batch, step) for step, batch in enumerate(batches, start)]

    def decoder(self, n: int) -> ArrayDecoder:
        return ArrayDecoder(self._w, self.model, n, self.contexts)

    def _step(self, batch: Batch, step: int) -> float:
        loss, used = self._backpropagate(batch, step)
        dense = [part for part in self._dense if part.group != FROZEN]
        used = [one for one in used if self.groups.of[one.name] != FROZEN]
        gradients = [*(self._gradient[part.place] for part in dense), *(one.dw for one in used)]
        clip_gradient(gradients, self.settings)
        scalars = [self.optimizer.scalars(settings, step) for settings in self.groups.settings]
        update = STEPS[self.optimizer.name]
        for place, decayed, group in dense:
            slots = (slot[place] for slot in self._slots)
            update(self._flat[place], self._gradient[place], *slots, scalars[group], decayed)
        for one in used:
            self._update_rows(one, scalars[self.groups.of[one.name]])
        for name in self._tables:
            settings = self.groups.settings_of(name)
            if settings is not None and (factor := table_decay(settings, step)) != 1.0:
                self._w[name] *= factor
        return loss

    def _update_rows(self, used: Used, scalars: Any) -> None:
        """One update of the rows of a table that a batch used; the others stay as they are."""
        slots = [self._views(slot)[used.name] for slot in self._slots]
        rows_of_slots = [slot[used.rows] for slot in slots]
        STEPS[self.optimizer.name](used.w, used.dw, *rows_of_slots, scalars, False)
        self._w[used.name][used.rows] = used.w
        for slot, rows in zip(slots, rows_of_slots, strict=True):
            slot[used.rows] = rows

    def _backpropagate(self, batch: Batch, step: int | None) -> tuple[float, list[Used]]:
        """Loss of the batch, and what it used of the tables; leaves the other gradients in self._gradient."""
        for part in self._dense:
            self._gradient[part.place] = 0.0
        targets = network.pad(batch.targets).ravel()
        weights = network.pad(batch.weights, self._flat.dtype).ravel()
        masks = masks_of(self.settings, step)
        used: list[Used] = []
        vectors = vectors_of(self.contexts, batch.inputs, self.settings, step)
        if vectors is not None:
            vectors, used = used_rows(self._w, self._tables, vectors)
        tape = Tape(self._rules, [*self._parameters, *((one.w, one.dw) for one in used)])
        w = self._w | {one.name: one.w for one in used}
        logits = network.forward(w, network.pad(batch.inputs), self.model, tape, masks=masks, vectors=vectors)
        loss = tape.apply(self._cross_entropy, logits, targets, weights)
        del logits  # the way back does without it
        tape.backward(loss)
        return float(loss), used

    def _views(self, flat: Array) -> Arrays:
        """The tensors of a flat array (P,), without a copy."""
        return named_views(flat, self.model)

    def _fill(self, flat: Array, values: Mapping[str, Any]) -> None:
        """Copy named values into a flat array."""
        checked = self._checked(values)
        for name, view in self._views(flat).items():
            view[...] = checked[name]

    def _checked(self, values: Mapping[str, Any]) -> Arrays:
        """Named values as arrays of the engine's dtype; read-only arrays of it are not copied."""
        check_names_match(values, self.model, "load")
        arrays = {}
        for tensor in tensors(self.model):
            check_shape(tensor, np.shape(values[tensor.name]), "load")
            with np.errstate(over="ignore"):
                given = np.asarray(values[tensor.name], self.settings.dtype)
            is_shared = given.flags.writeable and (given is values[tensor.name] or given.base is not None)
            arrays[tensor.name] = (given.copy() if is_shared else given).reshape(tensor.shape)
        return arrays
