"""Memory of training on the native engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from motegpt.engines.cost import BYTES, ONE_LAYER, Memory, product_count
from motegpt.model.spec import Role, tensors
from motegpt.system.processors import available_processors

if TYPE_CHECKING:
    from motegpt.config.sections import ModelConfig, TrainConfig


def training_memory(model: ModelConfig, train: TrainConfig, positions: float, ranks: int = 1) -> Memory:
    """See motegpt.engines. Each thread has gradients, and the LayerTape and Group of cpp/motegpt/tape.hpp.

    A norm with a gain saves the numbers that it scales, and QK norm its queries and keys. Matrices of
    products are stored twice, the second time transposed. Attention with heads narrower than a vector saves
    up to C · (T + 3) / 2 numbers per position instead of the H · T counted here. The tables of the n-gram
    embedding have no gradient in memory, but the gradients of the x (C) of all positions of a step; each row
    needs two ints, and two to four edges of its context (contexts.hpp).
    """
    c, threads = model.n_embd, train.threads or available_processors()
    gains = sum(one.size for one in tensors(model) if one.module == ONE_LAYER and one.role is Role.GAIN)
    layer = (14 + 2 * model.qk_norm) * c + gains + model.n_head * positions + 2
    layers = model.n_layer * c + layer if train.checkpoint_activations else model.n_layer * layer
    rows = threads * min(train.batch_size * positions, max(group_rows(model, train), model.block_size))
    memory = Memory.of(model, train, rows * (layers + 11 * c + model.vocab_size))
    size, tables = BYTES[train.dtype], sum(model.ngram_rows)
    step = train.batch_size * positions * c if tables else 0
    return memory._replace(
        parameters=memory.parameters + size * product_count(model) + (2 * 4 + 3 * 16) * tables,
        gradients=(memory.gradients - size * c * tables) * threads + round(size * step),
    )


def group_rows(model: ModelConfig, train: TrainConfig) -> int:
    """Positions that a thread computes at once: best_group_rows of cpp/motegpt/workers.hpp."""
    cache, many, activations = 1792 * 1024, 512, 18
    row = (activations * model.n_embd + model.n_head * model.block_size) * BYTES[train.dtype]
    return cache // row if cache // row > model.n_embd else many
