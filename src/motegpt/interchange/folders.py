"""New folders and files, written as a whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from motegpt.errors import MotegptError, UsageError


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder beside `path` to write to, which gets its name at the end, and is deleted after an error.

    UsageError if something is at `path`, but for an empty folder, or if it cannot be written.
    """
    with _new(path) as temporary:
        temporary.mkdir()
        yield temporary
        check_free(path)
        if path.is_dir():
            path.rmdir()


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """The same for a file, which the caller creates."""
    with _new(path) as temporary:
        yield temporary


@contextmanager
def _new(path: Path) -> Iterator[Path]:
    """A name beside `path`; what is there in the end is renamed, and deleted after an error.

    Errors of writing name `path`: also those that a RunFolder raises with an OSError as cause.
    """
    check_free(path)
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}.new"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        check_free(path)
        os.rename(temporary, path)
    except (OSError, MotegptError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        if not isinstance(cause, OSError):
            raise
        raise UsageError(f"out: {path} cannot be written ({cause.strerror}); choose another") from None
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        temporary.unlink(missing_ok=True)


def check_free(path: Path) -> None:
    """UsageError unless nothing is at `path`, or an empty folder."""
    try:
        is_free = not os.path.lexists(path) or (
            path.is_dir() and not path.is_symlink() and not any(path.iterdir())
        )
    except OSError as error:
        raise UsageError(f"out: {path} cannot be read ({error.strerror}); choose another") from None
    if not is_free or not path.name:
        raise UsageError(f"out: {path} already exists; choose another, as nothing is overwritten")
