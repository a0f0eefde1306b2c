"""Files that anyone may have made: read whole and bounded, replaced at once, no link followed in writing.

A folder from a stranger may hold links, pipes and devices in the place of files, and sparse files of any
size. Links are followed in reading, as some caches are made of them, but only to regular files.
"""

from __future__ import annotations

import difflib
import errno
import os
import stat
from itertools import islice
from pathlib import Path

MAX_SIBLINGS = 1000  # names of a folder that are compared with one that was not found


def read_bounded_file(path: Path, most: int) -> bytes:
    """The bytes of a regular file, as many as it had when it was opened.

    Never waits, as a pipe or a file of the kernel's might make it. OSError if it cannot be opened, is no
    regular file, or has more than `most` bytes.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    handle = os.open(path, flags)
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        if found.st_size > most:
            raise OSError(errno.EFBIG, f"expected at most {most:,} bytes, got {found.st_size:,}")
        with open(handle, "rb", closefd=False) as file:
            return file.read(found.st_size)
    finally:
        os.close(handle)


def nearest_name(path: Path, folders: bool = False) -> Path | None:
    """The file, or folder, beside a missing one whose name is most like it; None if none is much like it."""
    try:
        with os.scandir(path.parent) as found:
            names = [one.name for one in islice(found, MAX_SIBLINGS) if one.is_dir() == folders]
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return None
    nearest = difflib.get_close_matches(path.name, filter(str.isprintable, names), n=1)
    return path.with_name(nearest[0]) if nearest else None


def is_not_regular(path: Path) -> bool:
    """Whether something other than a file or nothing stands where a program keeps a file of its own."""
    return path.is_symlink() or (path.exists() and not path.is_file())


def replace_file(path: Path, temporary: Path, data: bytes) -> None:
    """Write a file so that a kill at any moment leaves the old one or the new one; OSError if it cannot be.

    Neither `path` nor `temporary`, both in one folder, is followed if it is a link: it is replaced.
    """
    try:
        temporary.unlink(missing_ok=True)
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError:
        if temporary.is_file():
            temporary.unlink()
        raise


def _sync_folder(path: Path) -> None:
    """Make the renames in a folder durable, where the system can."""
    if os.name == "posix":
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
