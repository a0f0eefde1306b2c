"""Callbacks that write the records of a training for other programs; docs/watching.md shows more."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterable
from dataclasses import fields
from importlib import import_module
from typing import TYPE_CHECKING, Any

from motegpt.config.arguments import flag, path_of
from motegpt.errors import LibraryUnavailable, MotegptError, UsageError
from motegpt.system.files import replace_file
from motegpt.system.libraries import imports_for
from motegpt.training.records import StepRecord

if TYPE_CHECKING:
    from pathlib import Path

    from motegpt.training.begin import AnyPath

COLUMNS = [one.name for one in fields(StepRecord) if one.name != "statistics"]


class Csv:
    """A callback that writes a CSV file with a row per record, and a column for each of its values.

    Its columns are those of StepRecord, and the statistics of the first record. Each row is in the file when
    the call ends. The file of a training that is resumed is continued: rows from the step of its first record
    on are replaced. Raises UsageError if the file is of another training, unless it may be overwritten, and
    MotegptError if it cannot be written.
    """

    def __init__(self, path: AnyPath, overwrite: bool = False) -> None:
        """overwrite: whether a new training replaces the file of another."""
        self.path: Path = path_of("path", path, UsageError)
        self._overwrite = flag("overwrite", overwrite)
        self._columns: list[str] = []
        self._last = 0  # step

    def __call__(self, record: StepRecord) -> None:
        """Append a row."""
        try:
            if record.step <= self._last or not self._columns:
                self._begin(record)
            self._last = record.step
            with self.path.open("a", encoding="utf-8", newline="") as file:
                file.write(_line(record.values().get(name) for name in self._columns))
        except OSError as error:
            raise MotegptError(f"{self.path}: cannot be written ({error.strerror})") from error

    def _begin(self, record: StepRecord) -> None:
        """Write the header, and the rows of earlier steps that the file already has."""
        columns = [*COLUMNS, *(record.statistics or {})]
        rows: list[list[str]] = [columns]
        if self.path.exists():
            with self.path.open(encoding="utf-8", errors="replace", newline="") as file:
                rows = list(csv.reader(file)) or rows
        header, *earlier = rows
        kept = [row for row in earlier if row and row[0].isdigit() and int(row[0]) < record.step]
        is_another = header != columns or (earlier and not kept)
        if is_another and not self._overwrite:
            raise UsageError(
                f"{self.path}: expected no file of another training; choose another path, or set "
                "`overwrite=True`"
            )
        kept = [] if is_another else kept
        replace_file(self.path, self.path.with_name(f".{self.path.name}.new"), _lines([columns, *kept]))
        self._columns = columns


def _lines(rows: Iterable[Iterable[Any]]) -> bytes:
    return "".join(map(_line, rows)).encode()


def _line(values: Iterable[Any]) -> str:
    """A row; None is an empty cell."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(values)
    return out.getvalue()


class TensorBoard:
    """A callback that writes the values of each record as scalars into a folder, for `tensorboard --logdir`.

    Each record is in the folder when the call ends. Values that the folder has of its step and later ones are
    hidden, so that a resumed training continues its curves. Raises LibraryUnavailable without tensorboardX,
    MotegptError if the folder cannot be written.
    """

    def __init__(self, folder: AnyPath) -> None:
        self.folder: Path = path_of("folder", folder, UsageError)
        with imports_for("TensorBoard", LibraryUnavailable):
            import_module("tensorboardX")
            self._events = import_module("tensorboardX.proto.event_pb2")
            self._writer_of = import_module("tensorboardX.event_file_writer").EventsWriter
        self._writer: Any = None
        self._last = 0  # step

    def __call__(self, record: StepRecord) -> None:
        """Write the values of a record."""
        try:
            if record.step <= self._last or self._writer is None:
                self._begin(record)
            self._last = record.step
            event = self._events.Event(step=record.step, wall_time=time.time())
            for name, value in record.values().items():
                if name != "step":
                    event.summary.value.add(tag=name, simple_value=value)
            self._write(event)
        except OSError as error:
            raise MotegptError(f"{self.folder}: cannot be written ({error.strerror})") from error

    def _begin(self, record: StepRecord) -> None:
        """Begin a file that hides what others have from the step of the record on."""
        if self._writer is not None:
            self._writer.close()
        self.folder.mkdir(parents=True, exist_ok=True)
        files = len(list(self.folder.glob("events.*")))
        self._writer = self._writer_of(str(self.folder / "events"), f".{files}")
        start = self._events.SessionLog(status=self._events.SessionLog.START)
        self._write(self._events.Event(step=record.step, wall_time=time.time(), session_log=start))

    def _write(self, event: Any) -> None:
        self._writer.write_event(event)
        self._writer.flush()
