"""Locking a run folder, and reading and writing its JSON, metrics and tensor files.

A run may also be one file, an archive of the folder (archive.py), which is only read. Both are untrusted
input: reads are bounded (system/files.py) and tensors are checked (tensor_files.py). Files are replaced
atomically: a kill at any moment leaves the old file or the new one.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from motegpt.config.fields import LARGEST_INT
from motegpt.config.text import shortened
from motegpt.errors import MotegptError, RunFolderError
from motegpt.system.files import (
    Buffer,
    is_not_regular,
    nearest_name,
    replace_file,
    view_file,
)
from motegpt.system.runs import (
    CONFIG,
    ENDING,
    MAX_JSON_BYTES,
    fine_tuning_of,
    instead_of_sweep,
    is_archive,
    is_sweep,
)
from motegpt.training.state import FORMAT, FORMATS
from motegpt.training.tensor_files import FLOATS, read_tensors, tensor_bytes

if TYPE_CHECKING:
    from filelock import BaseFileLock

    from motegpt.training.archive import Archive
    from motegpt.training.tensor_files import Shapes

METRICS, LOCK, TEMPORARY = "metrics.jsonl", ".lock", ".{}.new"
TOKENIZER, CONTEXTS, MODEL = "tokenizer.json", "contexts.safetensors", "model.safetensors"
KNESER_NEY, KNOWN, SETTINGS = "kneser_ney.safetensors", "texts.safetensors", "settings.toml"
REPORT = "report.json"
# The files of a run that is one file.
ARCHIVED = (CONFIG, TOKENIZER, SETTINGS, METRICS, REPORT, CONTEXTS, MODEL, KNESER_NEY, KNOWN)
MAX_METRICS_BYTES = 2**30


class RunFiles:
    """The files of a run; RunFolder defines their contents."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock: BaseFileLock | None = None

    @cached_property
    def _archive(self) -> Archive | None:
        """The archive of a run that is one file, None for a folder; RunFolderError if it is damaged."""
        if not is_archive(self.path):
            return None
        from motegpt.training.archive import Archive

        try:
            return Archive(self.path, ARCHIVED)
        except (OSError, ValueError) as error:
            raise RunFolderError(f"{self.path}: {error}; send the file that motegpt wrote") from None

    def check_resumable(self) -> None:
        """RunFolderError if the run is one file."""
        if self._archive is not None:
            raise RunFolderError(
                f"{self.path}: cannot be resumed: it is read-only, and has the parameters without the state "
                "of their training; resume the run folder that it was made from, or fine-tune it with "
                f"{fine_tuning_of(self.path)}"
            )

    def lock(self) -> None:
        """Acquire the lock of the folder, and delete the temporary files of a killed process.

        Raises RunFolderError if another process holds the lock.
        """
        from filelock import FileLock, Timeout

        if self._lock is not None:
            return
        self.check_resumable()
        self._check_regular_files()
        lock = FileLock(self.path / LOCK, timeout=0, thread_local=False)  # any thread may release it
        try:
            lock.acquire()
        except Timeout:
            raise RunFolderError(
                f"{self.path}: another process is training in this folder; wait until it ends, or choose "
                "another `out`"
            ) from None
        self._lock = lock
        for temporary in self._temporary_files():
            temporary.unlink()

    def unlock(self) -> None:
        """Release the lock, if it is held."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _temporary_files(self) -> Iterable[Path]:
        return self.path.glob(TEMPORARY.format("*"))

    def _check_regular_files(self) -> None:
        """RunFolderError if a file that is modified in place or deleted is a link, a folder or a device."""
        temporary = [path for path in self._temporary_files() if not path.is_symlink()]
        for path in (self.path / LOCK, self.path / METRICS, *temporary):
            if is_not_regular(path):
                found = "a link" if path.is_symlink() else "a folder or special file"
                raise RunFolderError(
                    f"{path}: expected a regular file, got {found}; nothing was written; remove it first"
                )

    def append_metrics(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Append one line per record to metrics.jsonl."""
        try:
            with (self.path / METRICS).open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(record) + "\n" for record in records)
        except OSError as error:
            raise MotegptError(f"{self.path / METRICS}: cannot be written ({error.strerror})") from error

    def truncate_metrics(self, step: int) -> None:
        """Delete the records of steps after `step`, which no checkpoint includes."""
        kept = [record for record in self.metrics() if record["step"] <= step]
        self._write(METRICS, "".join(json.dumps(record) + "\n" for record in kept).encode())

    def metrics(self) -> list[dict[str, Any]]:
        """The records of metrics.jsonl; RunFolderError with the line number of an invalid one."""
        records = []
        for number, line in enumerate(self._metrics_lines(), 1):
            try:
                record = json.loads(line)
                if type(record["step"]) is not int or not 0 <= record["step"] <= LARGEST_INT:
                    raise TypeError
            except (ValueError, KeyError, TypeError, RecursionError):
                raise RunFolderError(
                    f"{self.path / METRICS}: line {number}: expected an object with a step, got {line[:40]!r}"
                ) from None
            records.append(record)
        return records

    def _metrics_lines(self) -> list[str]:
        """The complete lines of metrics.jsonl; a kill may have truncated the last one."""
        path = self.path / METRICS
        if not self._exists(METRICS):
            return []
        try:
            text = bytes(self._contents(METRICS, MAX_METRICS_BYTES)).decode("utf-8", "replace")
            return text.split("\n")[:-1]
        except OSError as error:
            raise RunFolderError(f"{path}: cannot be read ({error.strerror})") from None

    def _write_json(self, name: str, values: Mapping[str, Any]) -> None:
        self._write(name, json_bytes(values))

    def _read_json(self, name: str) -> Any:
        """The object in a JSON file of a supported format."""
        path = self._existing(name)
        try:
            values = json.loads(bytes(self._contents(name, MAX_JSON_BYTES)))
        except (ValueError, OSError, RecursionError) as error:
            raise RunFolderError(f"{path}: expected JSON, got {error}") from None
        check_format(path, values)
        return values

    def _write_tensors(self, name: str, arrays: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
        self._write(name, tensor_bytes(arrays, {"format": FORMAT, **metadata}))

    def _read_tensors(
        self, name: str, shapes: Shapes, dtypes: Collection[str] = FLOATS
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """The tensors with these names and shapes, and the metadata, of a file of a supported format."""
        path = self._existing(name)
        check = partial(check_format, path)
        return read_tensors(path, shapes, check, dtypes, partial(self._contents, name))

    def _contents(self, name: str, max_bytes: int) -> Buffer:
        """The contents of a file; OSError if it cannot be read, RunFolderError if damaged in an archive."""
        if self._archive is None:
            return view_file(self.path / name, max_bytes)
        try:
            return self._archive.view(name, max_bytes)
        except ValueError as error:
            raise RunFolderError(f"{self.path / name}: {error}; the file was changed") from None

    def _write(self, name: str, data: bytes) -> None:
        """Replace a file atomically."""
        try:
            replace_file(self.path / name, self.path / TEMPORARY.format(name), data)
        except OSError as error:
            raise MotegptError(f"{self.path / name}: cannot be written ({error.strerror})") from error

    def _exists(self, name: str) -> bool:
        """Whether a file exists; RunFolderError if the folder cannot be read."""
        if self._archive is not None:
            return name in self._archive.names()
        try:
            return (self.path / name).is_file()
        except OSError as error:
            raise RunFolderError(f"{self.path}: cannot be read ({error.strerror})") from None

    def _missing(self) -> RunFolderError:
        """The error for a run that does not exist."""
        is_file, out = self.path.suffix == ENDING, f"`out={str(self.path)!r}`"
        what, near = "run" if is_file else "run folder", nearest_name(self.path, folders=not is_file)
        create = f"exporting a run with `to='file'` and {out}" if is_file else f"training with {out}"
        return RunFolderError(
            f"{self.path}: no such {what}; {f'did you mean {near}?' if near else f'{create} creates one'}"
        )

    def _existing(self, name: str) -> Path:
        """The path of a file; RunFolderError with a likely repair if it does not exist."""
        if self._exists(name):
            return self.path / name
        if self._archive is not None:
            raise RunFolderError(f"{self.path}: has no {name}; send the file that motegpt wrote")
        if self.path.exists() and not self.path.is_dir():
            raise RunFolderError(f"{self.path}: expected a run folder or a file *{ENDING}, got another file")
        if not self.path.is_dir():
            raise self._missing()
        if not (self.path / CONFIG).is_file():
            if is_sweep(self.path):
                raise RunFolderError(f"{self.path}: is a sweep, not a run; {instead_of_sweep(self.path)}")
            raise RunFolderError(f"{self.path}: is not a run folder (no {CONFIG})")
        if (self.path / MODEL).is_file():
            raise RunFolderError(
                f"{self.path}: cannot be resumed: it has no {name}, as the model was saved without the state "
                "of its training"
            )
        raise RunFolderError(
            f"{self.path}: has no {name}, as the run stopped before its first checkpoint; restart it with "
            f"`out={str(self.path)!r}`"
        )


def json_bytes(values: Mapping[str, Any]) -> bytes:
    """The contents of a JSON file."""
    return (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode()


def check_format(path: Path, values: Any) -> None:
    """RunFolderError unless `values`, read from `path`, is an object of a supported format."""
    found = values.get("format") if isinstance(values, dict) else None
    if found is None and path.name == CONFIG and isinstance(values, dict) and "model_type" in values:
        raise RunFolderError(
            f"{path.parent}: expected a run, got a folder of the library transformers; motegpt import "
            "makes a run of it"
        )
    if found not in FORMATS:
        raise RunFolderError(
            f"{path}: expected run format {' or '.join(map(str, FORMATS))}, got "
            f"{shortened(found)}; another version of motegpt or another program wrote it"
        )
