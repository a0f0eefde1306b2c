"""motegpt train"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from functools import partial
from typing import Any

import click

from motegpt.cli import console
from motegpt.cli.options import (
    RUN,
    Sectioned,
    check_data_given,
    config_option,
    data_argument,
    engine_option,
    json_option,
    overwrite_option,
    paths_given,
    preset_option,
    setting_flags,
    settings_and_choices,
)
from motegpt.cli.processes import follow, lead
from motegpt.cli.streams import discard_if_closed
from motegpt.config.needs import check_needs
from motegpt.config.presets import AUTO
from motegpt.engines import MULTI_PROCESS, PREFERRED, engine_class, why_unavailable
from motegpt.errors import INTERRUPTED, MotegptError, TrainingDiverged, UsageError
from motegpt.system import ranks
from motegpt.system.interrupts import DeferredSignals, deferring, handled_signals
from motegpt.training.begin import begin
from motegpt.training.loop import Trainer
from motegpt.training.records import StepRecord
from motegpt.training.remarks import validation_sampled
from motegpt.training.run_folder import RunFolder

FIRST_SECONDS, SLOWER = 1.0, 1.5
FOLDER_PREFIX = "motegpt-"  # of the temporary folder of an interrupted run


@click.command(cls=Sectioned, preset=AUTO)
@data_argument
@preset_option(AUTO, AUTO)
@engine_option(PREFERRED)
@config_option
@click.option("--out", type=RUN, metavar="RUN", help="Run folder to write.")
@overwrite_option
@click.option("--resume", "resumed", type=RUN, metavar="RUN", help="Run folder to continue.")
@click.option("--from", "base", type=RUN, metavar="RUN", help="Run folder of a model to fine-tune on DATA.")
@click.option(
    "--extend-vocabulary", is_flag=True, help="With --from: append characters that the model does not know."
)
@click.option("--until", type=int, metavar="STEP", help="Save and stop after this step.")
@click.option("--checkpoint", type=int, metavar="STEP", help="With --resume or --from: step to start from.")
@json_option
@setting_flags(["model", "data", "train", "sample"])
def command(
    data: tuple[str, ...],
    preset: str | None,
    engine: str | None,
    config: str | None,
    out: str | None,
    overwrite: bool,
    resumed: str | None,
    base: str | None,
    extend_vocabulary: bool,
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
    if resumed is None:
        check_data_given(data, config)
    given, preset, engine = settings_and_choices(config, flags, preset, engine)
    if not (as_json or out or resumed):
        check_needs(given, {"records": "set `out`, or `json` to print them"})
    engine = _engine_for_all(engine)
    trainer, _, remarks, choices = begin(
        paths_given(data),
        given,
        preset=preset,
        engine=engine,
        out=out,
        overwrite=overwrite,
        resumed=resumed,
        checkpoint=checkpoint,
        base=base,
        extend_vocabulary=extend_vocabulary,
    )
    if until is not None and until <= trainer.done:
        raise UsageError(
            f"until: expected a step after {trainer.done}, the last step of {resumed}, got {until}"
        )
    if engine is None and resumed is None and base is None:
        _log_fallback(trainer.engine.name)
    _log_once([*remarks, *choices, validation_sampled(trainer)])
    return lead(trainer, partial(_train, trainer, until, as_json)) if ranks.rank() == 0 else follow(trainer)


def _engine_for_all(engine: str | None) -> str | None:
    """The requested engine; under torchrun with several processes, an engine that supports them."""
    if ranks.world_size() == 1:
        return engine
    engine = MULTI_PROCESS if engine is None else engine
    reason = engine_class(engine).why_not(processes=ranks.world_size())
    if reason is not None:
        raise UsageError(reason)
    return engine


def _log_once(texts: Iterable[str | None]) -> None:
    """Log each text on rank 0 only."""
    for text in filter(None, texts if ranks.rank() == 0 else ()):
        console.log(text)


def _log_fallback(engine: str) -> None:
    """Log why the preferred engine is not used."""
    if engine != PREFERRED:
        _log_once([f"using the {engine} engine: {why_unavailable(PREFERRED)}"])


def _train(trainer: Trainer, until: int | None, as_json: bool) -> int:
    """Train and report; returns the exit code."""
    report, records = console.report_for(trainer, as_json), list[StepRecord]()
    pace = Pace(trainer)
    signals = DeferredSignals(handled_signals(), _log_finishing)
    try:
        with discard_if_closed():
            report.begin()
        with report, closing(deferring(trainer.run(until, signals.__bool__), signals)) as chunks:
            for chunk in chunks:
                records += chunk.records if trainer.folder is None else ()
                pace.check(chunk.done)
                with discard_if_closed():
                    report.show(chunk)
    except KeyboardInterrupt as interrupt:
        if signals.is_torn:
            raise
        signals.note(*interrupt.args)  # raised between two chunks
    with discard_if_closed():
        _finish(trainer, report, records, signals)
    why = trainer.divergence_message()
    if why is not None:
        raise TrainingDiverged(why)
    return INTERRUPTED if signals else 0


class Pace:
    """Says once, after the first second, how long a run will take if that is much more than its budget."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer, self._budget = trainer, trainer.budget
        self._first: tuple[int, float] | None = None  # a step, and the time when it ended

    def check(self, done: int) -> None:
        """Look at the clock after step `done`. The first steps, which prepare, are not timed."""
        now = time.monotonic()
        if self._first is None:
            self._first = done, now
        first, begin = self._first
        if self._budget is None or done == first or now - begin < FIRST_SECONDS:
            return
        from motegpt.training.auto import trainings

        config = self._trainer.config
        steps = (config.train.steps - first) * trainings(config.check)
        needed = (now - begin) / (done - first) * steps
        if needed > SLOWER * self._budget:
            console.log(
                f"about {needed:,.0f} s on this machine, for a budget of {self._budget:g} s; "
                "Ctrl-C ends early and keeps the model"
            )
        self._budget = None


def _log_finishing() -> None:
    """Log from a signal handler, which must not raise."""
    with suppress(OSError, RuntimeError):  # RuntimeError: standard error is being written to
        console.log("finishing this step; interrupt again to stop at once")


def _finish(
    trainer: Trainer, report: console.Report, records: Sequence[StepRecord], signals: DeferredSignals
) -> None:
    """End a report. An interrupted run without a folder is saved and, after Ctrl-C, prints samples.

    records: all of the run. Another Ctrl-C ends the samples; the report still prints where the run is saved.
    """
    unsaved = bool(signals) and trainer.folder is None
    try:
        if unsaved:
            _save_to_new_folder(trainer, records)
        if unsaved and signals.first == signal.SIGINT and not trainer.ended:
            report.show_samples(trainer.sample_best())
        if signals.first == signal.SIGINT and not trainer.ended and trainer.measure is not None:
            trainer.report = trainer.measure(trainer, signals.__bool__)
    finally:
        report.end(bool(signals))


def _save_to_new_folder(trainer: Trainer, records: Sequence[StepRecord]) -> None:
    """Save a run to a new temporary folder."""
    import tempfile

    try:
        folder = RunFolder.create(tempfile.mkdtemp(prefix=FOLDER_PREFIX), trainer.config, trainer.tokenizer)
        folder.append_metrics(record.values() for record in records)
        trainer.save_copy(folder)
    except (OSError, MotegptError) as error:
        console.log(f"the run could not be saved: {error}")
        return
    trainer.folder = folder
