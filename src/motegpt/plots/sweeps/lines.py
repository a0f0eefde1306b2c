"""A measure over a setting, one line for each value of another."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from motegpt.errors import UsageError
from motegpt.plots.canvas import GRID, PALE, add_heading, drawing, new_figure
from motegpt.plots.curves import COLORS, COLUMNS, LABEL_SIZE, LEGEND_LINE
from motegpt.plots.sweeps.grouping import (
    begin_at_zero,
    best_of_others,
    checked_axis,
    is_number,
    label_of,
    numbers_axis,
    set_scale,
    subtitle_of,
    text_of,
)
from motegpt.sweeps.results import Cell, Quartiles, Results, order_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 7.6, 4.8  # inches
MAX_LINES = 24
FEW = 10  # repeats: fewer are points, more are a band alone
MARGIN = 0.12  # of the height, for the count of trainings that diverged
COUNT = 0.08  # of the width, of the count at one x


@drawing()
def lines_figure(results: Results, x: str, by: str | None = None, measure: str | None = None) -> Figure:
    """The median of a measure over x, with a band of quartiles; by: a setting with a line for each value.

    Repeats are points if there are fewer than FEW. Trainings that diverged are counted at the top: at each x,
    or all together where the counts would overlap. UsageError if there is nothing to draw.
    """
    measure = results.checked_measure(measure)
    numbers_axis(results, "x", x)
    names = [x] if by is None else [x, checked_axis(results, "by", by)]
    lines = _lines(best_of_others(results, names, measure))
    if not any(cell.measured for cells in lines.values() for cell in cells):
        raise UsageError(f"plot: expected trainings with {measure}, got none in {results.folder}")
    if len(lines) > MAX_LINES:
        raise UsageError(f"by: expected at most {MAX_LINES} values, got {len(lines)} of {by}")
    legend = 0 if by is None else LEGEND_LINE * -(-len(lines) // COLUMNS)
    figure = new_figure(WIDTH, HEIGHT + legend)
    axes = figure.add_subplot()
    for color, (value, cells) in zip(colors_of(list(lines)), lines.items(), strict=True):
        _draw(axes, cells, color, None if by is None else f"{by} {text_of(value)}")
    set_scale(axes, "x", [cell.values[0] for cells in lines.values() for cell in cells])
    values = [y for cells in lines.values() for cell in cells for y in cell.measured]
    set_scale(axes, "y", values)
    _draw_diverged(axes, [cell for cells in lines.values() for cell in cells])
    begin_at_zero(axes, values)
    axes.set_xlabel(label_of(x))
    axes.set_ylabel(label_of(measure))
    axes.grid(color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    if by is not None:
        figure.legend(loc="outside lower left", ncols=COLUMNS, frameon=False, fontsize=LABEL_SIZE)
    is_repeated = any(len(cell.measured) > 1 for cells in lines.values() for cell in cells)
    band = "median and quartiles" if is_repeated else ""
    title = f"{results.name}: {measure} over {x}" + (f" by {by}" if by else "")
    add_heading(figure, title, subtitle_of(results, names, *filter(None, [band])))
    return figure


def _lines(cells: Sequence[Cell]) -> dict[Any, list[Cell]]:
    """The cells by the value of the second setting, if there is one."""
    found: dict[Any, list[Cell]] = {}
    for cell in cells:
        found.setdefault(cell.values[1] if len(cell.values) > 1 else None, []).append(cell)
    return {value: found[value] for value in sorted(found, key=order_of)}


def colors_of(values: Sequence[Any]) -> list[Any]:
    """A color for each value: along a scale for numbers, else distinct."""
    if len(values) > 1 and all(map(is_number, values)):
        from matplotlib import colormaps

        scale = colormaps["viridis"]
        return [scale(0.9 * i / (len(values) - 1)) for i in range(len(values))]
    return [COLORS[i % len(COLORS)] for i in range(len(values))]


def _draw(axes: Axes, cells: Sequence[Cell], color: Any, label: str | None) -> None:
    """A line through the medians, the band of quartiles, and single repeats."""
    drawn = [cell for cell in cells if cell.measured]
    x = [cell.values[0] for cell in drawn]
    quartiles = [Quartiles.of(cell.measured) for cell in drawn]
    medians = [one.median for one in quartiles]
    if not drawn:  # an entry of the legend alone
        axes.plot([], [], linestyle="", label=f"{label} (none ok)")
        return
    axes.plot(x, medians, "o-", color=color, markersize=3.5, linewidth=1.6, label=label)
    if any(len(cell.measured) > 1 for cell in drawn):
        low, high = [one.low for one in quartiles], [one.high for one in quartiles]
        axes.fill_between(x, low, high, color=color, alpha=0.18, linewidth=0)
    points = [(cell.values[0], y) for cell in drawn if 1 < len(cell.measured) < FEW for y in cell.measured]
    if points:
        axes.plot(*zip(*points, strict=True), ".", color=color, alpha=0.55, markersize=4, zorder=1.5)


def _draw_diverged(axes: Axes, cells: Sequence[Cell]) -> None:
    """At the top, how many of the trainings at each x diverged; or of all, where texts would overlap."""
    counts: dict[float, tuple[int, int]] = {}
    for cell in cells:
        diverged, count = counts.get(cell.values[0], (0, 0))
        counts[cell.values[0]] = diverged + cell.diverged, count + len(cell.rows)
    if not any(diverged for diverged, _ in counts.values()):
        return
    axes.margins(y=MARGIN)
    level = axes.get_ylim()[0]
    axes.update_datalim([(x, level) for x in counts])  # where all diverged, too
    axes.autoscale_view(scaley=False)
    look: dict[str, Any] = {
        "textcoords": "offset points", "va": "top", "fontsize": 7, "color": PALE, "linespacing": 0.95
    }  # fmt: skip
    at = sorted(x for x, (diverged, _) in counts.items() if diverged)
    places = axes.transAxes.inverted().transform(axes.transData.transform([(x, level) for x in at]))[:, 0]
    if any(right - left < COUNT for left, right in pairwise(places)):
        diverged, count = map(sum, zip(*counts.values(), strict=True))
        text = f"{diverged:,} of {count:,} diverged"
        axes.annotate(text, (1, 1), (-2, -2), xycoords="axes fraction", ha="right", **look)
        return
    for x in at:
        diverged, count = counts[x]
        axes.annotate(
            f"{diverged} of {count}\ndiverged", (x, 1), (0, -2), xycoords=("data", "axes fraction"),
            ha="center", **look,
        )  # fmt: skip
