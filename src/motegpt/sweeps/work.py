"""What a worker does: train at the points of a group, in any thread, process or machine."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from motegpt.config.text import counted
from motegpt.data.ids.documents import IdDocuments
from motegpt.engines import engine_class
from motegpt.errors import DataError, EngineUnavailable, RunFolderError
from motegpt.sweeps.models import MODEL
from motegpt.sweeps.store import Row
from motegpt.sweeps.table import Point
from motegpt.training.data import Data
from motegpt.training.many import OK, Ended, train_one
from motegpt.training.write_run import Trained

MAX_DATA = 4  # different data that a worker keeps in memory
Group = list[tuple[str, Point]]  # keys and points

_known: dict[Any, Data] = {}
_lock = Lock()


def never() -> bool:
    """A training that nobody stops."""
    return False


class Work(NamedTuple):
    """What the trainings of a sweep have in common.

    paths: of the data, absolute; documents: in memory, texts or ids; neither: the built-in names. settings:
    of the data, those that all points share; digest: of the contents, which each worker compares; curves:
    rows have them; keep: rows have models, "all" or those that are the "best" of a group so far; is_whole:
    whether documents in memory, if there are any, were sent along (see Runner).
    """

    paths: tuple[str, ...] | None
    documents: tuple[str, ...] | IdDocuments | None
    settings: tuple[tuple[str, Any], ...]
    digest: str
    curves: bool = False
    keep: str | None = None
    is_whole: bool = True

    def without_documents(self) -> Work:
        """The same for a worker that has read the documents before; of files nothing is left out."""
        return self if self.documents is None else self._replace(documents=None, is_whole=False)

    def data(self) -> Data | None:
        """The data, read once per process; None if they were not sent to this one.

        DataError if they differ from those that the sweep began with.
        """
        with _lock:
            if self._key not in _known:
                if not self.is_whole:
                    return None
                source = self.documents if self.paths is None else [Path(path) for path in self.paths]
                try:
                    self._remember(Data(source, **dict(self.settings)))
                except DataError as error:
                    raise DataError(f"on {host()}: {error}") from None
            return _known[self._key]

    def remember(self, data: Data) -> None:
        """Keep what was read in this process."""
        with _lock:
            self._remember(data)

    def forget(self) -> None:
        """Let the data of this process go."""
        with _lock:
            _known.pop(self._key, None)

    def _remember(self, data: Data) -> None:
        if data.digest != self.digest:
            raise DataError(
                f"data: expected {self.named} as the sweep began with, got other contents; give "
                "each machine the same"
            )
        while len(_known) >= MAX_DATA:
            del _known[next(iter(_known))]
        _known[self._key] = data

    @property
    def _key(self) -> Any:
        return self.paths, self.settings, self.digest

    @property
    def named(self) -> str:
        """The data in messages."""
        if self.documents is not None:
            of = " of ids" if isinstance(self.documents, IdDocuments) else ""
            return f"{counted(len(self.documents), 'sequence' if of else 'document')}{of} in memory"
        return "the built-in names" if self.paths is None else ", ".join(self.paths)


def run_group(
    work: Work, group: Group, stopped: Callable[[], bool] = never, abandoned: Callable[[], bool] = never
) -> list[Row] | None:
    """The rows of a group of trainings, with their keys, and models to keep as MODEL.

    None if the documents were not sent to this process. RunFolderError if a model cannot be packed.

    stopped: asked between trainings; abandoned: asked during one, which then has no row. DataError and
    EngineUnavailable on a machine where the data are other, or an engine is missing.
    """
    for engine in {point["engine"] for _, point in group}:
        _check_engine(engine)
    data, rows, best = work.data(), list[Row](), math.inf
    if data is None:
        return None
    for index, (key, point) in enumerate(group):
        ended = train_one(index, point, data, work.curves, abandoned)
        if ended is not None:
            row = ended.row
            del row["index"]
            rows.append({"key": key, **row, "host": host()})
            if row["status"] == OK and (work.keep == "all" or (work.keep == "best" and ended.score <= best)):
                rows[-1][MODEL] = _packed(ended)
            best = min(best, ended.score)
        if ended is None or stopped():
            break
    return rows


def _packed(ended: Ended) -> bytes:
    """The model as the contents of a file; RunFolderError, which ends the sweep, if there is no room."""
    assert ended.trainer is not None
    try:
        return Trained.of(ended.trainer, ended.records).as_file()
    except (OSError, RunFolderError) as error:
        raise RunFolderError(
            f"keep: expected room for a model in the temporary folder of {host()}, got {error}; free some, "
            "or set TMPDIR; the rows before are kept, and the same call continues"
        ) from None


def _check_engine(name: str) -> None:
    """EngineUnavailable on a machine that lacks an engine of the sweep: no reason to refuse its trainings."""
    try:
        engine_class(name)
    except EngineUnavailable as error:
        raise EngineUnavailable(f"{error}; it is needed on {host()}") from error


def host() -> str:
    """The name of this machine."""
    import socket

    return socket.gethostname()
