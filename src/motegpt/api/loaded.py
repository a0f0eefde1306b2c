"""Where a loaded model comes from, and what its run folder says about it while it is the same run."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from motegpt.config.arguments import path_of
from motegpt.errors import RunFolderError
from motegpt.training.fine_tune import step_of
from motegpt.training.run_files import MODEL
from motegpt.training.run_folder import BEST, LAST, TRAINER, RunFolder

if TYPE_CHECKING:
    from pathlib import Path

    from motegpt.data.tokenizers import Tokenizer
    from motegpt.training.begin import AnyPath
    from motegpt.training.state import RunConfig


@dataclass(frozen=True)
class Loaded:
    """checkpoint: as for RunFolder.parameters; files: the identities of the files with parameters."""

    folder: RunFolder
    checkpoint: int | str | None
    files: tuple[tuple[int, ...] | None, ...]

    @classmethod
    def of(cls, folder: RunFolder, checkpoint: int | str | None) -> Self:
        """To be called before the parameters are read, so that a change meanwhile is noticed."""
        return cls(folder, checkpoint, _identities(folder))

    @property
    def is_current(self) -> bool:
        """Whether the run has neither gone on nor been deleted or replaced since."""
        return _identities(self.folder) == self.files

    def records(self) -> list[dict[str, Any]]:
        """The records of the training; empty if the run is no longer the same. RunFolderError if damaged."""
        return self.folder.metrics() if self.is_current else []

    def bits(self) -> dict[str, float]:
        """Name -> bits per character, as Report.bits; otherwise as `records`."""
        return self.folder.report() if self.is_current else {}

    def step(self, config: RunConfig, tokenizer: Tokenizer) -> int | None:
        """The step of the parameters; None if it is not known."""
        if self.is_current or self.checkpoint not in (None, BEST, LAST):
            with suppress(RunFolderError):  # damaged since
                return step_of(self.folder, config, tokenizer, self.checkpoint)
        return None


def checkpoints(path: AnyPath) -> list[int]:
    """The steps of a run folder that GPT.load(path, checkpoint=step) loads, in order.

    Those that `keep` and `checkpoint_at` kept; RunFolderError if there is no run.
    """
    folder = RunFolder(path_of("checkpoints", path, RunFolderError))
    folder.config()
    return sorted({*folder.kept_steps(), *folder.steps_of_parameters()})


def _identities(folder: RunFolder) -> tuple[tuple[int, ...] | None, ...]:
    """Of files that are replaced as a whole; None in an archive, which is mapped and so never changes."""
    return tuple(_identity(folder.path / name) for name in (TRAINER, MODEL))


def _identity(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except (OSError, ValueError):  # ValueError: an invalid name
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
