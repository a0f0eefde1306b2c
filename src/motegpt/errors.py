"""Exception hierarchy.

MotegptError                    exit code 1: the operation failed
├── TrainingDiverged            the loss is not finite, or ended far above that of a uniform guess
├── GradientMismatch            an engine's gradient disagrees with finite differences
├── TriesExhausted              sampling found fewer texts than requested
├── OutOfMemory                 the device has too little memory for a training step
├── RankLost                    another process of a distributed training exited or does not respond
└── UsageError                  exit code 2: nothing ran, nothing was written
    ├── SettingError            an unknown setting, or a value out of range
    ├── DataError               unreadable data, or nothing to learn from it
    ├── PrefixError             a prefix that the model cannot continue
    ├── RunFolderError          a missing, incompatible or damaged run folder, or one not to be overwritten
    ├── EngineUnavailable       an engine whose library is not installed or cannot be loaded
    └── LibraryUnavailable      another required library that is not installed or cannot be loaded

TrainingInterrupted             a KeyboardInterrupt that carries the model trained so far

Each message is one line: the expected value, the actual value, and the likely repair. Settings appear in
backticks as in Python: `steps`, `n_embd=20`, `out='runs/b'`. The command line converts them to flags
(views/text.py).
"""

from __future__ import annotations

TYPE_CHECKING = False  # this module is imported before anything else
if TYPE_CHECKING:
    from typing import Any

INTERRUPTED = 130  # exit code of an interrupted command
# File names in messages may contain line breaks or terminal control codes.
ESCAPES = {code: repr(chr(code))[1:-1] for code in (*range(32), *range(127, 160), 0x2028, 0x2029)}


class MotegptError(Exception):
    """Base class of all motegpt errors."""

    exit_code = 1

    def __str__(self) -> str:
        """The message on one line, control characters escaped."""
        return super().__str__().translate(ESCAPES)


class TrainingDiverged(MotegptError):
    """The loss is not finite, or the loss of the last steps is far above that of a uniform guess.

    step: the number of the step whose loss or parameters are not finite, counted from 1.
    """

    def __init__(self, message: str, step: int | None = None) -> None:
        super().__init__(message)
        self.step = step


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C during a training of the Python API. model: the GPT trained so far."""

    def __init__(self, message: str, model: object = None) -> None:
        super().__init__(message)
        self.model: Any = model


class GradientMismatch(MotegptError):
    """A gradient differs from its finite difference by more than the tolerance."""


class TriesExhausted(MotegptError):
    """No further text met the conditions within `tries` attempts; the texts before are valid."""


class OutOfMemory(MotegptError):
    """The device has too little memory for a training step; the message names settings that need less."""


class RankLost(MotegptError):
    """Another process of a distributed training exited or does not respond."""


class UsageError(MotegptError):
    """Invalid arguments, settings or input files."""

    exit_code = 2


class SettingError(UsageError):
    """A setting is unknown, missing, of the wrong type or out of range."""


class DataError(UsageError):
    """A data file is missing, empty or not text, or there is nothing to learn from it."""


class PrefixError(UsageError):
    """A prefix has characters outside the vocabulary, or leaves no room for new tokens."""


class RunFolderError(UsageError):
    """A run folder is missing, incomplete, incompatible or damaged, or would be overwritten."""


class EngineUnavailable(UsageError):
    """An engine cannot run here; the message names the missing package or the cause."""


class LibraryUnavailable(UsageError):
    """An optional library is missing or broken; the message names the package or the cause."""
