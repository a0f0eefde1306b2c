"""The rows of a sweep, grouped: what a summary and pictures show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple

from motegpt.config.presets import settings_of
from motegpt.config.text import shortened
from motegpt.errors import UsageError
from motegpt.sweeps.expansion import expand
from motegpt.sweeps.store import Recorded, Row, read_rows
from motegpt.sweeps.table import Point, Table
from motegpt.training.many import DIVERGED, OK, RESULTS

LOSSES = ("loss", "val_loss", "best_val_loss")  # in nats per token
MEASURES = ("val_loss", "loss")  # the measure by default: the first that a row has
HIGHEST = ("val_accuracy",)  # numbers that are best where they are highest, not lowest


class Quartiles(NamedTuple):
    """The quartiles of some numbers, interpolated linearly."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Quartiles:
        at_least_two = values if len(values) > 1 else [*values, *values]
        return cls(*quantiles(at_least_two, n=4, method="inclusive"))


class Cell(NamedTuple):
    """The rows with the same values of some settings. values: theirs; measured: of the rows that are ok."""

    values: tuple[Any, ...]
    rows: list[Row]
    measured: list[float]

    @property
    def median(self) -> float:
        """The median of the measure; infinite if no row is ok."""
        return median(self.measured) if self.measured else float("inf")

    def rank(self, measure: str) -> float:
        """A number that is lowest for the best cell; infinite if no row is ok."""
        return -self.median if measure in HIGHEST and self.measured else self.median

    @property
    def diverged(self) -> int:
        """The number of rows that diverged."""
        return sum(row["status"] == DIVERGED for row in self.rows)


@dataclass(frozen=True)
class Results:
    """A sweep on disk: its table, all its points and the rows that there are, by key."""

    folder: Path
    recorded: Recorded
    table: Table
    points: dict[str, Point]
    rows: dict[str, Row]

    @classmethod
    def read(cls, folder: str | Path) -> Results:
        """Without rows of former tables; RunFolderError for a folder without a sweep, or a damaged one."""
        path = Path(folder)
        recorded = Recorded.read(path)
        table = Table.of(recorded.table)
        points = expand(table, "", recorded.digest)
        rows = read_rows(path)
        return cls(path, recorded, table, points, {key: rows[key] for key in points if key in rows})

    @property
    def name(self) -> str:
        """The name of the sweep, or else of its folder."""
        return self.table.name or self.folder.absolute().name

    @property
    def counts(self) -> Counter[str]:
        """Rows by status."""
        return Counter(row["status"] for row in self.rows.values())

    @property
    def measure(self) -> str:
        """The measure by default: the loss on held-out documents, if any row has it."""
        return next(filter(self._is_measured, MEASURES), MEASURES[-1])

    def checked_measure(self, name: str | None) -> str:
        """A number that rows have; UsageError for another, or if none has it."""
        chosen = self.measure if name is None else name
        if chosen not in RESULTS:
            raise UsageError(f"measure: expected one of {', '.join(RESULTS)}, got {shortened(name)}")
        if not self._is_measured(chosen):
            raise UsageError(f"measure: expected rows with {chosen}, got none in {self.folder}")
        return chosen

    def _is_measured(self, name: str) -> bool:
        return any(row.get(name) is not None for row in self.rows.values())

    def value(self, row: Row, name: str) -> Any:
        """A setting or a number of a row; of a training that was refused, as its preset has it.

        A list, as JSON has it, is a tuple again, so that rows can be grouped by it.
        """
        point = self.points[row["key"]]
        known = next(filter(lambda values: name in values, (row, point)), settings_of(point["preset"]))
        value = known.get(name)
        return tuple(value) if isinstance(value, list) else value

    def cells(self, names: Sequence[str], measure: str, rows: Iterable[Row] | None = None) -> list[Cell]:
        """The rows grouped by their values of some settings, in the order of values."""
        found: dict[tuple[Any, ...], list[Row]] = {}
        for row in self.rows.values() if rows is None else rows:
            found.setdefault(tuple(self.value(row, name) for name in names), []).append(row)
        return [
            Cell(values, found[values], list(measured(found[values], measure)))
            for values in sorted(found, key=lambda values: [order_of(value) for value in values])
        ]

    def best(self, measure: str) -> list[Cell]:
        """The points with an ok row, repeats of one together, that of the best median first."""
        cells = [cell for cell in self.cells(self.table.varied, measure) if cell.measured]
        return sorted(cells, key=lambda cell: cell.rank(measure))


def measured(rows: Iterable[Row], measure: str) -> Iterator[float]:
    """The measure of the rows that are ok."""
    for row in rows:
        value = row.get(measure)
        if row["status"] == OK and isinstance(value, int | float):
            yield float(value)


def order_of(value: Any) -> tuple[int, Any]:
    """A key that sorts numbers before texts, and none first."""
    if value is None:
        return 0, 0
    return (1, value) if isinstance(value, int | float) else (2, str(value))
