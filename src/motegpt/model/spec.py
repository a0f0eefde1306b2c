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
from functools import cached_property
from math import prod, sqrt
from typing import TYPE_CHECKING, Any, assert_never

from motegpt.errors import SettingError

if TYPE_CHECKING:
    from motegpt.config.sections import ModelConfig
    from motegpt.model.rng import RunRng

LARGEST_MODEL = 2**31 - 1  # parameters
KEPT = "_tensors"  # attribute of a model
FINAL_NORM = "ln_f"  # place of the norm before the head


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

    @cached_property
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
    """Every tensor of the model in canonical order; SettingError for more than LARGEST_MODEL parameters.

    The model, which does not change, keeps them, as with a cached_property.
    """
    found: tuple[Tensor, ...] | None = vars(model).get(KEPT)
    if found is None:
        found = vars(model)[KEPT] = _checked(model)
    return found


def _checked(model: ModelConfig) -> tuple[Tensor, ...]:
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
        case "rope" | "none":
            pass
        case _:
            assert_never(model.position)
    for name, rows in zip(table_names(model), model.ngram_rows, strict=True):
        yield Tensor(name, (rows, model.n_embd), Role.TABLE, ZEROS, "n-gram embedding")
    if not model.tied:
        yield Tensor("lm_head", token_rows, Role.WEIGHT, init, "head", products=1)
    for i in range(model.n_layer):
        yield from _attention(model, f"layer{i}")
        yield from _mlp(model, f"layer{i}")
    if model.final_norm:
        yield from _norm(model, FINAL_NORM)


def _norm(model: ModelConfig, place: str) -> Iterator[Tensor]:
    """The tensors of the norm at a place such as "layer0.ln1"."""
    if model.norm_gain:
        yield Tensor(f"{place}_gain", (model.n_embd,), Role.GAIN, ONES, "norms")
    if model.norm_bias:
        yield Tensor(f"{place}_bias", (model.n_embd,), Role.BIAS, ZEROS, "norms")


def _attention(model: ModelConfig, module: str) -> Iterator[Tensor]:
    c, kv, init = model.n_embd, model.kv_size, normal(model.init_std)
    yield from _norm(model, f"{module}.ln1")
    yield from _matrices(
        model,
        "attention",
        {
            f"{module}.attn_wq": ((c, c), init),
            f"{module}.attn_wk": ((kv, c), init),
            f"{module}.attn_wv": ((kv, c), init),
            f"{module}.attn_wo": ((c, c), _to_residual(model)),
        },
    )
    if model.qk_norm:
        yield Tensor(f"{module}.attn_q_gain", (1,), Role.GAIN, Q_GAIN, "norms")


def _mlp(model: ModelConfig, module: str) -> Iterator[Tensor]:
    c, hidden, init = model.n_embd, model.mlp_size, normal(model.init_std)
    yield from _norm(model, f"{module}.ln2")
    gate = {f"{module}.mlp_gate": ((hidden, c), init)} if model.gated else {}
    others = {
        f"{module}.mlp_fc1": ((hidden, c), init),
        f"{module}.mlp_fc2": ((c, hidden), _to_residual(model)),
    }
    yield from _matrices(model, "MLP", gate | others)


def _matrices(
    model: ModelConfig, group: str, matrices: Mapping[str, tuple[tuple[int, int], Init]]
) -> Iterator[Tensor]:
    """Matrices by name, then their biases, if there are any, each (out,)."""
    for name, (shape, init) in matrices.items():
        yield Tensor(name, shape, Role.WEIGHT, init, group, products=1)
    if model.bias:
        for name, ((out, _), _) in matrices.items():
            yield Tensor(bias_name(name), (out,), Role.BIAS, ZEROS, group)


def bias_name(matrix: str) -> str:
    """Name of the bias of a matrix: layer0.mlp_fc1_bias."""
    return f"{matrix}_bias"


def head_name(model: ModelConfig) -> str:
    """Name of the matrix (V, C) whose product with the residual stream is the logits."""
    return "wte" if model.tied else "lm_head"


def _to_residual(model: ModelConfig) -> Init:
    """Of a matrix that writes to the residual stream. scaled_init: Radford et al., 2019, section 2.3."""
    if model.zero_init:
        return ZEROS
    return normal(model.init_std / sqrt(2 * model.n_layer) if model.scaled_init else model.init_std)


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


def unchanging(flat: Any, values: Mapping[str, Any]) -> Any:
    """A copy of the flat array of `flat_view` if one of its values can be written to, else itself."""
    is_writable = any(getattr(getattr(one, "flags", None), "writeable", True) for one in values.values())
    return flat.copy() if is_writable else flat


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
