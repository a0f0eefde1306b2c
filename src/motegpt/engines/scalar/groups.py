"""The loss of a text as a graph in groups: embedding, norm, head 0, MLP, loss.

The groups follow from the trace of the forward pass: a value belongs to the first named vector that was
computed from it. Standard library only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from motegpt.config.presets import REFERENCE_PRESET, settings_of
from motegpt.config.sections import TrainConfig, section_values
from motegpt.engines.scalar import model as network
from motegpt.engines.scalar.engine import ScalarEngine
from motegpt.engines.scalar.graph import Value, topological
from motegpt.engines.scalar.model import Trace
from motegpt.errors import UsageError
from motegpt.model.spec import Role, table_names, tensors

if TYPE_CHECKING:
    from motegpt.config.sections import ModelConfig
    from motegpt.data.batches import Batch
    from motegpt.engines.base import Engine
    from motegpt.engines.scalar.model import Reductions, Vector

MAX_PRODUCTS = 8_000_000  # parameters times positions of a graph, which then takes about 1 GB
TOTAL = "loss of the text"


@dataclass(eq=False)
class Group:
    """Values of one part of the model at one position, each after those it was computed from.

    title: embedding, head 0, …; layer: its index, if it is in one; row: from top to bottom; column: the
    position, None for weights and for the whole text; parts: the values by the names of docs/notation.md, or
    the weights by matrix row, as wte[3].
    """

    title: str
    layer: int | None
    row: int
    column: int | None
    parts: dict[str, list[Value]] = field(default_factory=dict)

    @property
    def values(self) -> list[Value]:
        return [value for part in self.parts.values() for value in part]

    @property
    def heading(self) -> str:
        """The title, with the layer."""
        return self.title if self.layer is None else f"layer {self.layer}, {self.title}"

    @property
    def tensors(self) -> dict[str, list[list[Value]]]:
        """The rows of weights by tensor."""
        found: dict[str, list[list[Value]]] = {}
        for name, row in self.parts.items():
            found.setdefault(tensor_of(name), []).append(row)
        return found

    def vectors(self, names: Mapping[Value, str]) -> dict[str, list[Value]]:
        """The named vectors; of several of one name the last."""
        found = {
            part: list({names[value]: value for value in values if value in names}.values())
            for part, values in self.parts.items()
        }
        return {part: vector for part, vector in found.items() if vector}


class Graph(NamedTuple):
    """loss: the root, after `backward`; names: of parameters, and of the named vectors' numbers, as q[0].

    columns: the heading of each position; groups: none for a graph that is not of a model.
    """

    loss: Value
    names: Mapping[Value, str]
    groups: Sequence[Group] = ()
    columns: Sequence[str] = ()
    title: str = ""


class Stage(NamedTuple):
    """A named vector of the forward pass, and the group to which it belongs."""

    title: str
    layer: int | None
    name: str
    vector: Vector


def loss_graph(
    engine: Engine, batch: Batch, columns: Sequence[str], title: str, reductions: Reductions = network.FUSED
) -> Graph:
    """The graph of the loss of a batch of one sequence, with gradients; columns: headings of its positions.

    It is of a copy of the engine's parameters in double precision; of the tables of the n-gram embedding, the
    rows that the sequence uses. UsageError if it would be too large.
    """
    (inputs,) = batch.inputs
    contexts, rows = engine.contexts.used_in(inputs)
    used = dict(zip(table_names(engine.model), rows, strict=False))
    model = engine.model.replace(ngram_rows=contexts.sizes)
    check_size(model, len(inputs))
    train = TrainConfig.of({**section_values(settings_of(REFERENCE_PRESET), "train"), "dtype": "float64"})
    copy, traces = ScalarEngine(model, train, contexts), list[Trace]()
    parameters = engine.export().parameters
    copy.load({one.name: _rows_of(parameters[one.name], used.get(one.name)) for one in tensors(model)})
    reader = copy.reader()
    read = None if reader is None else reader.vectors
    loss = network.loss(batch, copy.w, copy.model, reductions, read=read, traces=traces)
    loss.backward()
    names = {value: _original_name(name, used) for value, name in copy.names().items()}
    groups = list(_computed(loss, traces, copy.model, names))
    return Graph(loss, names, [*_weights(groups, names), *groups], columns, title)


def _rows_of(parameters: Any, rows: Any | None) -> Any:
    """Some rows of a tensor; None: all of it."""
    return parameters if rows is None else parameters[rows]


def _original_name(name: str, used: Mapping[str, Any]) -> str:
    """The name of a number in the model that has all rows: that of ngram2[0,3] may be ngram2[812,3]."""
    if (rows := used.get(tensor_of(name))) is None:
        return name
    row, _, rest = name.removeprefix(f"{tensor_of(name)}[").partition(",")
    return f"{tensor_of(name)}[{rows[int(row)]},{rest}"


def check_size(model: ModelConfig, positions: int) -> None:
    """UsageError if the graph of these positions, which use few rows of tables, would be too large."""
    products = positions * sum(one.size for one in tensors(model) if one.role is not Role.TABLE)
    if products > MAX_PRODUCTS:
        raise UsageError(
            f"graph: expected at most {MAX_PRODUCTS:,} products (parameters times positions), got "
            f"{products:,}; choose a smaller model or a shorter text"
        )


def stages(trace: Trace, model: ModelConfig) -> Iterator[Stage]:
    """The named vectors of a position, in the order in which they are computed."""
    if "embed.ln.hook_normalized" in trace:
        normalized = trace["embed.ln.hook_normalized"]
        # y = x · scale: the first factor of a normalized number is the number
        yield Stage("embedding", None, "x", [y.parents[0] for y in normalized])
        yield Stage("norm", None, "x", normalized)
    else:
        yield Stage("embedding", None, "x", trace["blocks.0.hook_resid_pre"])
    for i in range(model.n_layer):
        block = f"blocks.{i}"
        yield from _norm(trace, f"{block}.ln1", "norm 1", i, "h")
        for head in range(model.n_head):
            for name, vector in _head(trace, f"{block}.attn", head, model):
                yield Stage(f"head {head}", i, name, vector)
        yield Stage("attention out", i, "attn_out", trace[f"{block}.hook_attn_out"])
        yield Stage("attention out", i, "x_attn", trace[f"{block}.hook_resid_mid"])
        yield from _norm(trace, f"{block}.ln2", "norm 2", i, "h_mlp")
        yield Stage("MLP", i, "a" if model.gated else "u", trace[f"{block}.mlp.hook_pre"])
        if model.gated:
            yield Stage("MLP", i, "u", trace[f"{block}.mlp.hook_pre_linear"])
        yield Stage("MLP", i, "g", trace[f"{block}.mlp.hook_post"])
        yield Stage("MLP", i, "mlp_out", trace[f"{block}.hook_mlp_out"])
        yield Stage("MLP", i, "x", trace[f"{block}.hook_resid_post"])
    yield from _norm(trace, "ln_final", "final norm", None, "h_final")
    yield Stage("logits", None, "logits", trace["logits"])
    yield Stage("loss", None, "loss", [trace["loss"]])


def _norm(trace: Trace, place: str, title: str, layer: int | None, name: str) -> Iterator[Stage]:
    """The result of a norm, if there is one at that place of the trace."""
    if (normalized := trace.get(f"{place}.hook_normalized")) is not None:
        yield Stage(title, layer, name, normalized)


def _head(trace: Trace, attn: str, head: int, model: ModelConfig) -> Iterator[tuple[str, Vector]]:
    """The named vectors of a head at a position; normalized and rotated ones have the names q and k too.

    Keys and values that several heads share are of the first of them.
    """
    size, queries = model.head_size, model.n_head // model.kv_heads
    own = {"q": head} if head % queries else {"q": head, "k": head // queries, "v": head // queries}
    for name, at in own.items():
        for hook in (f"hook_{name}", f"{name}_norm.hook_normalized", f"hook_rot_{name}"):
            if f"{attn}.{hook}" in trace:
                yield name, trace[f"{attn}.{hook}"][at * size : (at + 1) * size]
    yield "scores", trace[f"{attn}.hook_attn_scores"][head]
    yield "p", trace[f"{attn}.hook_pattern"][head]
    yield "z", trace[f"{attn}.hook_z"][head * size : (head + 1) * size]


def _computed(
    loss: Value, traces: Sequence[Trace], model: ModelConfig, names: dict[Value, str]
) -> Iterator[Group]:
    """The groups of computed values, position by position, and that of the sum; adds to the names."""
    order = {value: i for i, value in enumerate(topological(loss))}
    seen: set[Value] = set()
    rows: dict[tuple[int | None, str], int] = {}
    for column, trace in enumerate(traces):
        groups: dict[tuple[int | None, str], Group] = {}
        for title, layer, name, vector in stages(trace, model):
            row = rows.setdefault((layer, title), len(rows))
            group = groups.setdefault((layer, title), Group(title, layer, row, column))
            names.update(
                {
                    value: f"{name}[{i}]"
                    for i, value in enumerate(vector)
                    if value.parents and value not in seen
                }
            )
            group.parts.setdefault(name, []).extend(sorted(_claim(vector, seen), key=order.__getitem__))
        yield from (group for group in groups.values() if group.values)
    names[loss] = "loss"
    yield Group(TOTAL, None, len(rows), None, {"loss": sorted(_claim([loss], seen), key=order.__getitem__)})


def _claim(vector: Vector, seen: set[Value]) -> list[Value]:
    """The computed values that a vector depends on and that are not in `seen`, to which they are added."""
    found, stack = [], list(vector)
    while stack:
        value = stack.pop()
        if value.parents and value not in seen:
            seen.add(value)
            found.append(value)
            stack += value.parents
    return found


def _weights(groups: Sequence[Group], names: Mapping[Value, str]) -> list[Group]:
    """The parameters that are used, each in the row where it is used first."""
    found: dict[int, Group] = {}
    rows: dict[Value, Group] = {}
    for group in sorted(groups, key=lambda group: group.row):
        for value in group.values:
            for parent in value.parents:
                if not parent.parents and parent in names:
                    rows.setdefault(parent, group)
    for parameter in sorted(rows, key={value: i for i, value in enumerate(names)}.__getitem__):
        user = rows[parameter]
        group = found.setdefault(user.row, Group(user.title, user.layer, user.row, None))
        group.parts.setdefault(row_of(names[parameter]), []).append(parameter)
    return [found[row] for row in sorted(found)]


def tensor_of(name: str) -> str:
    """wte for wte[3,0]."""
    return name.partition("[")[0]


def row_of(name: str) -> str:
    """wte[3] for wte[3,0]; the tensor where it is a vector."""
    row, comma, _ = name.rpartition(",")
    return f"{row}]" if comma else tensor_of(name)
