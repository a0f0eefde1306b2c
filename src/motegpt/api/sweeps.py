"""Sweeps from Python: the rows of many trainings, and pictures of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from contextlib import closing
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from motegpt.api.warn import warn
from motegpt.config.arguments import flag, path_of
from motegpt.errors import RunFolderError
from motegpt.sweeps.executors import pool_maker
from motegpt.sweeps.models import models_in
from motegpt.sweeps.results import Results
from motegpt.sweeps.run import Sweep
from motegpt.sweeps.store import Row
from motegpt.system.interrupts import DeferredSignals, default_interrupt

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from motegpt.sweeps.status import Status


class SweepRows(list[Row]):
    """The rows of a sweep, a list of dictionaries in the order of keys, which can be drawn."""

    def __init__(self, results: Results) -> None:
        super().__init__(results.rows.values())
        self._results = results

    @classmethod
    def load(cls, folder: str | PathLike[str]) -> Self:
        """The rows in the folder of a sweep, of all parts; RunFolderError if it is missing or damaged."""
        return cls(Results.read(path_of("folder", folder, RunFolderError)))

    @property
    def models(self) -> dict[str, Path]:
        """Key of a row -> file of its model, of the models that `keep` kept."""
        return {
            key: path for key, path in models_in(self._results.folder).items() if key in self._results.rows
        }

    def plot(
        self,
        x: str | None = None,
        by: str | None = None,
        *,
        form: Literal["lines", "map", "scaling"] = "lines",
        measure: str | None = None,
    ) -> Figure:
        """A picture, as `motegpt plot` draws it: docs/sweeps.md describes the forms.

        x, by: settings, or numbers of rows such as "parameters"; the default is what the sweep varies first.
        measure: "val_loss", if rows have it, or "loss". Raises UsageError if there is nothing to draw.
        """
        from motegpt.plots.sweeps.figure import sweep_figure

        return sweep_figure(self._results, form, x, by, measure)


def sweep(
    table: Mapping[str, Any] | str | PathLike[str],
    data: Any = None,
    *,
    out: str | PathLike[str] | None = None,
    threads: int | None = None,
    processes: int | None = None,
    dask: str | None = None,
    executor: Executor | None = None,
    workers: int | None = None,
    part: str | None = None,
    retry_failed: bool = False,
    curves: bool = False,
    keep: Literal["best", "all"] | None = None,
    progress: Callable[[Status], object] | None = None,
) -> SweepRows:
    """Train a model at each point of a table, and return a row for each.

    table: a TOML file or a dictionary, as docs/sweeps.md describes them. data: documents as of `GPT.train`,
    or Data, in place of the table's `data`. out: a folder for the rows; the same call continues a sweep
    that ended early, or that has more points now. threads (default: one per processor), processes, dask (the
    address of a scheduler) or executor (any concurrent.futures.Executor, of `workers` workers): where to run.
    part: "3/8", the third of eight parts, each run by a call of its own. retry_failed: train again where the
    row is `failed` or `lost`. curves: also keep the logged steps. keep: also keep the models, which
    `GPT.load` opens; "best": that of the lowest `best_val_loss`, or `loss` if nothing is held out. progress:
    called now and then with the Status.

    Rows are those of `train_many`, with `key`, `host` and `attempts`, in the order of keys; the same on any
    number of workers, but for `seconds`. Raises SettingError, DataError and RunFolderError before anything
    runs, and KeyboardInterrupt after Ctrl-C, once the trainings that run are kept.

    >>> table = {"preset": "microgpt", "fixed": {"steps": 20}, "grid": {"lr": [0.01, 0.03]}}
    >>> rows = sweep({**table, "repeat": {"seed": [1, 2]}}, ["anna", "hanna", "nan"])
    >>> sorted((row["lr"], row["seed"], row["status"]) for row in rows)
    [(0.01, 1, 'ok'), (0.01, 2, 'ok'), (0.03, 1, 'ok'), (0.03, 2, 'ok')]
    """
    make_pool = pool_maker(threads, processes, dask, executor, workers)
    found = Sweep.of(table, data, part=part, curves=curves, keep=keep)
    path = None if out is None else path_of("out", out, RunFolderError)
    retry_failed, signals = flag("retry_failed", retry_failed), DeferredSignals(default_interrupt())
    with signals, closing(found.run(path, make_pool, retry_failed, signals.__bool__)) as run:
        for status in run:
            while found.notes:
                warn(found.notes.pop(0), UserWarning)
            if progress is not None:
                progress(status)
    if signals:
        raise KeyboardInterrupt(f"sweep: interrupted after {found.status}; the same call continues")
    return SweepRows(found.results(path))
