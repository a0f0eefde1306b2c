"""motegpt train"""

from __future__ import annotations

from contextlib import closing, suppress
from functools import partial
from typing import Any

import click

from motegpt import ranks
from motegpt.begin import begin
from motegpt.checkpoint import RunFolder
from motegpt.engines import ENGINES, MANY_PROCESSES, PREFERRED, why_unavailable
from motegpt.errors import INTERRUPTED, UsageError
from motegpt.interrupts import Noted, finishing, heeded
from motegpt.presets import DEFAULT_PRESET
from motegpt.state import RunConfig
from motegpt.train import Trainer
from motegpt.views import console
from motegpt.views.cli.options import (
    Sectioned,
    given_settings,
    preset_names,
    read_toml,
    setting_flags,
)
from motegpt.views.cli.processes import follow, lead
from motegpt.views.streams import unread


@click.command(cls=Sectioned, preset=DEFAULT_PRESET)
@click.argument("data", required=False)
@click.option("--preset", type=click.Choice(preset_names()), help=f"Reference system.  [{DEFAULT_PRESET}]")
@click.option("--engine", type=click.Choice(list(ENGINES)), help=f"What computes.  [{PREFERRED}]")
@click.option("--config", metavar="FILE.toml", help="Settings from a file; flags win over it.")
@click.option("--out", metavar="RUN", help="Folder to write the run to.")
@click.option("--overwrite", is_flag=True, help="Let --out replace a run.")
@click.option("--resume", "resumed", metavar="RUN", help="Go on with a run where it was left.")
@click.option("--until", type=int, metavar="STEP", help="Stop after this step, saved, to be resumed.")
@click.option("--checkpoint", type=int, metavar="STEP", help="With --resume: go back to this kept one.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@setting_flags(["model", "data", "train", "sample"])
def command(
    data: str | None,
    preset: str | None,
    engine: str | None,
    config: str | None,
    out: str | None,
    overwrite: bool,
    resumed: str | None,
    until: int | None,
    checkpoint: int | None,
    as_json: bool,
    **flags: Any,
) -> int:
    """Train a model on DATA: a UTF-8 file with one document a line, CSV, JSONL, or one long text (--format),
    gzip or not; without it, on built-in names.

    Example: motegpt train names.txt --steps 2000 --out runs/names
    """
    if until is not None and until < 1:
        raise UsageError(f"until: expected a step of at least 1, got {until}")
    file = read_toml(config)
    in_file = file.pop("preset", None), file.pop("engine", None)
    preset, engine = preset or in_file[0], engine or in_file[1]
    given = {**file, **given_settings(flags)}
    engine = _engine_for_all(engine)
    trainer, _ = begin(
        data,
        given,
        preset=preset,
        engine=engine,
        out=out,
        overwrite=overwrite,
        resumed=resumed,
        checkpoint=checkpoint,
    )
    if resumed is not None:
        _say_changes(RunFolder(resumed).config(), trainer.config)
    if until is not None and until <= trainer.done:
        raise UsageError(
            f"until: {resumed} has done {trainer.done} steps already; expected a later step, got {until}"
        )
    if engine is None and resumed is None:
        _say_fallback(trainer.engine.name)
    if trainer.validation is None and trainer.config.train.patience is not None and ranks.rank() == 0:
        console.remark("patience has nothing to go by: hold data out with --val-fraction 0.1")
    return lead(trainer, partial(_train, trainer, until, as_json)) if ranks.rank() == 0 else follow(trainer)


def _engine_for_all(engine: str | None) -> str | None:
    """The engine that was asked for; where torchrun started several processes, one that all can share."""
    if ranks.world_size() == 1:
        return engine
    if engine not in (None, MANY_PROCESSES):
        raise UsageError(
            f"engine: torchrun started {ranks.world_size()} processes, but the {engine} engine trains in "
            f"one; try --engine {MANY_PROCESSES}"
        )
    return MANY_PROCESSES


def _say_fallback(engine: str) -> None:
    """Tell of an engine that nobody asked for and that is not the usual one."""
    if engine != PREFERRED:
        console.remark(f"using the {engine} engine: {why_unavailable(PREFERRED)}")


def _say_changes(before: RunConfig, after: RunConfig) -> None:
    """Tell of an engine or a precision that is not the one the run has had."""
    was, now = (f"the {config.engine} engine in {config.train.dtype}" for config in (before, after))
    if was != now:
        console.remark(f"going on with {now}, after {was}: last digits will differ")


def _train(trainer: Trainer, until: int | None, as_json: bool) -> int:
    """Run it with a report; returns the exit code."""
    report = console.report_for(trainer, as_json)
    noted = Noted(heeded(), _say_finishing)
    try:
        with unread():
            report.begin()
        with report, closing(finishing(trainer.run(until, noted.__bool__), noted)) as chunks:
            for chunk in chunks:
                with unread():
                    report.show(chunk)
    except KeyboardInterrupt:
        if noted.is_torn:
            raise
        noted.note()  # it came between two chunks
    with unread():
        report.end(bool(noted))
    return INTERRUPTED if noted else 0


def _say_finishing() -> None:
    """Said from within a signal handler, where nothing may be raised."""
    with suppress(OSError, RuntimeError):  # RuntimeError: standard error is being written to
        console.remark("finishing this step; once more stops at once")
