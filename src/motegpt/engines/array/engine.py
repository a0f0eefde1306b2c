"""The array engine: the contract over the model's arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from motegpt.engines.array import model as network
from motegpt.engines.array import ops
from motegpt.engines.array.decoder import ArrayDecoder
from motegpt.engines.array.node_clip import clipped_rules, cross_entropy_clipped
from motegpt.engines.array.ops import Array
from motegpt.engines.array.optimizers import STEPS, clip_gradient
from motegpt.engines.array.tape import Tape
from motegpt.engines.base import Engine, Snapshot
from motegpt.model.dropout import masks_of
from motegpt.model.spec import check_names_match, check_shape, named_views, parameter_count, tensors

if TYPE_CHECKING:
    from motegpt.config.sections import ModelConfig, TrainConfig
    from motegpt.data.plan import Batch, Plan
    from motegpt.engines.array.tape import Operation, Rules
    from motegpt.engines.base import Arrays, Values
    from motegpt.model.dropout import Masks
    from motegpt.ngrams.contexts import Contexts


class ArrayEngine(Engine):
    """Parameters, gradient and each slot are flat arrays (P,); the tensors are views into them."""

    name = "array"
    dtypes = ("float64", "float32")

    def __init__(self, model: ModelConfig, train: TrainConfig, contexts: Contexts | None = None) -> None:
        super().__init__(model, train, contexts)
        n_slots = len(self.optimizer.slots)
        self._flat, self._gradient, *self._slots = np.zeros(
            (2 + n_slots, parameter_count(model)), train.dtype
        )
        self._w = self._views(self._flat)
        dw = self._views(self._gradient)
        self._parameters = [(w, dw[name]) for name, w in self._w.items()]
        decayed = np.concatenate([np.full(one.size, one.decayed) for one in tensors(model)])
        self._decayed = True if decayed.all() else decayed
        self._cross_entropy: Operation = ops.cross_entropy
        self._rules: Rules = ops.BACKWARD
        if train.clip_node is not None:
            self._cross_entropy, self._rules = cross_entropy_clipped, clipped_rules(train.clip_node)

    def _load(self, parameters: Values, slots: Sequence[Values] | None) -> None:
        self._fill(self._flat, parameters)
        for i, slot in enumerate(self._slots):
            if slots is None:
                slot[:] = 0.0
            else:
                self._fill(slot, slots[i])

    def export(self) -> Snapshot:
        w, *slots = (self._views(flat.copy()) for flat in (self._flat, *self._slots))
        return self._snapshot(w, slots)

    def logits(self, batch: Batch) -> list[Array]:
        ids = network.pad(batch.inputs)
        with np.errstate(all="ignore"):  # numbers that overflow show in what comes of them
            logits = network.forward(self._w, ids, self.model)
        padded = logits.reshape(*ids.shape, -1)
        return [padded[b, : len(row)] for b, row in enumerate(batch.inputs)]

    def gradients(self, batch: Batch, step: int | None = None) -> tuple[float, Arrays]:
        with np.errstate(all="ignore"):
            loss = self._backpropagate(batch, masks_of(self.settings, step))
        return loss, self._views(self._gradient.copy())

    def train(self, plan: Plan, start: int, count: int) -> list[float]:
        with np.errstate(all="ignore"):  # a training that has run away shows in its losses
            batches = plan.chunk(start, count).batches()
            return [self._step(batch, step) for step, batch in enumerate(batches, start)]

    def decoder(self, n: int) -> ArrayDecoder:
        return ArrayDecoder(self._w, self.model, n)

    def _step(self, batch: Batch, step: int) -> float:
        loss = self._backpropagate(batch, masks_of(self.settings, step))
        clip_gradient(self._gradient, self.settings)
        scalars = self.optimizer.scalars(self.settings, step)
        STEPS[self.optimizer.name](self._flat, self._gradient, *self._slots, scalars, self._decayed)
        return loss

    def _backpropagate(self, batch: Batch, masks: Masks | None) -> float:
        """Loss of the batch; leaves its gradient in self._gradient."""
        self._gradient[:] = 0.0
        targets = network.pad(batch.targets).ravel()
        weights = network.pad(batch.weights, self._flat.dtype).ravel()
        tape = Tape(self._rules, self._parameters)
        logits = network.forward(self._w, network.pad(batch.inputs), self.model, tape, masks=masks)
        loss = tape.apply(self._cross_entropy, logits, targets, weights)
        del logits  # the way back does without it
        tape.backward(loss)
        return float(loss)

    def _views(self, flat: Array) -> Arrays:
        """The tensors of a flat array (P,), without a copy."""
        return named_views(flat, self.model)

    def _fill(self, flat: Array, values: Mapping[str, Any]) -> None:
        """Copy named values into a flat array."""
        check_names_match(values, self.model, "load")
        views = self._views(flat)
        for tensor in tensors(self.model):
            given = np.asarray(values[tensor.name])
            check_shape(tensor, given.shape, "load")
            with np.errstate(over="ignore"):
                views[tensor.name][:] = given.reshape(tensor.shape)
