"""Bounded reads and atomic writes for untrusted folders.

An untrusted folder may contain links, pipes, devices and sparse files of any size. Reads follow links, which
some caches consist of, but only to regular files. Writes replace links instead of following them.
"""

from __future__ import annotations

import errno
import mmap
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import BinaryIO

Buffer = bytes | memoryview | mmap.mmap  # the contents of a file

MAPPED_FROM = 2**24  # bytes: smaller files are read
MAX_SIBLINGS = 1000  # file names compared with a missing one


def read_bounded_file(path: Path, max_bytes: int) -> bytes:
    """The contents of a regular file, up to its size when opened.

    Never blocks, as reading a pipe would. Raises OSError if the file cannot be opened, is not regular, or is
    larger than `max_bytes`.
    """
    with _opened(path, max_bytes) as (file, size):
        return file.read(size)


def view_file(path: Path, max_bytes: int) -> Buffer:
    """As read_bounded_file, but a large file is mapped: its pages are read when they are first used.

    Who shortens a mapped file ends the processes that read it, with SIGBUS; files that are replaced, as by
    replace_file, stay as they were mapped.
    """
    with _opened(path, max_bytes) as (file, size):
        if size < MAPPED_FROM or os.name != "posix":  # elsewhere a mapped file cannot be replaced
            return file.read(size)
        return mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)


@contextmanager
def _opened(path: Path, max_bytes: int) -> Iterator[tuple[BinaryIO, int]]:
    """A regular file of at most `max_bytes`, and its size."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    handle = os.open(path, flags)
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        if status.st_size > max_bytes:
            raise OSError(errno.EFBIG, f"expected at most {max_bytes:,} bytes, got {status.st_size:,}")
        with open(handle, "rb", closefd=False) as file:
            yield file, status.st_size
    finally:
        os.close(handle)


def nearest_name(path: Path, folders: bool = False) -> Path | None:
    """The file (or folder) next to a missing one with the most similar name; None if none is similar."""
    try:
        with os.scandir(path.parent) as entries:
            names = [entry.name for entry in islice(entries, MAX_SIBLINGS) if entry.is_dir() == folders]
    except (OSError, ValueError):  # ValueError: an invalid file name
        return None
    import difflib

    nearest = difflib.get_close_matches(path.name, filter(str.isprintable, names), n=1)
    return path.with_name(nearest[0]) if nearest else None


def is_not_regular(path: Path) -> bool:
    """Whether the path exists but is not a regular file."""
    return path.is_symlink() or (path.exists() and not path.is_file())


def replace_file(path: Path, temporary: Path, data: bytes | Callable[[BinaryIO], object]) -> None:
    """Replace a file atomically: a kill at any moment leaves the old file or the new one.

    data: the contents, or a function that writes them to a file.

    `path` and `temporary` must be in one folder; links are replaced, not followed. Raises OSError.
    """
    try:
        temporary.unlink(missing_ok=True)
        with temporary.open("xb") as file:
            data(file) if callable(data) else file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except BaseException:
        if temporary.is_file():
            temporary.unlink()
        raise


def _sync_folder(path: Path) -> None:
    """Flush the renames in a folder to disk, on POSIX systems."""
    if os.name == "posix":
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
