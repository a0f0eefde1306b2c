"""The scalar engine: the contract over graph nodes.

NumPy appears only where the contract hands out arrays, and is imported there; training, decoding and
`values()` do without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, product
from typing import TYPE_CHECKING, Any

from motegpt.engines.base import Decoder, Engine, Snapshot, check_sources
from motegpt.engines.scalar import model as network
from motegpt.engines.scalar.graph import Value, leaves
from motegpt.engines.scalar.model import FUSED, Cache, Reductions, Tensors, empty_cache, forward_token
from motegpt.engines.scalar.ngrams import NGramReader
from motegpt.engines.scalar.node_clip import NodeClip
from motegpt.engines.scalar.optimizers import STEPS, clip_gradient
from motegpt.model.dropout import masks_of
from motegpt.model.spec import (
    check_names_match,
    check_shape,
    named_views,
    parameter_count,
    places,
    table_names,
    tensors,
)
from motegpt.optim.base import table_decay
from motegpt.optim.groups import FROZEN

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from motegpt.config.sections import ModelConfig, TrainConfig
    from motegpt.data.batches import Batch
    from motegpt.data.plan import Plan
    from motegpt.engines.base import Arrays, Values
    from motegpt.ngrams.contexts import Contexts


class ScalarEngine(Engine):
    """nodes: every parameter in canonical order; w: the same nodes as nested lists, by tensor."""

    name = "scalar"
    dtypes = ("float64",)

    def __init__(self, model: ModelConfig, train: TrainConfig, contexts: Contexts | None = None) -> None:
        super().__init__(model, train, contexts)
        size = parameter_count(model)
        self.nodes = leaves([0.0] * size)
        self.w: Tensors = self._nested(self.nodes)
        self._slots = [[0.0] * size for _ in self.optimizer.slots]
        self._decayed = [one.decayed for one in tensors(model) for _ in range(one.size)]
        self._places = {tensor.name: place for tensor, place in places(model)}
        self._groups = [self.groups.of[one.name] for one in tensors(model) for _ in range(one.size)]
        self._reductions: Reductions = FUSED
        self._backward: Callable[[Value], None] = Value.backward
        if train.clip_node is not None:
            self._reductions = clip = NodeClip(train.clip_node)
            self._backward = clip.backward

    def _load(self, parameters: Values, slots: Sequence[Values] | None) -> None:
        for node, value in zip(self.nodes, self._flat(parameters), strict=True):
            node.data = value
        if slots is None:
            self._slots = [[0.0] * len(self.nodes) for _ in self._slots]
        else:
            self._slots = list(map(self._flat, slots))

    def values(self) -> dict[str, Any]:
        """The parameters as nested lists, matrices as lists of rows, without NumPy."""
        return self._nested([node.data for node in self.nodes])

    def names(self) -> dict[Value, str]:
        """What each parameter node is called, for drawings: wte[3,0]."""
        places = (
            f"{tensor.name}[{','.join(map(str, place))}]"
            for tensor in tensors(self.model)
            for place in product(*map(range, tensor.shape))
        )
        return dict(zip(self.nodes, places, strict=True))

    def export(self) -> Snapshot:
        parameters = self._arrays([node.data for node in self.nodes])
        return self._snapshot(parameters, list(map(self._arrays, self._slots)))

    def logits(self, batch: Batch) -> list[NDArray[np.floating[Any]]]:
        import numpy as np

        return [np.array(self._logits_of(inputs)) for inputs in batch.inputs]

    def gradients(self, batch: Batch, step: int | None = None) -> tuple[float, Arrays]:
        loss, _ = self._backpropagate(batch, step)
        gradient = [node.grad for node in self.nodes]
        for node in self.nodes:
            node.grad = 0.0
        return loss, self._arrays(gradient)

    def train(self, plan: Plan, start: int, count: int) -> list[float]:
        return [self._step(plan.batch(step), step) for step in range(start, start + count)]

    def decoder(self, n: int) -> ScalarDecoder:
        return ScalarDecoder(self.w, self.model, n, self.reader())

    def _step(self, batch: Batch, step: int) -> float:
        loss, reader = self._backpropagate(batch, step)
        for i in self._indices(FROZEN):
            self.nodes[i].grad = 0.0
        clip_gradient(self.nodes, self.settings)
        for group, settings in enumerate(self.groups.settings):
            updated = ((i, node) for i, node in self._updated(reader) if self._groups[i] == group)
            scalars = self.optimizer.scalars(settings, step)
            STEPS[self.optimizer.name](updated, *self._slots, scalars, self._decayed)
        for name in table_names(self.model):
            settings_of = self.groups.settings_of(name)
            if settings_of is not None and (factor := table_decay(settings_of, step)) != 1.0:
                for i in self._places[name]:
                    self.nodes[i].data *= factor
        return loss

    def _indices(self, group: int) -> Iterator[int]:
        """The indices of the nodes of a group."""
        names = (name for name, one in self.groups.of.items() if one == group)
        return chain.from_iterable(self._places[name] for name in names)

    def _updated(self, reader: NGramReader | None) -> Iterable[tuple[int, Value]]:
        """The nodes that a step updates, with their indices: of the tables only the rows that it read."""
        if reader is None:
            return enumerate(self.nodes)
        width, tables = self.model.n_embd, table_names(self.model)
        dense = (places for name, places in self._places.items() if name not in tables)
        rows = (self._places[name][row * width : (row + 1) * width] for name, row in reader.used)
        return ((i, self.nodes[i]) for i in chain(*dense, *rows))

    def reader(self, step: int | None = None) -> NGramReader | None:
        """For the n-gram embedding, if there is one; step: of a training step, which drops vectors."""
        return NGramReader(self.w, self.contexts, self.settings, step) if self.contexts.keys else None

    def _backpropagate(self, batch: Batch, step: int | None) -> tuple[float, NGramReader | None]:
        """Loss of the batch; leaves its gradient in the nodes. The graph ends with this call."""
        reader = self.reader(step)
        read = None if reader is None else reader.vectors
        masks = masks_of(self.settings, step)
        loss = network.loss(batch, self.w, self.model, self._reductions, masks, read)
        self._backward(loss)
        return loss.data, reader

    def _logits_of(self, inputs: Sequence[int]) -> list[list[float]]:
        cache, reader = empty_cache(self.model), self.reader()
        logits = []
        for at, token in enumerate(inputs):
            vectors = None if reader is None else reader.vectors(inputs[: at + 1])
            nodes = forward_token(token, at, self.w, cache, self.model, FUSED, vectors=vectors)
            logits.append([node.data for node in nodes])
        return logits

    def _nested(self, flat: Iterable[Any]) -> dict[str, Any]:
        """A flat list in canonical order as nested lists, by tensor."""
        rest = iter(flat)
        return {tensor.name: nested(rest, tensor.shape) for tensor in tensors(self.model)}

    def _flat(self, values: Values) -> list[float]:
        """Named values, each flat or in its tensor's shape, as one list."""
        check_names_match(values, self.model, "load")
        flat: list[float] = []
        for tensor in tensors(self.model):
            numbers = flattened(values[tensor.name])
            check_shape(tensor, (len(numbers),), "load")
            flat += numbers
        return flat

    def _arrays(self, flat: list[float]) -> Arrays:
        import numpy as np

        return named_views(np.array(flat), self.model)


