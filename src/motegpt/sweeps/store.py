"""The folder of a sweep: its table, and a file of rows that is only ever appended to.

    sweep.json              the table as written, the digest of the data        (replaced as a whole)
    rows.jsonl              one JSON object per training                        (appended)
    rows-3-of-8.jsonl       the same of the third of eight parts
    curves.jsonl            the logged steps of each training, by key, if asked (appended)
    models, best            models, if asked for: see models.py                 (one file each)
    .rows.lock              held by the process that appends to rows.jsonl

A kill at any moment leaves whole lines and at most one torn line, the last, which is cut when the file is
opened again. Rows are written and synced before the next group of trainings is handed out, and after their
curves, so that a training with a row has all of its results. A training that is tried again has one more row,
whose `attempts` is higher; readers take that one. One that ran again for its model or curve alone, with the
same results, keeps its row.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from motegpt.config.text import counted, shortened
from motegpt.errors import RunFolderError, UsageError
from motegpt.system.files import read_bounded_file, replace_file
from motegpt.system.runs import MAX_JSON_BYTES, SWEEP, is_sweep
from motegpt.training.many import RESULTS, SERIES

if TYPE_CHECKING:
    from filelock import BaseFileLock

Row = dict[str, Any]

FORMAT = 1
ROWS, CURVES = "rows", "curves"  # the names of files begin so
OF_PART = re.compile(r"(rows|curves)(-\d+-of-\d+)?\.jsonl")
LOCK_OF_PART = re.compile(r"\.rows(?:-(?P<k>\d+)-of-(?P<n>\d+))?\.lock")
LOOK_SECONDS = 1.0  # for which drivers that begin at once may look at the same lock
REMOVED = "was removed while the sweep ran; begin it again by the same call"
MAX_ROWS_BYTES = 2**36


class Part(NamedTuple):
    """One of several drivers that share the points of a sweep: the k-th of n, from 1."""

    k: int = 1
    n: int = 1

    @classmethod
    def of(cls, written: str | None) -> Part:
        """From K/N; UsageError unless 1 <= K <= N."""
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", "1/1" if written is None else written)
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise UsageError(f"part: expected K/N with 1 <= K <= N, as in 3/8, got {shortened(written)}")
        return cls(int(found[1]), int(found[2]))

    def has(self, key: str) -> bool:
        """Whether the training with this key, a hash, is one of the part."""
        return int(key, 16) % self.n == self.k - 1

    @property
    def suffix(self) -> str:
        """The end of the names of its files."""
        return "" if self.n == 1 else f"-{self.k}-of-{self.n}"


WHOLE = Part()


@dataclass(frozen=True)
class Recorded:
    """What sweep.json says: the table as written, the digest of the data and their name."""

    table: dict[str, Any]
    digest: str
    data: str

    @classmethod
    def read(cls, folder: Path) -> Recorded:
        """RunFolderError for a folder without a sweep, or a damaged one."""
        path = folder / SWEEP
        try:
            values = json.loads(read_bounded_file(path, MAX_JSON_BYTES))
        except FileNotFoundError:
            raise RunFolderError(f"{folder}: expected the folder of a sweep, got no {SWEEP} in it") from None
        except (OSError, ValueError, RecursionError) as error:
            raise RunFolderError(f"{path}: cannot be read ({error}); the file was changed") from None
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            found = values.get("format") if isinstance(values, dict) else values
            raise RunFolderError(
                f"{path}: expected a sweep of format {FORMAT}, got {shortened(found)}; use the motegpt that "
                "wrote it"
            )
        table, digest, data = values.get("table"), values.get("digest"), values.get("data")
        if not (isinstance(table, dict) and isinstance(digest, str) and isinstance(data, str)):
            raise RunFolderError(f"{path}: expected a table, a digest and data; the file was changed")
        return cls(table, digest, data)


def recorded_in(folder: Path, digest: str) -> Recorded | None:
    """What a folder says of its sweep, if there is one; RunFolderError unless it is on these data."""
    before = Recorded.read(folder) if is_sweep(folder) else None
    if before is not None and before.digest != digest:
        raise RunFolderError(
            f"data: expected {before.data} as it was when the sweep in {folder} began, got other contents; "
            "restore them, or choose another `out`"
        )
    return before


class Store:
    """The files that one driver appends to: a context, which locks them and cuts a torn line."""

    def __init__(self, folder: Path, part: Part = WHOLE) -> None:
        self.folder, self.part = folder, part
        self._files: dict[str, IO[bytes]] = {}
        self._lock: BaseFileLock | None = None
        self.notes: list[str] = []  # for the user, on what was repaired

    def __enter__(self) -> Store:
        with self.errors():
            self.folder.mkdir(parents=True, exist_ok=True)
            self._check_folder()
            self._acquire()
        return self

    def __exit__(self, *ending: object) -> None:
        for file in self._files.values():
            with suppress(OSError):  # what was kept is synced; a line that could not be is tried again
                file.close()
        self._files.clear()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def begin(self, recorded: Recorded) -> None:
        """Record the table; RunFolderError if the folder has a sweep on other data.

        The table may be another, as one with more points; the rows of the former stay.
        """
        if recorded_in(self.folder, recorded.digest) == recorded:
            return
        values = {"format": FORMAT, "table": recorded.table, "digest": recorded.digest, "data": recorded.data}
        data = json.dumps(values, indent=2).encode()
        with self.errors():
            replace_file(self.folder / SWEEP, self.folder / f".{SWEEP}{self.part.suffix}.new", data)

    def append(self, rows: Iterable[Row], known: Mapping[str, Row] | None = None) -> None:
        """Write rows and the curves in them, and wait until they are on the disk.

        known: rows by key that are on the disk, which are not written again.
        """
        rows = [dict(row) for row in rows]
        series = [{name: row.pop(name) for name in SERIES if name in row} for row in rows]
        curves = [{**_of(row), **found} for row, found in zip(rows, series, strict=True) if found]
        rows = [row for row in rows if known is None or _of(row) != _of(known.get(row["key"], {}))]
        for kind, entries in ((CURVES, curves), (ROWS, rows)):
            if entries:
                self._append(kind, b"".join(map(line_of, entries)))

    def _append(self, kind: str, data: bytes) -> None:
        with self.errors(self._path(kind), "the rows before are kept, and the same call continues"):
            if kind not in self._files:
                self._files[kind] = self._path(kind).open("ab")
            file = self._files[kind]
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if not os.fstat(file.fileno()).st_nlink:
            raise RunFolderError(f"{self._path(kind)}: {REMOVED}")

    def _path(self, kind: str) -> Path:
        return self.folder / f"{kind}{self.part.suffix}.jsonl"

    def _check_folder(self) -> None:
        """RunFolderError for a folder with something else, so that a sweep never mixes with it."""
        others = [path.name for path in self.folder.iterdir() if not path.name.startswith(".")]
        if others and not is_sweep(self.folder):
            raise RunFolderError(f"{self.folder}: the folder holds other files; choose a new one for `out`")

    def _acquire(self) -> None:
        """Lock the rows, and cut what a kill has left of a line."""
        import filelock

        lock = filelock.FileLock(self.folder / f".{ROWS}{self.part.suffix}.lock")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            raise RunFolderError(
                f"{self.folder}: another process is running this sweep; wait for it, or give each a `part`"
            ) from None
        self._lock = lock
        self._refuse_other_counts()
        for kind in (CURVES, ROWS):
            path = self._path(kind)
            cut = cut_torn_line(path)
            if cut:
                self.notes.append(
                    f"{path}: cut a torn line of {counted(cut, 'byte')}; its training runs again"
                )

    def _refuse_other_counts(self) -> None:
        """RunFolderError if a driver runs a part of another count: it would train the same points."""
        import filelock

        for path in self.folder.iterdir():
            found = LOCK_OF_PART.fullmatch(path.name)
            part = found and Part(int(found["k"] or 1), int(found["n"] or 1))
            if part is None or part.n == self.part.n:
                continue
            try:
                filelock.FileLock(path).acquire(timeout=LOOK_SECONDS).lock.release()
            except filelock.Timeout:
                self.__exit__()
                which = "all" if part == WHOLE else f"part {part.k} of {part.n}"
                raise RunFolderError(
                    f"{self.folder}: another process is running {which} of this sweep; wait for it, or give "
                    "each a `part` of the same number"
                ) from None

    @contextmanager
    def errors(self, path: Path | None = None, then: str = "choose another `out`") -> Iterator[None]:
        """RunFolderError for an OSError, in writing. path: instead of the folder; then: what to do."""
        try:
            yield
        except FileNotFoundError:
            raise RunFolderError(f"{path or self.folder}: {REMOVED}") from None
        except OSError as error:
            raise RunFolderError(
                f"{path or self.folder}: cannot be written ({error.strerror}); {then}"
            ) from None


def cut_torn_line(path: Path) -> int:
    """Cut the end of a file after its last newline; the number of bytes cut."""
    try:
        with path.open("r+b") as file:
            size = end = file.seek(0, os.SEEK_END)
            while end > 0:
                begin = max(0, end - 2**16)
                file.seek(begin)
                newline = file.read(end - begin).rfind(b"\n")
                if newline >= 0:
                    end = begin + newline + 1
                    break
                end = begin
            file.truncate(end)
            return size - end
    except FileNotFoundError:
        return 0


def line_of(entry: Row) -> bytes:
    """An object as a line of JSON."""
    return json.dumps(as_json(entry), separators=(",", ":"), allow_nan=False).encode() + b"\n"


def as_json(value: Any) -> Any:
    """A value as it is read from JSON: a tuple as a list, a number that is not finite as None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: as_json(part) for name, part in value.items()}
    return [as_json(part) for part in value] if isinstance(value, list | tuple) else value


