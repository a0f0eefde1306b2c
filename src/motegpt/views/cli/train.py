"""motegpt train"""

from __future__ import annotations

import shlex
from contextlib import closing, suppress
from functools import partial
from typing import Any

import click

from motegpt import ranks
from motegpt.checkpoint import RunFolder
from motegpt.config import DataConfig, section_values
from motegpt.documents import read_corpus
from motegpt.engines import (
    ENGINES,
    MANY_PROCESSES,
    PREFERRED,
    check_settings,
    default_engine,
    why_unavailable,
)
from motegpt.errors import INTERRUPTED, UsageError
from motegpt.interrupts import Noted, finishing, heeded
from motegpt.presets import DEFAULT_PRESET
from motegpt.source import corpus_of_run
from motegpt.state import RunConfig
from motegpt.train import Trainer, fitting_dtype, prepare, resume
from motegpt.views import console
from motegpt.views.cli.options import (
    Sectioned,
    given_settings,
    merge,
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
    if "" in (data, out, resumed, config):
        raise UsageError("train: expected a name for DATA, --out, --resume and --config, got an empty one")
    if until is not None and until < 1:
        raise UsageError(f"until: expected a step of at least 1, got {until}")
    file = read_toml(config)
    in_file = file.pop("preset", None), file.pop("engine", None)
    preset, engine = preset or in_file[0], engine or in_file[1]
    given = {**file, **given_settings(flags)}
    if checkpoint is not None and resumed is None:
        raise UsageError("checkpoint: expected the run to go back in, --resume RUN, got none")
    engine = _engine_for_all(engine)
    if resumed is None:
        trainer = _start(data, preset or DEFAULT_PRESET, engine or default_engine(), given, out, overwrite)
    elif out or overwrite or preset:
        raise UsageError(
            "resume: a run goes on in its own folder with its own preset; leave out --out and --preset"
        )
    else:
        trainer = _continue(resumed, data, given, engine, until, checkpoint)
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


def _start(
    data: str | None, preset: str, engine: str, given: dict[str, Any], out: str | None, overwrite: bool
) -> Trainer:
    """A fresh run; everything is checked before anything is written."""
    settings = fitting_dtype(engine, merge(preset, given), asked="dtype" in given)
    check_settings(engine, given)
    if out is not None:
        RunFolder(out).check_free(overwrite)
    corpus = read_corpus(data, DataConfig.of(section_values(settings, "data")))
    trainer = prepare(corpus, settings, engine)
    if out is not None and ranks.rank() == 0:
        trainer.folder = RunFolder.create(out, trainer.config, trainer.tokenizer, overwrite)
    return trainer


def _say_fallback(engine: str) -> None:
    """Tell of an engine that nobody asked for and that is not the usual one."""
    if engine != PREFERRED:
        console.remark(f"using the {engine} engine: {why_unavailable(PREFERRED)}")


def _say_changes(before: RunConfig, after: RunConfig) -> None:
    """Tell of an engine or a precision that is not the one the run has had."""
    was, now = (f"the {config.engine} engine in {config.train.dtype}" for config in (before, after))
    if was != now:
        console.remark(f"going on with {now}, after {was}: last digits will differ")


def _continue(
    run: str,
    data: str | None,
    given: dict[str, Any],
    engine: str | None,
    until: int | None,
    checkpoint: int | None,
) -> Trainer:
    """A saved run, its metrics cut back to its last checkpoint."""
    folder = RunFolder(run)
    config = folder.config()
    check_settings(engine or config.engine, given)
    if engine is not None:
        fitted = fitting_dtype(engine, config.train.values(), asked="dtype" in given)
        given = {"dtype": fitted["dtype"], **given}
    corpus = corpus_of_run(config, data, f"give it as DATA: motegpt train DATA --resume {shlex.quote(run)}")
    trainer = resume(folder, corpus, given, engine, checkpoint)
    _say_changes(config, trainer.config)
    if trainer.done >= trainer.config.train.steps:
        raise UsageError(
            f"resume: {run} has done all of its {trainer.done} steps; a larger --steps makes it go on"
        )
    if trainer.ended:
        raise UsageError(
            f"resume: {run} stopped early after step {trainer.done}, its patience exhausted; a larger "
            "--patience makes it go on"
        )
    if until is not None and until <= trainer.done:
        raise UsageError(
            f"until: {run} has done {trainer.done} steps already; expected a later step, got {until}"
        )
    return trainer


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
