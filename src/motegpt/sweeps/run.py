"""A sweep that is ready to run: for the command line and the Python API."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from motegpt.config.arguments import flag, is_path, path_of
from motegpt.config.fields import plain
from motegpt.config.sections import section_values
from motegpt.config.text import shortened
from motegpt.data.corpus import paths_of
from motegpt.data.ids.documents import IdDocuments
from motegpt.engines import default_engine, engine_class
from motegpt.engines.base import refuse
from motegpt.errors import SettingError, UsageError
from motegpt.sweeps.executors import Pool
from motegpt.sweeps.expansion import expand
from motegpt.sweeps.models import Models, without_model
from motegpt.sweeps.remarks import documents_cut
from motegpt.sweeps.results import Results
from motegpt.sweeps.runner import Runner
from motegpt.sweeps.status import RETRIED, Status
from motegpt.sweeps.store import Part, Recorded, Row, Store, as_json, merged, read_rows, without_curve
from motegpt.sweeps.table import Point, Table
from motegpt.sweeps.values import CHOICES
from motegpt.sweeps.work import Work
from motegpt.system.files import read_bounded_file
from motegpt.training.data import Data
from motegpt.training.many import KEEP, check_given

MAX_TOML_BYTES = 2**24
Given = Mapping[str, Any] | str | PathLike[str]


@dataclass
class Sweep:
    """A sweep that is ready to run. points: of all parts, by key; rows: of this part, once it has run."""

    table: Table
    points: dict[str, Point]
    work: Work
    recorded: Recorded
    part: Part
    rows: dict[str, Row]
    status: Status
    notes: list[str]

    @classmethod
    def of(
        cls,
        written: Given,
        data: Any = None,
        *,
        part: str | None = None,
        curves: bool = False,
        keep: str | None = None,
    ) -> Sweep:
        """Read the table and the data and expand the points; UsageError for what cannot be run."""
        curves, keep = flag("curves", curves), KEEP.check("keep", keep)
        written = read_table(written) if is_path(written) else builtins_of(written)  # type: ignore[arg-type]
        source = written.get("data") if data is None and isinstance(written, Mapping) else data
        table, which = Table.of(written), Part.of(part)
        if isinstance(source, Data):
            written = _with_settings(written, table, source.settings)
            table = Table.of(written)
        for given in table.uniform:
            check_given(given, curves, keep)
        engine = _checked_engine(table)
        work = _work(source, section_values(table.fixed, "data"))._replace(curves=curves, keep=keep)
        points = expand(table, engine, work.digest)
        named = {} if "engine" in {*table.combined, *table.repeat} else {"engine": engine}
        shown = {name: value for name, value in written.items() if name != "data"}
        recorded = Recorded(shown | named, work.digest, work.named)
        return cls(table, points, work, recorded, which, {}, Status(sum(map(which.has, points))), [])

    def run(
        self,
        out: Path | None,
        make_pool: Callable[[], Pool],
        retry_failed: bool,
        interrupted: Callable[[], bool],
    ) -> Generator[Status, None, None]:
        """Train at the points that have no row yet or run again; yields the status now and then."""
        if self.work.keep is not None and out is None:
            raise UsageError("keep: expected a folder for the models, got none; set `out`")
        pool, at_once = make_pool(), True
        try:
            with nullcontext() if out is None else Store(out, self.part) as store:
                before = {} if store is None else self._begin(store)
                retried = self.again(out, before, retry_failed)
                self.rows = {key: row for key, row in before.items() if key not in retried}
                self.status = Status(self.status.total, self.rows.values())
                missing = [(k, p) for k, p in self.points.items() if self.part.has(k) and k not in self.rows]
                self._remark_on(missing)
                attempts = {key: before[key].get("attempts", 1) for key in retried}
                models = Models(store, self.work.keep, self.rows) if store and self.work.keep else None

                def keep(rows: list[Row]) -> None:
                    if models is not None:
                        models.write(rows)
                    # As JSON, so that they are equal to those that are read.
                    rows = [merged(before.get(row["key"]), as_json(row)) for row in rows]
                    if store is not None:
                        store.append(rows, known=before)
                    if models is not None:
                        models.clean()
                    self.rows.update((row["key"], row) for row in rows)

                yield from Runner(missing, pool, self.work, self.status, keep, attempts).run(interrupted)
                self.rows = dict(sorted(self.rows.items()))
            at_once = False
        finally:
            pool.close(at_once)
            self.work.forget()

    def again(self, out: Path | None, rows: Mapping[str, Row], retry_failed: bool) -> set[str]:
        """The keys of rows whose trainings run again: failed ones, or without a model or curve to keep."""
        failed = {key for key in rows if retry_failed and rows[key]["status"] in RETRIED}
        curves = without_curve(rows, self.points) if self.work.curves else set()
        return failed | curves | without_model(out, self.work.keep, rows)

    def results(self, out: Path | None) -> Results:
        """The rows, as they are drawn and summarized. out: the folder, in messages."""
        return Results(out or Path("sweep"), self.recorded, self.table, self.points, self.rows)

    def _remark_on(self, points: list[tuple[str, Point]]) -> None:
        """Note once what each training alone would remark on."""
        data = self.work.data()
        assert data is not None, "it has been read in this process"
        remark = documents_cut((point for _, point in points), data)
        self.notes += [] if remark is None else [remark]

    def _begin(self, store: Store) -> dict[str, Row]:
        """Record the sweep in its folder; the rows that this part has there."""
        store.begin(self.recorded)
        self.notes += store.notes
        rows = read_rows(store.folder)
        return {key: row for key, row in rows.items() if key in self.points and self.part.has(key)}


def read_table(path: str | PathLike[str]) -> dict[str, Any]:
    """The table in a TOML file; its data are files, beside it unless their paths are absolute."""
    file = path_of("sweep", path, SettingError)
    try:
        written = tomllib.loads(read_bounded_file(file, MAX_TOML_BYTES).decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise SettingError(f"{file}: expected a TOML file, got {error}") from None
    except OSError as error:
        raise SettingError(f"{file}: expected a TOML file to read, got {error.strerror}") from None
    if "data" in written:
        names = written["data"] if isinstance(written["data"], list) else [written["data"]]
        if not names or not all(isinstance(name, str) and name for name in names):
            raise SettingError(f"{file}: data: expected a file or a list of files, got {shortened(names)}")
        written["data"] = [file.parent / name for name in names]
    return written


def builtins_of(written: Any) -> Any:
    """A table as JSON has it: ranges, arrays and other iterables as lists; its data as they are."""
    if isinstance(written, Mapping):
        return {key: value if key == "data" else builtins_of(value) for key, value in written.items()}
    value = plain(written)
    if isinstance(value, str) or not isinstance(value, Iterable):
        return value
    return [builtins_of(item) for item in value]


def _checked_engine(table: Table) -> str:
    """The engine of points that name none; an error if one is not installed or lacks a fixed setting."""
    name: str = table.fixed.get("engine") or default_engine()
    listed = {point["engine"] for points in table.together for point in points if "engine" in point}
    for engine in {name, *table.grid.get("engine", []), *listed}:
        engine_class(engine)
    if "engine" not in table.varied:
        settings = {key: value for key, value in table.fixed.items() if key not in CHOICES}
        refuse(engine_class(name).why_not(given=settings))
    return name


def _with_settings(written: dict[str, Any], table: Table, settings: Mapping[str, Any]) -> dict[str, Any]:
    """A table with the settings of a Data that it does not set: they are part of keys and of the record."""
    known = {*table.fixed, *table.combined, *table.repeat}
    given = {name: value for name, value in settings.items() if name not in known}
    return {**written, "fixed": {**written.get("fixed", {}), **builtins_of(given)}}


def _work(source: Any, settings: Mapping[str, Any]) -> Work:
    """What all trainings share; reads the data, so that bad ones are refused before anything runs."""
    data = source if isinstance(source, Data) and source.settings == settings else None
    source = source.source if isinstance(source, Data) else source
    paths = paths_of(source)
    source = list(source) if isinstance(source, Iterator) else source
    data = Data(source, **settings) if data is None else data
    in_memory = None if paths is not None or source is None else source
    work = Work(
        None if paths is None else tuple(str(path.absolute()) for path in paths),
        in_memory if in_memory is None or isinstance(in_memory, IdDocuments) else tuple(in_memory),
        tuple(sorted(settings.items())),
        data.digest,
    )
    work.remember(data)
    return work
