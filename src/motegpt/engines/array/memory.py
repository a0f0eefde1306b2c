"""Memory of training on the array engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from motegpt.engines.cost import Memory
from motegpt.model.dropout import sites_of

if TYPE_CHECKING:
    from motegpt.config.sections import ModelConfig, TrainConfig


def training_memory(model: ModelConfig, train: TrainConfig, positions: float, ranks: int = 1) -> Memory:
    """See motegpt.engines. The tapes of model.py, per position, with masks of dropout, and the logits.

    A layer saves h and h_mlp, q, k and v, as many heads of each, z, p, and the MLP's hidden layer before and
    after the activation. At each position, at most one row of each table of the n-gram embedding is copied,
    with its gradient.
    """
    hidden = (3 if model.gated else 2) * model.mlp_size
    layer = 6 * model.n_embd + 2 * saved_by_norm(model) + model.n_head * positions + hidden
    if model.qk_norm:
        layer += 2 * model.n_embd + model.kv_size + model.n_head + model.kv_heads
    numbers = model.n_layer * layer + 2 * (1 + len(model.ngram_rows)) * model.n_embd + model.vocab_size
    if model.final_norm:
        numbers += saved_by_norm(model)
    if train.dropout:
        numbers += len(sites_of(model.n_layer)) * model.n_embd
    return Memory.of(model, train, numbers * train.batch_size * positions)


def saved_by_norm(model: ModelConfig) -> int:
    """Numbers per position that a norm saves beside its result, which the next product saves.

    They are r, and of RMSNorm x; of LayerNorm y, where it is not the result; where RMSNorm has a gain, y too.
    """
    match model.norm:
        case "rms":
            return 1 + model.n_embd * (1 + model.norm_gain)
        case "layer":
            return 1 + model.n_embd * (model.norm_gain or model.norm_bias)
        case "none":
            return 0
        case _:
            assert_never(model.norm)
