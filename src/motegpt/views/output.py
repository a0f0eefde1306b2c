"""Output files of commands; existing files are replaced only with --overwrite."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from motegpt.errors import UsageError

REVEALS = "whoever has this file has the model, and can find out much of what it was trained on"


def ending_of(path: Path, endings: Iterable[str]) -> str:
    """The suffix of a file name in lower case; UsageError unless it is one of `endings`."""
    ending = path.suffix.lower()
    if ending not in endings:
        raise UsageError(f"out: expected a file named {' or '.join('*' + s for s in endings)}, got {path}")
    return ending


def check_new(path: Path, overwrite: bool, option: str = "out") -> None:
    """UsageError if the file exists and may not be overwritten."""
    if path.exists() and not overwrite:
        raise _already_exists(path, option)


@contextmanager
def new_file(path: Path, overwrite: bool, option: str = "out", binary: bool = False) -> Iterator[IO[Any]]:
    """A file to write to, in UTF-8 unless `binary`; UsageError if it exists or cannot be written."""
    kind: dict[str, Any] = {} if binary else {"encoding": "utf-8", "newline": ""}
    try:
        with path.open(("w" if overwrite else "x") + "b" * binary, **kind) as file:
            yield file
    except FileExistsError:
        raise _already_exists(path, option) from None
    except OSError as error:
        raise UsageError(f"{option}: {path} cannot be written ({error.strerror}); choose another") from None


def _already_exists(path: Path, option: str) -> UsageError:
    return UsageError(f"{option}: {path} already exists; choose another, or --overwrite")
