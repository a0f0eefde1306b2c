"""Every error motegpt raises on purpose.

MotegptError                    exit code 1: it ran and failed
├── TrainingDiverged            the loss is no finite number, or ended far above guessing
├── GradientMismatch            an engine's gradient disagrees with finite differences
├── TriesExhausted              fewer texts were found than were asked for
├── OutOfMemory                 a device cannot hold what a step needs
├── RankLost                    another process of the training has ended or does not answer
└── UsageError                  exit code 2: nothing ran, nothing was written
    ├── SettingError            a setting that is unknown or out of its range
    ├── DataError               text that cannot be read or learned from
    ├── PrefixError             a prefix that the model cannot continue
    ├── RunFolderError          a run folder that is missing, foreign, damaged or in the way
    ├── EngineUnavailable       an engine whose library is not installed or cannot be loaded
    └── LibraryUnavailable      another library that is needed and is not installed or cannot be loaded

TrainingInterrupted             no error but a KeyboardInterrupt, with the model that was trained so far

Each message is one line: what was expected, what was given, and the likely fix. It names a setting as Python
does, in backticks: `steps`, `n_embd=20`, `out='runs/b'`. The command line shows flags in their place
(views/text.py).
"""

from __future__ import annotations

TYPE_CHECKING = False  # this module is imported before anything else
if TYPE_CHECKING:
    from typing import Any

INTERRUPTED = 130  # the exit code of a command that was interrupted
# A name of a file may hold a line break, or what a terminal obeys.
ESCAPES = {code: repr(chr(code))[1:-1] for code in (*range(32), *range(127, 160), 0x2028, 0x2029)}


class MotegptError(Exception):
    """The root: catch this to catch everything motegpt says about itself."""

    exit_code = 1

    def __str__(self) -> str:
        """The message in one line, whatever was put into it."""
        return super().__str__().translate(ESCAPES)


class TrainingDiverged(MotegptError):
    """The loss of a step is infinite or not a number, or that of the last steps is far above guessing."""


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C in a training of the Python API. model: the GPT that it has made so far."""

    def __init__(self, message: str, model: object = None) -> None:
        super().__init__(message)
        self.model: Any = model


class GradientMismatch(MotegptError):
    """A gradient is further from its finite difference than the tolerance allows."""


class TriesExhausted(MotegptError):
    """No more texts came that meet the conditions; what came before was good."""


class OutOfMemory(MotegptError):
    """A device cannot hold what a step needs; the message says what would need less."""


class RankLost(MotegptError):
    """A process that trains together with this one has ended or does not answer."""


class UsageError(MotegptError):
    """What was asked for cannot be done as asked."""

    exit_code = 2


class SettingError(UsageError):
    """A setting is unknown, missing, of the wrong kind or out of its range."""


class DataError(UsageError):
    """A data file is missing, empty, not text, or holds nothing to learn."""


class PrefixError(UsageError):
    """A prefix has characters the model never saw, or leaves no room to continue."""


class RunFolderError(UsageError):
    """A run folder is missing, incomplete, of another version, damaged, or would be overwritten."""


class EngineUnavailable(UsageError):
    """The engine exists but cannot run here; the message says what to install, or what failed."""


class LibraryUnavailable(UsageError):
    """What was asked for needs a library of an extra; the message says what to install, or what failed."""
