"""Model FLOPs utilization of a training."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from motegpt.training.loop import Trainer


def utilization(trainer: Trainer, tokens_per_second: float) -> float | None:
    """Operations per second of the model's products over the peak; None if the peak is not known.

    Chowdhery et al., 2022, appendix B, with Engine.peak, which is measured, in place of the data sheet.
    """
    from motegpt.engines.cost import operations_per_token

    peak = trainer.engine.peak()
    if peak is None:
        return None
    train = trainer.config.train
    positions = trainer.plan.tokens(0, train.steps) / (train.steps * train.batch_size)  # per sequence
    operations = tokens_per_second * operations_per_token(trainer.config.model, positions)
    return operations / peak


def speed_line(trainer: Trainer, tokens_per_second: float) -> str | None:
    """12,345 tokens/s, 41.2% model FLOPs utilization; None if the peak is not known."""
    share = utilization(trainer, tokens_per_second)
    if share is None:
        return None
    return f"{tokens_per_second:,.0f} tokens/s, {share:.1%} model FLOPs utilization"
