"""The specification of a model: the list of its tensors, from which everything else is derived.

Its order is canonical: initialization, the flat array (P,) of every engine and every export use it. Shapes
depend only on ModelConfig; sizes found from the data, such as vocab_size, are fields of it. Standard library
only.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from math import prod
from typing import TYPE_CHECKING, Any, assert_never

from motegpt.errors import SettingError

if TYPE_CHECKING:
    from motegpt.config.sections import ModelConfig, Norm
    from motegpt.model.rng import RunRng

LARGEST_MODEL = 2**31 - 1  # parameters


class Role(Enum):
    """The role of a tensor in the model.

    EMBEDDING: rows looked up by id; the gradient of a batch is zero except in the rows that it reads, unless
    the tensor is also a factor of a product. TABLE: rows looked up by context; a step updates only the rows
    that its batch uses. WEIGHT: multiplies activations. GAIN: scales a channel, or all channels of a vector.
    BIAS: added to a channel.
    """

    EMBEDDING = "embedding"
    TABLE = "table"
    WEIGHT = "weight"
    GAIN = "gain"
    BIAS = "bias"


DECAYED = frozenset({Role.EMBEDDING, Role.WEIGHT})  # roles with weight decay; tables have their own


@dataclass(frozen=True)
class Init:
    """Initial values: samples of normal(mean, std), or the constant `mean` if std is 0."""

    mean: float
    std: float


def normal(std: float) -> Init:
    """Normal samples with mean 0."""
    return Init(0.0, std)


ZEROS, ONES = Init(0.0, 0.0), Init(1.0, 0.0)
Q_GAIN = Init(2.0, 0.0)  # with qk_norm: scores start within ± 2 · √D; docs/log.md has the source

# For each kind of norm its tensors (C,), in the order in which it takes them. That of layer0.ln1 with name
# "gain" is layer0.ln1_gain.
NORM_TENSORS: dict[Norm, tuple[tuple[str, Role, Init], ...]] = {"rms": ()}


@dataclass(frozen=True)
class Tensor:
    """One tensor of a model.

    name: unique; "layer0.attn_wq" belongs to module "layer0". shape: of any rank; matrices are (out, in).
    group: heading in summaries. products: number of matrix products per position that it is a factor of;
    0 for gains, biases and the kernels of depthwise convolutions.
    """

    name: str
    shape: tuple[int, ...]
    role: Role
    init: Init
    group: str
    products: int = 0

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def module(self) -> str:
        """The part of the name before the last dot; empty outside the layers."""
        return self.name.rpartition(".")[0]

    @property
    def attribute(self) -> str:
        """The part of the name after the last dot."""
        return self.name.rpartition(".")[2]

    @property
    def decayed(self) -> bool:
        """Whether weight decay applies to it."""
        return self.role in DECAYED


def tensors(model: ModelConfig) -> tuple[Tensor, ...]:
    """Every tensor of the model in canonical order; SettingError for more than LARGEST_MODEL parameters."""
    found = tuple(_tensors(model))
    count = sum(tensor.size for tensor in found)
    if count > LARGEST_MODEL:
        sizes = "n_layer, n_embd" + ", ngram_orders" * bool(model.ngram_rows)
        raise SettingError(f"{sizes}: expected at most {LARGEST_MODEL:,} parameters, got {count:,}")
    return found


def _tensors(model: ModelConfig) -> Iterator[Tensor]:
    init = normal(model.init_std)
    token_rows, position_rows = (model.vocab_size, model.n_embd), (model.block_size, model.n_embd)
    yield Tensor("wte", token_rows, Role.EMBEDDING, init, "token embedding", products=int(model.tied))
    match model.position:
        case "learned":
            yield Tensor("wpe", position_rows, Role.EMBEDDING, init, "position embedding")
        case "rope":
            pass
        case _:
            assert_never(model.position)
    for name, rows in zip(table_names(model), model.ngram_rows, strict=True):
        yield Tensor(name, (rows, model.n_embd), Role.TABLE, ZEROS, "n-gram embedding")
    if not model.tied:
        yield Tensor("lm_head", token_rows, Role.WEIGHT, init, "head", products=1)
    for i in range(model.n_layer):
        yield from _layer(model, f"layer{i}")


def _layer(model: ModelConfig, module: str) -> Iterator[Tensor]:
    c, hidden, default = model.n_embd, model.n_hidden, normal(model.init_std)
    to_residual = ZEROS if model.zero_init else default
    attention = (
        ("attn_wq", (c, c), default),
        ("attn_wk", (c, c), default),
        ("attn_wv", (c, c), default),
        ("attn_wo", (c, c), to_residual),
    )
    mlp = (("mlp_fc1", (hidden, c), default), ("mlp_fc2", (c, hidden), to_residual))
    for norm, group, matrices in (("ln1", "attention", attention), ("ln2", "MLP", mlp)):
        for name, role, init in NORM_TENSORS[model.norm]:
            yield Tensor(f"{module}.{norm}_{name}", (c,), role, init, "norms")
        for name, shape, init in matrices:
            yield Tensor(f"{module}.{name}", shape, Role.WEIGHT, init, group, products=1)
        if norm == "ln1" and model.qk_norm:
            yield Tensor(f"{module}.attn_q_gain", (1,), Role.GAIN, Q_GAIN, "norms")


def norm_tensors(model: ModelConfig, place: str) -> list[str]:
    """Names of the tensors of the norm at a place such as "layer0.ln1", in the order of NORM_TENSORS."""
    return [f"{place}_{name}" for name, _, _ in NORM_TENSORS[model.norm]]


def table_name(order: int) -> str:
    """Name of the table of contexts of `order` tokens."""
    return f"ngram{order}"


def table_names(model: ModelConfig) -> list[str]:
    """Names of the tables of the n-gram embedding, for the orders 2, 3, …"""
    return [table_name(order) for order, _ in enumerate(model.ngram_rows, 2)]


def parameter_count(model: ModelConfig) -> int:
    """Number of trainable parameters."""
    return sum(tensor.size for tensor in tensors(model))


def initialize(model: ModelConfig, rng: RunRng) -> dict[str, array[float]]:
    """Initial values by name, each a flat array in row-major order.

    The generator advances for constant tensors too, so no tensor depends on the `init` of another; not for
    tables, whose sizes depend on the data.
    """
    return {tensor.name: _initial_values(tensor, rng) for tensor in tensors(model)}


def _initial_values(tensor: Tensor, rng: RunRng) -> array[float]:
    if tensor.role is Role.TABLE:
        return array("d", [tensor.init.mean]) * tensor.size
    return rng.gauss_array(tensor.init.mean, tensor.init.std, tensor.size)


def named_views(flat: Any, model: ModelConfig) -> dict[str, Any]:
    """Views into a flat array (P,) in canonical order, by name, each in its tensor's shape."""
    return {
        tensor.name: flat[place.start : place.stop].reshape(tensor.shape) for tensor, place in places(model)
    }


