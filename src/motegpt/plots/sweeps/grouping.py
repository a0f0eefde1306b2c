"""What pictures of a sweep share: which rows a mark stands for, scales and texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from motegpt.config.sections import section_of
from motegpt.config.text import counted, shortened
from motegpt.errors import SettingError, UsageError
from motegpt.sweeps.results import LOSSES, Cell, Results
from motegpt.sweeps.store import Row
from motegpt.sweeps.values import CHOICES
from motegpt.training.many import DIVERGED, OK, RESULTS
from motegpt.views.text import setting_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOG_SPAN = 10  # an axis is logarithmic where its values span more than this factor
WIDE = 1000  # span of a logarithmic axis from which on only powers of ten are labeled
THOUSAND = 1000  # numbers from it on have a comma
ROOM = 0.02  # of the highest value, below zero
UNITS = dict.fromkeys(LOSSES, "nats per token")


def checked_axis(results: Results, option: str, name: str) -> str:
    """A setting or a number of rows; UsageError for another name, or if no training has ended."""
    if not trained(results):
        raise UsageError(f"plot: expected a sweep with rows, got none in {results.folder}")
    if name not in RESULTS and name not in CHOICES:
        try:
            section_of(name)
        except SettingError as error:
            raise UsageError(f"{option}: {error}") from None
    return name


def numbers_axis(results: Results, option: str, name: str) -> str:
    """As checked_axis; UsageError unless all values are numbers."""
    checked_axis(results, option, name)
    for cell in results.cells([name], results.measure, trained(results)):
        if not is_number(cell.values[0]):
            raise UsageError(f"{option}: expected numbers, got {name}={shortened(cell.values[0])}")
    return name


def trained(results: Results) -> list[Row]:
    """The rows of trainings that ended, well or not; of others there is nothing to draw."""
    return [row for row in results.rows.values() if row["status"] in (OK, DIVERGED)]


def is_number(value: Any) -> bool:
    """Whether a value is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def best_of_others(results: Results, names: Sequence[str], measure: str) -> list[Cell]:
    """A cell for each combination of values of some settings: the best by the other varied settings.

    Rows that differ in repeated settings alone are in one cell; best: of the best median.
    """
    others = [name for name in results.table.varied if name not in names]
    found: dict[tuple[Any, ...], list[Cell]] = {}
    for cell in results.cells([*names, *others], measure, trained(results)):
        found.setdefault(cell.values[: len(names)], []).append(cell)
    best = {values: min(cells, key=lambda cell: cell.rank(measure)) for values, cells in found.items()}
    return [cell._replace(values=values) for values, cell in best.items()]


def is_log(values: Sequence[Any]) -> bool:
    """Whether values belong on a logarithmic axis: positive numbers that span more than LOG_SPAN."""
    return all(is_number(value) and value > 0 for value in values) and max(values) > LOG_SPAN * min(values)


def set_scale(axes: Axes, which: str, values: Sequence[float]) -> None:
    """A logarithmic axis where the values span much, with plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis = axes.xaxis if which == "x" else axes.yaxis
    if is_log(values):
        axes.set(**{f"{which}scale": "log"})
        if max(values) < WIDE * min(values):
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: number_text(value)))
        axis.set_minor_formatter(NullFormatter())
    elif max(values) >= THOUSAND:
        axis.set_major_formatter(FuncFormatter(lambda value, _: number_text(value)))


def begin_at_zero(axes: Axes, values: Sequence[float]) -> None:
    """No vertical axis below zero for values that are not, but for a little room."""
    low, high = axes.get_ylim()
    if low < 0 <= min(values):
        axes.set_ylim(-ROOM * high, high)


def label_of(name: str) -> str:
    """The name of an axis, with its unit."""
    return f"{name} ({UNITS[name]})" if name in UNITS else name


def number_text(value: float) -> str:
    """0.00316, 12.5 or 12,500"""
    return f"{value:,.10g}"


def text_of(value: Any) -> str:
    """A value of a setting, with three digits if it is no whole number."""
    if not is_number(value):
        return setting_text(value)
    return number_text(float(f"{value:.3g}") if isinstance(value, float) else value)


def subtitle_of(results: Results, names: Sequence[str], *more: str) -> str:
    """The data, the repeats, and what the marks leave out."""
    data = results.recorded.data.rpartition("/")[2]
    parts = [f"{counted(len(results.rows), 'training')} on {data}"]
    repeats = 1
    for values in results.table.repeat.values():
        repeats *= len(values)
    if repeats > 1:
        parts.append(f"{repeats} {' and '.join(results.table.repeat)}s each")
    others = [name for name in results.table.varied if name not in names]
    if others:
        parts.append(f"best {', '.join(others[:3])}{'…' if len(others) > 3 else ''}")
    return " · ".join([*parts, *more])
