"""What a user should know of a training before it begins, a line each."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from motegpt.train import Trainer


def remarks_on(trainer: Trainer) -> list[str]:
    """All there is to remark on a training that is about to begin or to go on."""
    return [remark for remark in (on_sample(trainer), on_patience(trainer)) if remark is not None]


def on_sample(trainer: Trainer) -> str | None:
    """That evaluations on the way look at a part of the held-out data."""
    validation = trainer.validation
    if validation is None or not validation.is_sampled:
        return None
    return (
        f"validation: evaluations use the same {validation.sampled_targets:,} of {validation.targets:,} "
        "held-out tokens; the best model is evaluated on all of them at the end"
    )


def on_patience(trainer: Trainer) -> str | None:
    """That early stopping has no loss to go by."""
    if trainer.validation is not None or trainer.config.train.patience is None:
        return None
    return "patience has nothing to go by: hold data out with `val_fraction=0.1`"
