"""Standard streams that are closed, and pipes whose reader has exited.

A command that only prints exits quietly with code 0 when its reader has exited, and fails if standard output
is closed from the start. One that has other work goes on and discards its output: it prints within `unread`.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

GONE = (errno.EPIPE, errno.EIO, errno.EBADF)  # no reader of the pipe, no terminal, stream closed


class Closed(io.TextIOBase):
    """A standard output that is closed; writing to it raises OSError."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        raise OSError(errno.EBADF, "expected a standard output to print to, which is closed; try > /dev/null")


def complete() -> None:
    """Open the null device for each standard stream that is closed, so that no file gets its number.

    sys.stdin stays None, so that a command that reads it can report an error.
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
    """Print to a stream; once its reader has exited, discard the output."""
    try:
        yield
    except OSError as error:
        if error.errno not in GONE:
            raise
        silence(name)


def silence(name: str) -> None:
    """Discard what is still to be written to a stream."""
    if isinstance(getattr(sys, name), Closed):
        sys.stdout = _writer(1)  # the null device
    else:
        _to_null(getattr(sys, name).fileno())


def flush() -> None:
    """Flush the standard streams; discard what cannot be written."""
    for name in ("stdout", "stderr"):
        try:
            getattr(sys, name).flush()
        except (OSError, ValueError, AttributeError):
            with suppress(OSError, ValueError, AttributeError):
                silence(name)


def _writer(number: int) -> io.TextIOWrapper:
    return os.fdopen(number, "w", encoding="utf-8", closefd=False)


def _to_null(number: int) -> None:
    """Point a file descriptor at the null device."""
    null = os.open(os.devnull, os.O_RDWR)
    if null != number:
        os.dup2(null, number)
        os.close(null)
