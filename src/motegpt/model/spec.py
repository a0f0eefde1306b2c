"""The specification of a model: the one list of its tensors, from which everything else is derived.

The order is canonical: that of the initial draws, of the flat array (P,) of every engine, and of every
export. Shapes depend on ModelConfig alone; a size that is found from the data, as that of the vocabulary,
is a field there. Standard library only.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from math import prod
from typing import TYPE_CHECKING, Any

from motegpt.errors import SettingError

if TYPE_CHECKING:
    from motegpt.config.sections import ModelConfig
    from motegpt.model.rng import RunRng

LARGEST_MODEL = 2**31 - 1  # parameters


class Role(Enum):
    """What the numbers of a tensor do.

    EMBEDDING: rows looked up by id, so that a batch's gradient is zero but for the rows it reads, unless the
    tensor is also a factor of a product. WEIGHT: multiplies activations. GAIN: scales a channel. BIAS: is
    added to one.
    """

    EMBEDDING = "embedding"
    WEIGHT = "weight"
    GAIN = "gain"
    BIAS = "bias"


DECAYED = frozenset(Role)  # roles that `weight_decay` shrinks


@dataclass(frozen=True)
class Init:
    """Initial values: draws from normal(mean, std), the constant `mean` if std is 0."""

    mean: float
    std: float


def normal(std: float) -> Init:
    """Draws around 0."""
    return Init(0.0, std)


ZEROS, ONES = Init(0.0, 0.0), Init(1.0, 0.0)


@dataclass(frozen=True)
class Tensor:
    """One tensor of a model.

    name: unique; "layer0.attn_wq" belongs to module "layer0". shape: of any rank; matrices are (out, in).
    group: what a summary counts it under. products: how many matrix products it is a factor of at each
    position; none for gains, biases and the kernels of depthwise convolutions.
    """

    name: str
    shape: tuple[int, ...]
    role: Role
    init: Init
    group: str
    products: int = 0

    @property
    def size(self) -> int:
        """How many numbers it holds."""
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
        """Whether `weight_decay` shrinks it."""
        return self.role in DECAYED


def tensors(model: ModelConfig) -> tuple[Tensor, ...]:
    """Every tensor of the model in canonical order; SettingError for more than LARGEST_MODEL parameters."""
    found = tuple(_tensors(model))
    count = sum(tensor.size for tensor in found)
    if count > LARGEST_MODEL:
        raise SettingError(f"n_layer, n_embd: expected at most {LARGEST_MODEL:,} parameters, got {count:,}")
    return found


def _tensors(model: ModelConfig) -> Iterator[Tensor]:
    drawn = normal(model.init_std)
    token_rows, position_rows = (model.vocab_size, model.n_embd), (model.block_size, model.n_embd)
    yield Tensor("wte", token_rows, Role.EMBEDDING, drawn, "token embedding", products=int(model.tied))
    yield Tensor("wpe", position_rows, Role.EMBEDDING, drawn, "position embedding")
    if not model.tied:
        yield Tensor("lm_head", token_rows, Role.WEIGHT, drawn, "head", products=1)
    for i in range(model.n_layer):
        yield from _layer(model, f"layer{i}")


def _layer(model: ModelConfig, module: str) -> Iterator[Tensor]:
    c, hidden, drawn = model.n_embd, model.n_hidden, normal(model.init_std)
    to_residual = ZEROS if model.zero_init else drawn
    for name, shape, init, group in (
        ("attn_wq", (c, c), drawn, "attention"),
        ("attn_wk", (c, c), drawn, "attention"),
        ("attn_wv", (c, c), drawn, "attention"),
        ("attn_wo", (c, c), to_residual, "attention"),
        ("mlp_fc1", (hidden, c), drawn, "MLP"),
        ("mlp_fc2", (c, hidden), to_residual, "MLP"),
    ):
        yield Tensor(f"{module}.{name}", shape, Role.WEIGHT, init, group, products=1)


def parameter_count(model: ModelConfig) -> int:
    """How many numbers the model learns."""
    return sum(tensor.size for tensor in tensors(model))


def initialize(model: ModelConfig, rng: RunRng) -> dict[str, array[float]]:
    """Initial values by name, each a flat array in row-major order.

    Constant tensors use up as many draws as others, so that no tensor's values depend on another's `init`.
    """
    return {
        tensor.name: array("d", [rng.gauss(tensor.init.mean, tensor.init.std) for _ in range(tensor.size)])
        for tensor in tensors(model)
    }


def named_views(flat: Any, model: ModelConfig) -> dict[str, Any]:
    """Views into a flat array (P,) in canonical order, by name, each in its tensor's shape."""
    views, start = {}, 0
    for tensor in tensors(model):
        views[tensor.name] = flat[start : start + tensor.size].reshape(tensor.shape)
        start += tensor.size
    return views


def check_shape(tensor: Tensor, got: tuple[int, ...], what: str) -> None:
    """ValueError unless there are as many numbers as the tensor holds, in whatever shape."""
    if prod(got) != tensor.size:
        raise ValueError(f"{what}: {tensor.name} expected shape {tensor.shape}, got {got}")


def check_names_match(got: Mapping[str, object], model: ModelConfig, what: str) -> None:
    """Raise ValueError unless `got` has exactly the tensors of the model."""
    expected = [tensor.name for tensor in tensors(model)]
    missing, foreign = sorted(set(expected) - set(got)), sorted(set(got) - set(expected))
    if missing or foreign:
        raise ValueError(f"{what}: missing {missing or 'none'}, not of this model {foreign or 'none'}")
