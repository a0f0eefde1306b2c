"""How a training ends that was interrupted and has no folder: saved all the same, and with its samples."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import TYPE_CHECKING

from motegpt.cli.console import remark
from motegpt.errors import MotegptError
from motegpt.training.run_folder import RunFolder

if TYPE_CHECKING:
    from motegpt.cli.console import Report
    from motegpt.system.interrupts import Noted
    from motegpt.training.loop import Trainer
    from motegpt.training.records import StepRecord

PREFIX = "motegpt-"  # of the folder's name


def finish(trainer: Trainer, report: Report, records: Sequence[StepRecord], noted: Noted) -> None:
    """End a report. A run without a folder is saved if it was interrupted, and after Ctrl-C shows samples.

    records: those of the run. Another Ctrl-C ends the samples, and the report still says where the run is.
    """
    lost = bool(noted) and trainer.folder is None
    try:
        if lost:
            rescue(trainer, records)
        if lost and noted.first == signal.SIGINT and not trainer.ended:
            report.show_samples(trainer.sample_best())
    finally:
        report.end(bool(noted))


def rescue(trainer: Trainer, records: Sequence[StepRecord]) -> None:
    """Save a run into a fresh folder under the system's folder for temporary files."""
    import tempfile

    try:
        folder = RunFolder.create(tempfile.mkdtemp(prefix=PREFIX), trainer.config, trainer.tokenizer)
        folder.append_metrics(record.values() for record in records)
        trainer.save_copy(folder)
    except (OSError, MotegptError) as error:
        remark(f"the run could not be saved: {error}")
        return
    trainer.folder = folder
