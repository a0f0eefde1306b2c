"""The progress of a training: one output of a notebook that is updated, or one line of a terminal."""

from __future__ import annotations

import shutil
import sys
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from html import escape
from importlib import import_module
from typing import Any, ClassVar, Protocol

from motegpt.config.text import shortened
from motegpt.errors import SettingError
from motegpt.system.terminals import is_live, is_notebook

FIRST_SECONDS = 0.5  # shorter trainings show nothing


class Shown(Protocol):
    """What is shown: all of it, as one line, and the losses as a curve."""

    def _repr_html_(self) -> str: ...

    def status(self) -> str: ...

    def curve(self) -> str: ...


class Display(ABC):
    """Shows something again and again: first after a number of seconds, then at most every `interval`."""

    interval: ClassVar[float]

    def __init__(self, first: float = FIRST_SECONDS) -> None:
        self._due = time.monotonic() + first
        self.is_shown = False

    def update(self, shown: Shown) -> None:
        """Show the state of now, if it is due."""
        if time.monotonic() >= self._due:
            self.show(shown)
            self._due = time.monotonic() + self.interval

    def end(self, shown: Shown) -> None:
        """Show or remove the last state, if anything was shown."""
        if self.is_shown:
            self.finish(shown)

    def clear(self) -> None:  # noqa: B027  # a display with a place of its own has nothing to do
        """Make room for other output."""

    def show(self, shown: Shown) -> None:
        """Show the state of now."""
        self.is_shown = True
        self.draw(shown)

    @abstractmethod
    def draw(self, shown: Shown) -> None:
        """Put the state in the place of the one before."""

    @abstractmethod
    def finish(self, shown: Shown) -> None:
        """Leave the place as it is to stay."""


class NotebookDisplay(Display):
    """An output of a cell with everything, which keeps the last state."""

    interval = 0.3

    def __init__(self, first: float = FIRST_SECONDS) -> None:
        super().__init__(first)
        self._handle: Any = None

    def draw(self, shown: Shown) -> None:
        self._put(shown, shown._repr_html_())

    finish = draw

    def _put(self, shown: Shown, html: str) -> None:
        data = {"text/html": html, "text/plain": repr(shown)}
        if self._handle is None:
            self._handle = import_module("IPython.display").display(data, raw=True, display_id=True)
        else:
            self._handle.update(data, raw=True)


class NotebookProgress(NotebookDisplay):
    """An output of a cell with a line and the curve, which keeps the line."""

    def draw(self, shown: Shown) -> None:
        self._put(shown, f"<div>{escape(shown.status())}</div>{shown.curve()}")

    def finish(self, shown: Shown) -> None:
        self._put(shown, f"<div>{escape(shown.status())}</div>")


class TerminalDisplay(Display):
    """A line of standard error that is cleared at the end."""

    interval = 0.1

    def __init__(self, first: float = FIRST_SECONDS) -> None:
        super().__init__(first)
        self._drawn = 0  # characters

    def draw(self, shown: Shown) -> None:
        line = shown.status()[: shutil.get_terminal_size().columns - 1]
        self._write(f"\r{line.ljust(self._drawn)}")
        self._drawn = len(line)

    def finish(self, shown: Shown) -> None:
        self.clear()

    def clear(self) -> None:
        if self._drawn:
            self._write(f"\r{' ' * self._drawn}\r")
        self._drawn = 0

    @staticmethod
    def _write(text: str) -> None:
        with suppress(OSError, ValueError):  # a lost terminal does not end a training
            sys.stderr.write(text)
            sys.stderr.flush()


def display_for(progress: bool | None) -> Display | None:
    """The display that fits a notebook or a terminal; None elsewhere, or if progress is False.

    progress: None for a display after FIRST_SECONDS, True for one at once. SettingError for other values.
    """
    if progress not in (None, True, False):
        raise SettingError(f"progress: expected True, False or None, got {shortened(progress)}")
    if progress is False:
        return None
    first = 0.0 if progress else FIRST_SECONDS
    if is_notebook():
        return NotebookProgress(first)
    return TerminalDisplay(first) if is_live(sys.stderr) else None
