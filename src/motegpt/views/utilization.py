"""The share of a device's peak speed that training reaches."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from motegpt.training.loop import Trainer


def utilization(trainer: Trainer, tokens_per_second: float) -> float | None:
    """Model FLOPs utilization (Chowdhery et al., 2022, appendix B): operations per second of the model's
    products over Engine.peak, measured where they divide by the data sheet; None if the peak is not known.
    """
    from motegpt.engines.cost import operations_per_token

    peak = trainer.engine.peak()
    if peak is None:
        return None
    train = trainer.config.train
    positions = trainer.plan.tokens(0, train.steps) / (train.steps * train.batch_size)  # of a sequence
    needed = tokens_per_second * operations_per_token(trainer.config.model, positions)
    return needed / peak


def speed_line(trainer: Trainer, tokens_per_second: float) -> str | None:
    """12,345 tokens/s, 41.2 % model FLOPs utilization; None if that is not known."""
    share = utilization(trainer, tokens_per_second)
    if share is None:
        return None
    return f"{tokens_per_second:,.0f} tokens/s, {share:.1%} model FLOPs utilization"