class ScalarDecoder(Decoder):
    """A cache for each sequence; after a token only the numbers are kept, so no graph grows."""

    def __init__(self, w: Tensors, model: ModelConfig, n: int, ngrams: NGramReader | None) -> None:
        self._w, self._model, self._n, self._ngrams = w, model, n, ngrams
        self.reset()

    def reset(self) -> None:
        self._caches: list[Cache] = [empty_cache(self._model) for _ in range(self._n)]
        self._histories: list[list[int]] = [[] for _ in range(self._n)]

    def reorder(self, sources: Sequence[int]) -> None:
        check_sources(sources, self._n)
        self._caches = [[(keys[:], values[:]) for keys, values in self._caches[source]] for source in sources]
        self._histories = [self._histories[source][:] for source in sources]

    def feed(self, ids: Sequence[int]) -> list[list[float]]:
        if len(self._histories[0]) >= self._model.block_size:
            raise ValueError(f"decoder: expected at most block_size = {self._model.block_size} tokens")
        return [self._feed_one(*one) for one in zip(ids, self._histories, self._caches, strict=True)]

    def _feed_one(self, token: int, history: list[int], cache: Cache) -> list[float]:
        """Append a token to a sequence; its logits."""
        at = len(history)
        history.append(token)
        vectors = None if self._ngrams is None else self._ngrams.vectors(history)
        logits = forward_token(token, at, self._w, cache, self._model, FUSED, vectors=vectors)
        for keys, values in cache:
            keys[-1], values[-1] = leaves(k.data for k in keys[-1]), leaves(v.data for v in values[-1])
        return [node.data for node in logits]


def nested(flat: Iterator[Any], shape: tuple[int, ...]) -> Any:
    """The next numbers or nodes as nested lists of this shape; a single one for the shape ()."""
    return [nested(flat, shape[1:]) for _ in range(shape[0])] if shape else next(flat)


def flattened(values: Any) -> list[float]:
    """The numbers of an array, or of nested lists, in row-major order."""
    plain = values.tolist() if hasattr(values, "tolist") else values
    return [x for row in plain for x in flattened(row)] if isinstance(plain, list) else [float(plain)]
