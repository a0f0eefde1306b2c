"""How a training ends that was interrupted and has no folder: saved all the same, and with its samples."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from motegpt.checkpoint import RunFolder
from motegpt.errors import MotegptError
from motegpt.views.console import remark

if TYPE_CHECKING:
    from motegpt.train import StepRecord, Trainer
    from motegpt.views.console import Report

PREFIX = "motegpt-"  # of the folder's name


def finish(
    trainer: Trainer, report: Report, records: Sequence[StepRecord], interrupted: Sequence[int]
) -> None:
    """End a report. A run without a folder is saved if it was interrupted, and after Ctrl-C shows samples.

    records: those of the run; interrupted: the signals it got, if any. Another Ctrl-C ends the samples, and
    the report still says where the run is.
    """
    lost = bool(interrupted) and trainer.folder is None
    try:
        if lost:
            rescue(trainer, records)
        if lost and interrupted[0] == signal.SIGINT and not trainer.ended:
            with _ctrl_c_raises():
                report.show_samples(trainer.samples_of_best())
    finally:
        report.end(bool(interrupted))


@contextmanager
def _ctrl_c_raises() -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt, also in a process that was started to ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def rescue(trainer: Trainer, records: Sequence[StepRecord]) -> None:
    """Save a run into a fresh folder under the system's folder for temporary files."""
    import tempfile

    try:
        folder = RunFolder.create(tempfile.mkdtemp(prefix=PREFIX), trainer.config, trainer.tokenizer)
        folder.append_metrics(record.values() for record in records)
        trainer.save_to(folder)
    except (OSError, MotegptError) as error:
        remark(f"the run could not be saved: {error}")
        return
    trainer.folder = folder
