"""motegpt train"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing, suppress
from functools import partial
from typing import Any

import click

from motegpt.cli import console
from motegpt.cli.options import (
    Sectioned,
    given_settings,
    paths_given,
    preset_names,
    read_toml,
    setting_flags,
)
from motegpt.cli.processes import follow, lead
from motegpt.cli.rescue import finish
from motegpt.cli.streams import unread
from motegpt.config.epochs import laid_over
from motegpt.config.presets import DEFAULT_PRESET
from motegpt.engines import ENGINES, MANY_PROCESSES, PREFERRED, engine_class, why_unavailable
from motegpt.errors import INTERRUPTED, TrainingDiverged, UsageError
from motegpt.system import ranks
from motegpt.system.interrupts import Noted, finishing, heeded
from motegpt.training.begin import begin
from motegpt.training.loop import Trainer
from motegpt.training.records import StepRecord
from motegpt.training.remarks import validation_sampled


@click.command(cls=Sectioned, preset=DEFAULT_PRESET)
@click.argument("data", nargs=-1)
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
    data: tuple[str, ...],
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
    """Train a model on DATA: files or folders with one document per line, CSV, JSON, or one long text
    (--format), gzip or not; without it, on built-in names.

    Example: motegpt train names.txt --steps 2000 --out runs/names
    """
    if until is not None and until < 1:
        raise UsageError(f"until: expected a step of at least 1, got {until}")
    file = read_toml(config)
    in_file = file.pop("preset", None), file.pop("engine", None)
    preset, engine = preset or in_file[0], engine or in_file[1]
    given = laid_over(file, given_settings(flags))
    engine = _engine_for_all(engine)
    trainer, _, remarks = begin(
        paths_given(data),
        given,
        preset=preset,
        engine=engine,
        out=out,
        overwrite=overwrite,
        resumed=resumed,
        checkpoint=checkpoint,
    )
    if until is not None and until <= trainer.done:
        raise UsageError(
            f"until: {resumed} has done {trainer.done} steps already; expected a later step, got {until}"
        )
    if engine is None and resumed is None:
        _say_fallback(trainer.engine.name)
    _remark([*remarks, validation_sampled(trainer)])
    return lead(trainer, partial(_train, trainer, until, as_json)) if ranks.rank() == 0 else follow(trainer)


def _engine_for_all(engine: str | None) -> str | None:
    """The engine that was asked for; where torchrun started several processes, one that all can share."""
    if ranks.world_size() == 1:
        return engine
    engine = MANY_PROCESSES if engine is None else engine
    reason = engine_class(engine).why_not(processes=ranks.world_size())
    if reason is not None:
        raise UsageError(reason)
    return engine


def _remark(texts: Iterable[str | None]) -> None:
    """Say it once, however many processes train."""
    for text in filter(None, texts if ranks.rank() == 0 else ()):
        console.remark(text)


def _say_fallback(engine: str) -> None:
    """Tell of an engine that nobody asked for and that is not the usual one."""
    if engine != PREFERRED:
        _remark([f"using the {engine} engine: {why_unavailable(PREFERRED)}"])


def _train(trainer: Trainer, until: int | None, as_json: bool) -> int:
    """Run it with a report; returns the exit code."""
    report, records = console.report_for(trainer, as_json), list[StepRecord]()
    noted = Noted(heeded(), _say_finishing)
    try:
        with unread():
            report.begin()
        with report, closing(finishing(trainer.run(until, noted.__bool__), noted)) as chunks:
            for chunk in chunks:
                records += chunk.records if trainer.folder is None else ()
                with unread():
                    report.show(chunk)
    except KeyboardInterrupt as interrupt:
        if noted.is_torn:
            raise
        noted.note(*interrupt.args)  # it came between two chunks
    with unread():
        finish(trainer, report, records, noted)
    why = trainer.divergence_message()
    if why is not None:
        raise TrainingDiverged(why)
    return INTERRUPTED if noted else 0


def _say_finishing() -> None:
    """Said from within a signal handler, where nothing may be raised."""
    with suppress(OSError, RuntimeError):  # RuntimeError: standard error is being written to
        console.remark("finishing this step; once more stops at once")
