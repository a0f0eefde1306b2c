"""Memory of training on the array engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from motegpt.engines.cost import Memory
from motegpt.model.dropout import sites_of

if TYPE_CHECKING:
    from motegpt.config.sections import ModelConfig, TrainConfig


def training_memory(model: ModelConfig, train: TrainConfig, positions: float, ranks: int = 1) -> Memory:
    """See motegpt.engines. The tapes of model.py, per position, with masks of dropout, and the logits.

    At each position, at most one row of each table of the n-gram embedding is copied, with its gradient.
    """
    layer = 16 * model.n_embd + model.n_head * positions + 2
    if model.qk_norm:
        layer += 3 * model.n_embd + 2 * model.n_head
    numbers = model.n_layer * layer + 2 * (1 + len(model.ngram_rows)) * model.n_embd + model.vocab_size
    if train.dropout:
        numbers += len(sites_of(model.n_layer)) * model.n_embd
    return Memory.of(model, train, numbers * train.batch_size * positions)
