"""A run as one file, to send to someone: a plain zip of the run folder that every command reads as it is.

It has the files of the folder that are in ARCHIVED, without the state of the training: trainer.safetensors
and kept checkpoints are of no use where nothing can be resumed. Of recorded paths it has the file names
alone, as folders can name a person.
"""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from motegpt.errors import RunFolderError
from motegpt.system.files import replace_file
from motegpt.system.runs import ENDING
from motegpt.training.archive import Archive, write_archive
from motegpt.training.run_files import ARCHIVED, MODEL
from motegpt.training.run_folder import RunFolder


def archive_run(
    folder: RunFolder, out: Path, checkpoint: int | str | None = None, overwrite: bool | None = None
) -> None:
    """Write a run to one file. checkpoint: of the parameters, as in RunFolder.parameters.

    Raises RunFolderError if the run is damaged, or the file exists, unless `overwrite` and it is a run.
    overwrite: None if the caller has no such argument.
    """
    check_archive_name(out, overwrite)
    members = folder.members(checkpoint)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write = partial(write_archive, members=members, viewed=(MODEL,))
        replace_file(out, out.with_name(f".{out.name}.{secrets.token_hex(4)}.new"), write)
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{out}: cannot be written ({error}); choose another") from None


def check_archive_name(out: Path, overwrite: bool | None = None) -> None:
    """RunFolderError unless a run may be written to this file. Only runs are ever overwritten.

    overwrite: as of archive_run.
    """
    if out.suffix != ENDING:
        raise RunFolderError(f"{out}: expected a file name that ends in {ENDING}")
    if out.is_dir() or (out.exists() and not out.is_file()):
        raise RunFolderError(f"{out}: expected a file to write a run to, got a folder or special file")
    if not out.exists() and not out.is_symlink():
        return
    if not overwrite:
        repair = "as nothing is overwritten" if overwrite is None else "or replace it with `overwrite=True`"
        raise RunFolderError(f"{out}: already exists; choose another, {repair}")
    try:
        Archive(out, ARCHIVED)
    except (OSError, ValueError):
        raise RunFolderError(f"{out}: holds something else than a run; choose another") from None


@contextmanager
def folder_for(out: Path, overwrite: bool) -> Iterator[Path]:
    """A folder to write a run to, which becomes the file `out` at the end."""
    check_archive_name(out, overwrite)
    with tempfile.TemporaryDirectory(prefix="motegpt-") as room:
        yield Path(room) / out.stem
        archive_run(RunFolder(Path(room) / out.stem), out, overwrite=overwrite)