def read_rows(folder: Path) -> dict[str, Row]:
    """Key -> row of all parts, the one of the most attempts, with its curve if there is one.

    RunFolderError for a line that is no row.
    """
    found: dict[str, Row] = {}
    for row in _entries(folder, ROWS, "key", "status"):
        before = found.get(row["key"])
        if before is None or row.get("attempts", 1) > before.get("attempts", 1):
            found[row["key"]] = row
    for entry in _entries(folder, CURVES, "key"):
        of = found.get(entry["key"])
        if of is not None and _of(of) == _of(entry):
            of |= {name: entry[name] for name in SERIES if name in entry}
    return found


def without_curve(rows: Mapping[str, Row], points: Mapping[str, Row]) -> set[str]:
    """The keys of the rows whose trainings took steps, but of which no curve, or no statistics, was kept."""
    names = {True: set(SERIES), False: set(SERIES[:1])}
    return {
        key
        for key, row in rows.items()
        if row.get("steps_done") and not names[points[key].get("log_statistics") is True] <= row.keys()
    }


def merged(before: Row | None, row: Row) -> Row:
    """The row of a training that ran again: if results are equal the former one, with the curve of this."""
    if before is None or _results(before) != _results(row):
        return row
    return before | {name: row[name] for name in SERIES if name in row}


