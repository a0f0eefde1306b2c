"""Output files of commands; existing files are replaced only with --overwrite."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from motegpt.errors import UsageError
from motegpt.system.files import replace_file

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


def write_new(path: Path, data: bytes | str, overwrite: bool) -> None:
    """Write a file at once, a text in UTF-8: an error or a kill leaves what was there before, or nothing.

    UsageError if it exists or cannot be written.
    """
    check_new(path, overwrite)
    contents = data.encode() if isinstance(data, str) else data
    with _reported(path, "out"):
        replace_file(path, path.with_name(f".{secrets.token_hex(8)}.new"), contents)


@contextmanager
def new_stream(path: Path, overwrite: bool, option: str) -> Iterator[TextIO]:
    """A file to write lines to as they come, in UTF-8; UsageError if it exists or cannot be written."""
    with _reported(path, option), path.open("w" if overwrite else "x", encoding="utf-8", newline="") as file:
        yield file


@contextmanager
def _reported(path: Path, option: str) -> Iterator[None]:
    """Errors of writing, as UsageError."""
    try:
        yield
    except FileExistsError:
        raise _already_exists(path, option) from None
    except OSError as error:
        raise UsageError(f"{option}: {path} cannot be written ({error.strerror}); choose another") from None


def _already_exists(path: Path, option: str) -> UsageError:
    return UsageError(f"{option}: {path} already exists; choose another, or --overwrite")
