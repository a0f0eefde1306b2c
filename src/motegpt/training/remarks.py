"""One-line remarks for the user before a run starts or resumes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from motegpt.config.needs import needing
from motegpt.model.schedule import learning_rate

if TYPE_CHECKING:
    from motegpt.config.sections import TrainConfig
    from motegpt.data.cut import Cut
    from motegpt.training.loop import Trainer
    from motegpt.training.state import RunConfig

RISE = 2.0  # smaller relative increases of the learning rate on resuming are not reported


def remarks_on(trainer: Trainer, before: RunConfig | None = None) -> list[str]:
    """All remarks on a run; those on its data only when it starts. before: the settings of a resumed run."""
    after = trainer.config
    remarks = [documents_cut(trainer), documents_identical(trainer), no_contexts(after)]
    if before is not None:
        remarks = [
            engine_changed(before, after),
            learning_rate_rises(before.train, after.train, trainer.done),
        ]
    remarks += [warmup_too_long(after.train), without_validation(trainer)]
    return [remark for remark in remarks if remark is not None]


def engine_changed(before: RunConfig, after: RunConfig) -> str | None:
    """The engine, its precision or its instruction set differs from the previous one."""
    levels = (before.level, after.level)
    differ = None not in levels and len(set(levels)) > 1
    was, now = (
        f"the {config.engine} engine in {config.train.dtype}" + f" at level {config.level}" * differ
        for config in (before, after)
    )
    return None if was == now else f"resuming with {now}, after {was}: results will differ in the last digits"


def documents_cut(trainer: Trainer) -> str | None:
    """Some documents are truncated to the block."""
    return remark_on_cut(trainer.cut, is_fine_tuned=trainer.config.base is not None)


def remark_on_cut(cut: Cut | None, is_fine_tuned: bool = False) -> str | None:
    """The same of a Cut, if there is one."""
    if cut is None or not cut.documents:
        return None
    are_cut = "document is truncated" if cut.documents == 1 else "documents are truncated"
    most = f"`block_size={cut.advised}` keeps all but {cut.advised_documents:,}, and "
    most = most if cut.block_size < cut.advised < cut.fitting else ""
    repair = f"{most}`block_size={cut.fitting}` keeps all"
    if is_fine_tuned:
        repair = f"fine-tuning keeps it, and a new model with `block_size={cut.fitting}` keeps all"
    return f"{cut.documents:,} {are_cut} at block_size {cut.block_size}; {repair}"


def documents_identical(trainer: Trainer) -> str | None:
    """All documents are the same."""
    if not trainer.identical:
        return None
    return "all documents are identical, so the model can only repeat one; provide different documents"


def no_contexts(config: RunConfig) -> str | None:
    """The n-gram embedding has no tables."""
    if config.model.ngram_orders is None or config.model.ngram_rows or config.base is not None:
        return None
    return (
        f"no two adjacent tokens occur {config.data.ngram_min_count} times in the training data, so the "
        "n-gram embedding is empty; try a smaller `ngram_min_count`"
    )


def warmup_too_long(train: TrainConfig) -> str | None:
    """The warm-up is longer than the run."""
    if train.warmup_steps < train.steps:
        return None
    return (
        f"the learning rate only reaches {learning_rate(train, train.steps - 1):g} of {train.lr:g}, as "
        f"warmup_steps is {train.warmup_steps:,} and the run has {train.steps:,} steps; try "
        f"`warmup_steps={train.steps // 10}`"
    )


def learning_rate_rises(before: TrainConfig, after: TrainConfig, done: int) -> str | None:
    """New settings raise the learning rate of a run resumed after `done` steps."""
    if done == 0:
        return None
    last, following = learning_rate(before, done - 1), learning_rate(after, done)
    if following <= RISE * last:
        return None
    lr = 0.0 if after.lr_min else after.lr * last / following
    repair = f"`lr={lr:.3g}` continues at the previous rate" if lr else "try a smaller `lr`"
    return (
        f"with these settings the learning rate rises from {last:.3g} at step {done:,} to {following:.3g} at "
        f"step {done + 1:,}; {repair}"
    )


def validation_sampled(trainer: Trainer) -> str | None:
    """Evaluations during training use a sample of the validation set."""
    validation = trainer.validation
    if validation is None or not validation.is_sampled:
        return None
    data = validation.data
    return (
        f"validation: evaluations use the same {data.sampled_targets:,} of {data.targets:,} "
        "held-out tokens; the best model is evaluated on all of them at the end"
    )


def without_validation(trainer: Trainer) -> str | None:
    """Evaluations and early stopping need a validation set."""
    names = [name for name in needing("validation") if getattr(trainer.config.train, name) is not None]
    if trainer.validation is not None or not names:
        return None
    have = "has" if len(names) == 1 else "have"
    return f"{' and '.join(names)} {have} no effect without a validation set; try `val_fraction=0.1`"
