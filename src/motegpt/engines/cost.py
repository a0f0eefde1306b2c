"""The cost of a training, computed from the settings: operations, memory, communication.

Standard library only; the memory formulas of each engine are in its package. docs/scale.md derives each
formula with its source and compares it with measurements. Letters as in docs/notation.md; memory and
communication in bytes; operations are floating-point operations, a multiply and an add counting as two.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

from motegpt.model.spec import parameter_count, tensors
from motegpt.optim import OPTIMIZERS

if TYPE_CHECKING:
    from motegpt.config.sections import ModelConfig, TrainConfig

BYTES = {"float64": 8, "float32": 4}
ONE_LAYER = "layer0"  # all layers have the same sizes


class Memory(NamedTuple):
    """Bytes per device while training. parameters: including copies; optimizer: its slots."""

    parameters: int
    gradients: int
    optimizer: int
    activations: int

    @classmethod
    def of(cls, model: ModelConfig, train: TrainConfig, activations: float) -> Memory:
        """Parameters, gradients and optimizer slots once each. activations: how many numbers."""
        size = BYTES[train.dtype]
        state, slots = size * parameter_count(model), len(OPTIMIZERS[train.optimizer].slots)
        return cls(state, state, slots * state, round(size * activations))

    @property
    def total(self) -> int:
        return sum(self)


def product_count(model: ModelConfig, modules: Collection[str] | None = None) -> int:
    """Parameters that are factors of matrix products, counted once per product. modules: default: all."""
    return sum(
        tensor.size * tensor.products
        for tensor in tensors(model)
        if modules is None or tensor.module in modules
    )


def operations_per_token(model: ModelConfig, positions: float) -> float:
    """Training operations per token on sequences of `positions` tokens, without the optimizer.

    Each weight of a matrix product costs a multiply and an add forward and twice that backward: 6 per
    token (Kaplan et al., 2020, section 2.1). Attention's two products over T positions, halved because
    it is causal, add 6 · L · C · T per token, as each query has its own even where several share a key.
    (Chowdhery et al., 2022, appendix B, do not halve it: 12 · L · H · D · T; a utilization by that formula is
    higher.)
    """
    return 6.0 * (product_count(model) + model.n_layer * model.n_embd * positions)


def recomputed_per_token(model: ModelConfig, positions: float) -> float:
    """Operations per token that checkpoint_activations adds: one more forward pass of the layers."""
    per_layer = product_count(model, modules=(ONE_LAYER,))
    return 2.0 * model.n_layer * (per_layer + model.n_embd * positions)


def gathered_count(model: ModelConfig) -> int:
    """Parameters of one layer and outside the layers."""
    return sum(tensor.size for tensor in tensors(model) if tensor.module in ("", ONE_LAYER))


def cache_bytes(model: ModelConfig, dtype: str) -> int:
    """Bytes of the KV cache of one sequence."""
    return cached_numbers(model) * BYTES[dtype]


def cached_numbers(model: ModelConfig) -> int:
    """Numbers in the KV cache of one sequence: a key and a value per layer, position and head of theirs."""
    return 2 * model.n_layer * model.block_size * model.kv_size


def all_reduce(count: int, ranks: int) -> float:
    """Numbers each rank sends in a ring all-reduce of `count` numbers: 2 (N-1)/N per number, the minimum.

    Patarasuk and Yuan, 2009. A reduce-scatter and an all-gather each send half of it.
    """
    return 2.0 * count * (ranks - 1) / ranks


def communication(model: ModelConfig, train: TrainConfig, ranks: int) -> float:
    """Bytes each rank sends per step: gradients summed once; sharded, parameters gathered twice per part too.

    Li et al., 2020, and Rajbhandari et al., 2020, section 7: 2 and 3 times the parameters for large N. All
    in the precision of the parameters, as the torch engine sends them. (Tensors outside the layers may stay
    gathered from forward to backward, and then are sent once.)
    """
    half_ring = all_reduce(parameter_count(model), ranks) / 2.0
    gathers = 2 * train.accumulate if train.shard else 1
    return BYTES[train.dtype] * half_ring * (1 + gathers)