def flat_view(values: Mapping[str, Any], model: ModelConfig, dtype: str) -> Any | None:
    """The flat array (P,) that arrays by name are views of, as those of named_views; None if they are not."""
    import numpy as np

    parts = [values[tensor.name] for tensor in tensors(model)]
    base = getattr(parts[0], "base", None)
    if not isinstance(base, np.ndarray) or base.ndim != 1 or not base.flags.c_contiguous:
        return None
    start = at = parts[0].__array_interface__["data"][0]
    for part in parts:
        is_next = isinstance(part, np.ndarray) and part.base is base and part.flags.c_contiguous
        if not is_next or part.dtype != dtype or part.__array_interface__["data"][0] != at:
            return None
        at += part.nbytes
    begin = start - base.__array_interface__["data"][0]
    flat = base.view(np.uint8)[begin : begin + at - start].view(dtype)
    return flat if flat.flags.aligned and flat.size == parameter_count(model) else None


def places(model: ModelConfig) -> Iterator[tuple[Tensor, range]]:
    """Each tensor with its indices in the flat array (P,)."""
    start = 0
    for tensor in tensors(model):
        yield tensor, range(start, start + tensor.size)
        start += tensor.size


def check_shape(tensor: Tensor, got: tuple[int, ...], what: str) -> None:
    """ValueError unless `got` has as many elements as the tensor."""
    if prod(got) != tensor.size:
        raise ValueError(f"{what}: {tensor.name} expected shape {tensor.shape}, got {got}")


def check_names_match(got: Mapping[str, object], model: ModelConfig, what: str) -> None:
    """ValueError unless `got` has exactly the tensors of the model."""
    expected = {tensor.name for tensor in tensors(model)}
    missing, unknown = sorted(expected - set(got)), sorted(set(got) - expected)
    if missing or unknown:
        raise ValueError(f"{what}: missing tensors {missing or 'none'}, unexpected {unknown or 'none'}")
