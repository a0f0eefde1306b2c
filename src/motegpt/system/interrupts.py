"""What ends a program from outside: Ctrl-C, a request to end (SIGTERM), a terminal that is closed (SIGHUP).

The command line imports this first, so it imports nothing large itself.
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
    """The signals of TERMINATION_SIGNALS that this process was not started to ignore, as nohup does."""
    return [
        number for number in TERMINATION_SIGNALS if signal.getsignal(number) not in (signal.SIG_IGN, None)
    ]


def handle_termination(handler: Callable[[int, FrameType | None], object]) -> None:
    """Call `handler` for every signal that is not ignored."""
    for number in handled_signals():
        signal.signal(number, handler)


def interrupt(number: int, frame: FrameType | None) -> None:
    """A handler: raise KeyboardInterrupt(number); in an import, which may swallow it, end the process."""
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            leave(number, frame)
        frame = frame.f_back
    raise KeyboardInterrupt(number)


def leave(number: int = 0, frame: FrameType | None = None) -> None:
    """A handler: end the process at once. For moments in which nothing can be lost."""
    try:
        os.write(2, b"motegpt: interrupted\n")
    finally:
        os._exit(INTERRUPTED)


def default_interrupt() -> list[signal.Signals]:
    """SIGINT, where it does what Python does by itself and this thread may change that; else nothing."""
    import threading

    is_main = threading.current_thread() is threading.main_thread()
    is_default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    return [signal.SIGINT] if is_main and is_default else []


class DeferredSignals:
    """While it is entered, the first signal is noted for something to be finished; another one interrupts it.

    True once a signal was noted; first: which one that was. is_torn: whether what should have been finished
    was broken off, by another signal or by any other exception that is none of motegpt's own.
    """

    def __init__(self, numbers: Iterable[signal.Signals], tell: Callable[[], object] = lambda: None) -> None:
        self._numbers, self._tell = list(numbers), tell
        self._previous: list[object] = []
        self.first: int | None = None
        self.is_torn = False

    def __bool__(self) -> bool:
        return self.first is not None

    def note(self, number: int = signal.SIGINT) -> None:
        """Count a signal, also one that came as a KeyboardInterrupt: note(*error.args)."""
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
        self._tell()


def deferring(items: Generator[Item, None, None], noted: DeferredSignals) -> Generator[Item, None, None]:
    """The items, while each of them is made, and while the generator is closed, with signals noted.

    Between them signals do what they did.
    """
    try:
        while True:
            with noted:
                item = next(items, None)
            if item is None:
                return
            yield item
    finally:
        with noted:
            items.close()
