"""Closed standard streams, and pipes whose reader has exited.

A command that only prints exits with code 0 when its reader has exited, and fails if standard output is
closed from the start. A command that also trains or writes files continues and discards its output: it prints
within `discard_if_closed`.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

CLOSED_ERRORS = (errno.EPIPE, errno.EIO, errno.EBADF)  # pipe without a reader, lost terminal, closed stream


class ClosedStream(io.TextIOBase):
    """Replaces a closed standard output; writing to it raises OSError."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        raise OSError(errno.EBADF, "expected an open standard output, got a closed one; try > /dev/null")


def replace_closed_streams() -> None:
    """Open the null device in place of closed standard streams, so that no file gets their descriptors.

    sys.stdin stays None, so that commands that read it can report an error.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            _to_null(number)
            if name == "stdout":
                sys.stdout = ClosedStream()
            elif name == "stderr":
                sys.stderr = _writer(number)


@contextmanager
def discard_if_closed(name: str = "stdout") -> Iterator[None]:
    """Discard output to a stream once its reader has exited or it is closed."""
    try:
        yield
    except OSError as error:
        if error.errno not in CLOSED_ERRORS:
            raise
        silence(name)


def silence(name: str) -> None:
    """Discard all further output to a stream."""
    if isinstance(getattr(sys, name), ClosedStream):
        sys.stdout = _writer(1)  # the null device
    else:
        _to_null(getattr(sys, name).fileno())


def flush() -> None:
    """Flush the standard streams; discard output that cannot be written."""
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
