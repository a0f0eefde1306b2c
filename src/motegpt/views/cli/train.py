"""motegpt train"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import click

from motegpt import ranks
from motegpt.checkpoint import RunFolder
from motegpt.documents import IN_MEMORY, read_corpus
from motegpt.engines import (
    ENGINES,
    MANY_PROCESSES,
    PREFERRED,
    check_settings,
    default_engine,
    why_unavailable,
)
from motegpt.errors import UsageError
from motegpt.parameters import parameter_count
from motegpt.presets import DEFAULT_PRESET
from motegpt.train import Trainer, fitting_dtype, prepare, resume
from motegpt.views import console
from motegpt.views.cli.options import given_settings, merge, preset_names, read_toml, setting_flags
from motegpt.views.cli.processes import follow, lead


@click.command()
@click.argument("data", required=False)
@click.option("--preset", type=click.Choice(preset_names()), help=f"Reference system.  [{DEFAULT_PRESET}]")
@click.option("--engine", type=click.Choice(list(ENGINES)), help=f"What computes.  [{PREFERRED}]")
@click.option("--config", metavar="FILE.toml", help="Settings from a file; flags win over it.")
@click.option("--out", metavar="RUN", help="Folder to write the run to.")
@click.option("--overwrite", is_flag=True, help="Let --out replace a run.")
@click.option("--resume", "resumed", metavar="RUN", help="Go on with a run where it was left.")
@click.option("--until", type=int, metavar="STEP", help="Stop after this step, saved, to be resumed.")
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
    **flags: Any,
) -> int:
    """Train a model on DATA, a UTF-8 text file with one document a line; without it, on built-in names.

    Example: motegpt train names.txt --steps 2000 --out runs/names
    """
    if "" in (data, out, resumed, config):
        raise UsageError("train: expected a name for DATA, --out, --resume and --config, got an empty one")
    if until is not None and until < 1:
        raise UsageError(f"until: expected a step of at least 1, got {until}")
    file = read_toml(config)
    preset, engine = preset or file.pop("preset", None), engine or file.pop("engine", None)
    given = {**file, **given_settings(flags)}
    engine = _engine_for_all(engine)
    if resumed is None:
        trainer = _start(data, preset or DEFAULT_PRESET, engine or default_engine(), given, out, overwrite)
    elif out or overwrite or preset:
        raise UsageError(
            "resume: a run goes on in its own folder with its own preset; leave out --out and --preset"
        )
    else:
        trainer = _continue(resumed, data, given, engine, until)
    if engine is None and resumed is None:
        _say_fallback(trainer.engine.name)
    return lead(trainer, partial(_train, trainer, until)) if ranks.rank() == 0 else follow(trainer)


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
    trainer = prepare(read_corpus(data, bool(settings.get("deduplicate"))), settings, engine)
    if out is not None and ranks.rank() == 0:
        trainer.folder = RunFolder.create(out, trainer.config, trainer.tokenizer, overwrite)
    return trainer


def _say_fallback(engine: str) -> None:
    """Tell of an engine that nobody asked for and that is not the usual one."""
    if engine != PREFERRED:
        click.echo(f"using the {engine} engine: {why_unavailable(PREFERRED)}", err=True)


def _continue(
    run: str, data: str | None, given: dict[str, Any], engine: str | None, until: int | None
) -> Trainer:
    """A saved run, its metrics cut back to its last checkpoint."""
    folder = RunFolder(run)
    config = folder.config()
    check_settings(engine or config.engine, given)
    if engine is not None:
        fitted = fitting_dtype(engine, config.train.values(), asked="dtype" in given)
        given = {"dtype": fitted["dtype"], **given}
    if data is None and config.source.kind == IN_MEMORY:
        raise UsageError(f"resume: {run} was trained on documents in memory; give them as a file, as DATA")
    if data is None and config.source.path is not None and not Path(config.source.path).exists():
        raise UsageError(
            f"resume: {config.source.path} is gone; say where the data are: motegpt train DATA --resume {run}"
        )
    corpus = read_corpus(data or config.source.path, config.data.deduplicate)
    trainer = resume(folder, corpus, given, engine)
    if trainer.done >= trainer.config.train.steps:
        raise UsageError(
            f"resume: {run} has done all of its {trainer.done} steps; a larger --steps makes it go on"
        )
    if until is not None and until <= trainer.done:
        raise UsageError(
            f"until: {run} has done {trainer.done} steps already; expected a later step, got {until}"
        )
    if ranks.rank() == 0:
        folder.cut_metrics(trainer.done)
    return trainer


def _train(trainer: Trainer, until: int | None) -> int:
    """Run it with a report; returns the exit code."""
    console.begin(trainer, parameter_count(trainer.config.model))
    if trainer.done:
        click.echo(f"resumed after step {trainer.done}")
    with (
        _interrupt_flag() as interrupted,
        console.report_for(trainer, is_terminal()) as report,
        closing(trainer.run(until, interrupted=lambda: bool(interrupted))) as chunks,
    ):
        for chunk in chunks:
            report.show(chunk)
    if trainer.folder is not None:
        click.echo(f"saved {trainer.folder.path} after step {trainer.done}", err=True)
    if not interrupted:
        return 0
    how = (
        f"motegpt train --resume {trainer.folder.path}" if trainer.folder else "--out RUN would have saved it"
    )
    click.echo(f"interrupted after step {trainer.done}; {how}", err=True)
    return 130


def is_terminal() -> bool:
    """Whether standard output is one; it may be closed altogether."""
    return sys.stdout is not None and sys.stdout.isatty()


@contextmanager
def _interrupt_flag() -> Iterator[list[int]]:
    """A list that Ctrl-C or a request to end fills instead of raising; a second one raises."""
    seen: list[int] = []

    def handler(number: int, frame: FrameType | None) -> None:
        if seen:
            raise KeyboardInterrupt
        seen.append(number)
        click.echo("finishing this step; once more stops at once", err=True)

    signals = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    previous = [signal.signal(number, handler) for number in signals]
    try:
        yield seen
    finally:
        for number, old in zip(signals, previous, strict=True):
            signal.signal(number, old)
