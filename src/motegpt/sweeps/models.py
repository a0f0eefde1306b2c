"""The models that a sweep keeps, each a run in one file, named by the key of its row.

    models/KEY.motegpt      of every training that is ok       (`keep="all"`)
    best/KEY.motegpt        of the best one of each part       (`keep="best"`)

A file is written under a temporary name and renamed before its row is appended, so a training with a row has
its model. A model without a row is that of a training which runs again, and replaces it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from motegpt.sweeps.keys import LENGTH
from motegpt.sweeps.store import Row, Store
from motegpt.system.files import replace_file
from motegpt.system.runs import ENDING, KEPT
from motegpt.training.many import OK, score_of

MODEL = "model"  # the key of a row on its way from a worker: the contents of the file
FILE = "[0-9a-f]" * LENGTH + ENDING  # of a key


def models_in(folder: Path) -> dict[str, Path]:
    """Key -> file of the models that the folder of a sweep has."""
    return {path.stem: path for name in KEPT.values() for path in sorted((folder / name).glob(FILE))}


def rank(row: Row) -> tuple[float, str]:
    """Lowest for the best row; of equal ones, for the first in the order of keys."""
    return score_of(row), row["key"]


def best_first(rows: Iterable[Row]) -> list[Row]:
    """The rows that are ok."""
    return sorted((row for row in rows if row["status"] == OK), key=rank)


def without_model(folder: Path | None, keep: str | None, rows: Mapping[str, Row]) -> set[str]:
    """The keys of the rows whose models should be kept and are not there: those train again."""
    if folder is None or keep is None:
        return set()
    keys = [row["key"] for row in best_first(rows.values())]
    return {key for key in (keys if keep == "all" else keys[:1]) if not _file(folder, keep, key).is_file()}


def _file(folder: Path, keep: str, key: str) -> Path:
    return folder / KEPT[keep] / f"{key}{ENDING}"


class Models:
    """The models of the part of one driver. rows: that it has; keep: which."""

    def __init__(self, store: Store, keep: str, rows: Mapping[str, Row]) -> None:
        self._store, self._keep = store, keep
        self._best = min(map(rank, rows.values()), default=(math.inf, ""))
        self._folder = store.folder / KEPT[keep]
        self._temporary = self._folder / f".model{store.part.suffix}.new"
        with store.errors():
            self._folder.mkdir(exist_ok=True)
            self._temporary.unlink(missing_ok=True)
        self.clean()

    def write(self, rows: Iterable[Row]) -> None:
        """Take the models out of rows and write those to keep."""
        for row in rows:
            contents = row.pop(MODEL, None)
            if contents is None or (self._keep == "best" and rank(row) >= self._best):
                continue
            self._best = min(self._best, rank(row))
            with self._store.errors(self._folder):
                replace_file(_file(self._store.folder, self._keep, row["key"]), self._temporary, contents)

    def clean(self) -> None:
        """Once the rows are written: delete the former best of this part."""
        if self._keep == "best":
            for path in self._folder.glob(FILE):
                if path.stem != self._best[1] and self._store.part.has(path.stem):
                    with self._store.errors():
                        path.unlink(missing_ok=True)
