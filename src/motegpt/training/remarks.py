"""What a user should know of a training before it begins or goes on, a line each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from motegpt.model.schedule import learning_rate

if TYPE_CHECKING:
    from motegpt.config.sections import TrainConfig
    from motegpt.training.loop import Trainer
    from motegpt.training.state import RunConfig

RISE = 2.0  # a learning rate that resuming raises by no more than this is not worth a remark


def remarks_on(trainer: Trainer, before: RunConfig | None = None) -> list[str]:
    """All there is to remark on a training; of its data when it begins, as they stay the same.

    before: what a run that goes on was until now.
    """
    after = trainer.config
    first = [documents_cut(trainer), documents_identical(trainer)]
    if before is not None:
        first = [engine_changed(before, after), learning_rate_rises(before.train, after.train, trainer.done)]
    rest = [warmup_too_long(after.train), patience_without_validation(trainer)]
    return [remark for remark in [*first, *rest] if remark is not None]


def engine_changed(before: RunConfig, after: RunConfig) -> str | None:
    """That a run goes on with an engine or a precision that it has not had."""
    was, now = (f"the {config.engine} engine in {config.train.dtype}" for config in (before, after))
    return None if was == now else f"going on with {now}, after {was}: last digits will differ"


def documents_cut(trainer: Trainer) -> str | None:
    """That the model never sees the end of some documents."""
    cut = trainer.cut
    if cut is None or not cut.documents:
        return None
    lose = "document loses its end" if cut.documents == 1 else "documents lose their ends"
    some = f"`block_size={cut.advised}` keeps all but {cut.advised_documents:,}, and "
    some = some if cut.block_size < cut.advised < cut.fitting else ""
    whole = f"`block_size={cut.fitting}` keeps all"
    return f"{cut.documents:,} {lose} at block_size {cut.block_size}; {some}{whole}"


def documents_identical(trainer: Trainer) -> str | None:
    """That there is one text to repeat."""
    if not trainer.identical:
        return None
    return "all documents are the same, so the model can only learn to repeat it; give it different ones"


def warmup_too_long(train: TrainConfig) -> str | None:
    """That the learning rate is still rising at the end."""
    if train.warmup_steps < train.steps:
        return None
    return (
        f"warm-up is all there is: the learning rate ends at {learning_rate(train, train.steps - 1):g} of "
        f"{train.lr:g}, as warmup_steps is {train.warmup_steps:,} of {train.steps:,} steps; try "
        f"`warmup_steps={train.steps // 10}`"
    )


def learning_rate_rises(before: TrainConfig, after: TrainConfig, done: int) -> str | None:
    """That other settings, with which a run goes on after `done` steps, raise its learning rate."""
    if done == 0:
        return None
    last, following = learning_rate(before, done - 1), learning_rate(after, done)
    if following <= RISE * last:
        return None
    lr = 0.0 if after.lr_min else after.lr * last / following
    repair = f"`lr={lr:.3g}` would go on from there" if lr else "a smaller `lr` would soften it"
    return (
        f"with these settings the learning rate rises from {last:.3g} at step {done:,} to {following:.3g} at "
        f"step {done + 1:,}; {repair}"
    )


def validation_sampled(trainer: Trainer) -> str | None:
    """That evaluations on the way look at a part of the held-out data."""
    validation = trainer.validation
    if validation is None or not validation.is_sampled:
        return None
    return (
        f"validation: evaluations use the same {validation.sampled_targets:,} of {validation.targets:,} "
        "held-out tokens; the best model is evaluated on all of them at the end"
    )


def patience_without_validation(trainer: Trainer) -> str | None:
    """That early stopping has no loss to go by."""
    if trainer.validation is not None or trainer.config.train.patience is None:
        return None
    return "patience has nothing to go by: hold data out with `val_fraction=0.1`"
