"""Memory of training on the native engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from motegpt.engines.cost import BYTES, Memory, product_count
from motegpt.system.processors import available_processors

if TYPE_CHECKING:
    from motegpt.config.sections import ModelConfig, TrainConfig


def training_memory(model: ModelConfig, train: TrainConfig, positions: float, ranks: int = 1) -> Memory:
    """See motegpt.engines. Each thread has gradients, and the LayerTape and Group of cpp/motegpt/tape.hpp.

    Norms with a gain or a bias save their output too. Matrices of products are stored twice, the second time
    transposed. Attention with heads narrower than a vector saves up to C · (T + 3) / 2 numbers per position
    instead of the H · T counted here. Instead of the gradient of the n-gram tables, that of x (C) at all
    positions of a step is kept; a row also needs two ints and two to four edges (contexts.hpp).
    """
    c, threads = model.n_embd, train.threads or available_processors()
    qkv, inputs = c + 2 * model.kv_size, (1 + model.gated) * model.mlp_size
    norm = (1 + (model.norm_gain or model.norm_bias)) * c + 1
    layer = 2 * norm + model.qk_norm * (c + model.kv_size) + qkv + model.n_head * positions + c
    layer += inputs + model.mlp_size
    layers = model.n_layer * c + layer if train.checkpoint_activations else model.n_layer * layer
    inner = c + max(model.mlp_size, c) + model.gated * inputs + qkv  # gradients inside a layer
    group = 3 * c + model.final_norm * norm + model.vocab_size + inner
    rows = threads * min(train.batch_size * positions, max(group_rows(model, train), model.block_size))
    memory = Memory.of(model, train, rows * (layers + group))
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