def _results(row: Row) -> list[Any]:
    """What is the same whenever a training runs."""
    return [row.get(name) for name in ("status", *RESULTS) if name != "seconds"]


def _of(entry: Row) -> Row:
    """Which training a row or a curve is of."""
    return {"key": entry.get("key"), "attempts": entry.get("attempts", 1)}


def _entries(folder: Path, kind: str, *required: str) -> Iterator[Row]:
    """The objects in the files of a kind, of all parts."""
    for path in sorted(folder.iterdir()):
        name = OF_PART.fullmatch(path.name)
        if name and name[1] == kind:
            yield from _lines(path, *required)


def _lines(path: Path, *required: str) -> Iterator[Row]:
    """The objects in a file; a last line without a newline is being written, or torn, and is left out."""
    try:
        data = read_bounded_file(path, MAX_ROWS_BYTES)
    except OSError as error:
        raise RunFolderError(f"{path}: cannot be read ({error.strerror})") from None
    for number, line in enumerate(data.split(b"\n")[:-1], 1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict) or not all(isinstance(row.get(name), str) for name in required):
            raise RunFolderError(
                f"{path}: line {number}: expected a row, got {shortened(line.decode(errors='replace'))}; the "
                "file was changed: remove the line, and its training runs again"
            )
        yield row
