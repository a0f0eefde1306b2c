"""The standard streams of a command: one that is closed, and one whose reader has gone.

A command that does nothing but print ends quietly, with exit code 0, when nobody reads it any more, and fails
where there is no standard output to begin with. One that has something else to do goes on and prints nowhere:
it prints within `unread`.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

GONE = (errno.EPIPE, errno.EIO, errno.EBADF)  # the reader of a pipe, a terminal, the stream itself


class Closed(io.TextIOBase):
    """Stands for a standard output that is closed: whoever prints to it is told."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        raise OSError(errno.EBADF, "expected a standard output to print to, which is closed; try > /dev/null")


def complete() -> None:
    """Give each standard stream that is closed the null device, so that no file takes its number.

    Standard input stays None in Python: a command that reads it can tell.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            _to_null(number)
            if name == "stdout":
                sys.stdout = Closed()
            elif name == "stderr":
                sys.stderr = _writer(number)


@contextmanager
def unread(name: str = "stdout") -> Iterator[None]:
    """Print to a stream if somebody reads it; from the moment that nobody does, nowhere."""
    try:
        yield
    except OSError as error:
        if error.errno not in GONE:
            raise
        silence(name)


def silence(name: str) -> None:
    """Send what is still to be written to a stream nowhere."""
    if isinstance(getattr(sys, name), Closed):
        sys.stdout = _writer(1)  # the null device
    else:
        _to_null(getattr(sys, name).fileno())


def flush() -> None:
    """Write out what is left in the buffers, or drop it where that cannot be done."""
    for name in ("stdout", "stderr"):
        try:
            getattr(sys, name).flush()
        except (OSError, ValueError, AttributeError):
            with suppress(OSError, ValueError, AttributeError):
                silence(name)


def _writer(number: int) -> io.TextIOWrapper:
    return os.fdopen(number, "w", encoding="utf-8", closefd=False)


def _to_null(number: int) -> None:
    """Let a file number mean the null device."""
    null = os.open(os.devnull, os.O_RDWR)
    if null != number:
        os.dup2(null, number)
        os.close(null)
