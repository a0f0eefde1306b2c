"""Signals that terminate a program: Ctrl-C (SIGINT), SIGTERM, and a closed terminal (SIGHUP).

The command line imports this first, so it imports nothing large.
"""

from __future__ import annotations

import os
import signal

from motegpt.errors import INTERRUPTED, MotegptError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from types import FrameType
    from typing import Self, TypeVar

    Item = TypeVar("Item")

TERMINATION_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


def handled_signals() -> list[signal.Signals]:
    """The termination signals that this process does not ignore, as it does under nohup."""
    return [
        number for number in TERMINATION_SIGNALS if signal.getsignal(number) not in (signal.SIG_IGN, None)
    ]


def handle_termination(handler: Callable[[int, FrameType | None], object]) -> None:
    """Install `handler` for every termination signal that is not ignored."""
    for number in handled_signals():
        signal.signal(number, handler)


def interrupt(number: int, frame: FrameType | None) -> None:
    """Signal handler: raise KeyboardInterrupt(number); exit during an import, which might swallow it."""
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            leave(number, frame)
        frame = frame.f_back
    raise KeyboardInterrupt(number)


def leave(number: int = 0, frame: FrameType | None = None) -> None:
    """Signal handler: exit immediately. For phases in which nothing can be lost."""
    try:
        os.write(2, b"motegpt: interrupted\n")
    finally:
        os._exit(INTERRUPTED)


def default_interrupt() -> list[signal.Signals]:
    """[SIGINT] in the main thread if Python's default handler is installed, else []."""
    import threading

    is_main = threading.current_thread() is threading.main_thread()
    is_default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    return [signal.SIGINT] if is_main and is_default else []


class DeferredSignals:
    """A context that defers the first signal; a second signal raises KeyboardInterrupt.

    True once a signal was received; first: its number. is_torn: whether an exception other than a
    MotegptError, such as the KeyboardInterrupt of the second signal, ended the context.
    """

    def __init__(
        self, numbers: Iterable[signal.Signals], on_first: Callable[[], object] = lambda: None
    ) -> None:
        self._numbers, self._on_first = list(numbers), on_first
        self._previous: list[object] = []
        self.first: int | None = None
        self.is_torn = False

    def __bool__(self) -> bool:
        return self.first is not None

    def note(self, number: int = signal.SIGINT) -> None:
        """Record a signal. For one received as a KeyboardInterrupt: note(*error.args)."""
        self.first = number

    def __enter__(self) -> Self:
        self._previous = [signal.signal(number, self._handle) for number in self._numbers]
        return self

    def __exit__(self, kind: type[BaseException] | None, *ending: object) -> None:
        for number, previous in zip(self._numbers, self._previous, strict=True):
            signal.signal(number, previous)  # type: ignore[arg-type]
        if kind is not None and not issubclass(kind, MotegptError):
            self.is_torn = True

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self:
            raise KeyboardInterrupt
        self.note(number)
        self._on_first()


def deferring(items: Generator[Item, None, None], signals: DeferredSignals) -> Generator[Item, None, None]:
    """The items of a generator; signals are deferred while it computes the next one or closes."""
    try:
        while True:
            with signals:
                item = next(items, None)
            if item is None:
                return
            yield item
    finally:
        with signals:
            items.close()
