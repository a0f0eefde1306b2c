"""A measure over two settings, as a map of colors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from motegpt.errors import UsageError
from motegpt.plots.canvas import INK, PALE, add_heading, drawing, new_figure
from motegpt.plots.sweeps.grouping import best_of_others, checked_axis, label_of, subtitle_of, text_of
from motegpt.sweeps.results import HIGHEST, Results, order_of
from motegpt.views.text import short_number

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

MAX_CELLS = 40  # in a row, and in a column
MANY, FILLED = 100, 0.25  # cells from which on this share of them has to have a value
CELL = 0.62  # inches
CHARACTER = 0.1  # inches, of a label of a column
MARGIN = 1.9  # inches beside the cells
DARK = 1.25  # the sum of red, green and blue of a color, each of 0 … 1, below which texts on it are white
WORST = 0.9  # quantile of the medians from which on colors are the same


@drawing()
def map_figure(results: Results, x: str, by: str, measure: str | None = None) -> Figure:
    """The median of a measure at each x (columns) and `by` (rows), with the best of each row framed.

    UsageError if there is nothing to draw, or too much.
    """
    import numpy as np

    measure = results.checked_measure(measure)
    names = [checked_axis(results, "x", x), checked_axis(results, "by", by)]
    cells = {cell.values: cell for cell in best_of_others(results, names, measure)}
    columns, rows = (sorted({values[i] for values in cells}, key=order_of) for i in (0, 1))
    for option, name, values in (("x", x, columns), ("by", by, rows)):
        if len(values) > MAX_CELLS:
            raise UsageError(f"{option}: expected at most {MAX_CELLS} values, got {len(values)} of {name}")
    if len(rows) * len(columns) >= MANY and len(cells) < FILLED * len(rows) * len(columns):
        raise UsageError(
            f"plot: expected a map with a value in at least {FILLED:.0%} of its cells, got {len(cells)} in "
            f"{len(rows) * len(columns):,}; draw lines instead, or map two settings of a grid"
        )
    medians = np.full((len(rows), len(columns)), np.nan)
    for (at_x, at_y), cell in cells.items():
        if cell.measured:
            medians[rows.index(at_y), columns.index(at_x)] = cell.median
    if np.isnan(medians).all():
        raise UsageError(f"plot: expected trainings with {measure}, got none in {results.folder}")
    labels = [text_of(value) for value in columns]
    width = max(CELL, CHARACTER * max(map(len, labels)))
    figure = new_figure(max(5.0, width * len(columns) + MARGIN), max(3.0, 0.7 * CELL * len(rows) + MARGIN))
    axes = figure.add_subplot()
    upward = measure in HIGHEST
    low, high = _range_of_colors(medians[~np.isnan(medians)], upward)
    colors = "viridis" if upward else "viridis_r"  # the best is bright
    image = axes.imshow(medians, cmap=colors, aspect="auto", origin="lower", vmin=low, vmax=high)
    axes.set_xticks(range(len(columns)), labels)
    axes.set_yticks(range(len(rows)), [text_of(value) for value in rows])
    axes.tick_params(length=0)
    axes.set_xlabel(x)
    axes.set_ylabel(by)
    for i, at_y in enumerate(rows):
        for j, at_x in enumerate(columns):
            found = cells.get((at_x, at_y))
            if found is not None:
                _label(axes, i, j, medians[i, j], found.diverged, len(found.rows), image)
        if not np.isnan(medians[i]).all():
            _frame(axes, i, int(np.nanargmax(medians[i]) if upward else np.nanargmin(medians[i])))
    figure.colorbar(image, ax=axes, label=label_of(measure), extend="min" if upward else "max")
    title = f"{results.name}: {measure} over {x} and {by}"
    add_heading(figure, title, subtitle_of(results, names, "medians · framed: best of each row"))
    return figure


def _range_of_colors(medians: NDArray[np.float64], upward: bool) -> tuple[float, float]:
    """From the best to all but the worst, which may be far off. upward: the highest is the best."""
    import numpy as np

    if upward:
        high = float(medians.max())
        return min(float(np.quantile(medians, 1 - WORST)), high - 1e-9), high
    low = float(medians.min())
    return low, max(float(np.quantile(medians, WORST)), low + 1e-9)


def _label(axes: Axes, row: int, column: int, median: float, diverged: int, count: int, image: Any) -> None:
    """The median in a cell, and how many trainings diverged."""
    is_empty = median != median
    text = "" if is_empty else f"{median:.3f}" if abs(median) < 1000 else short_number(median)
    if diverged:
        text += f"\n{diverged}/{count} div." if text else f"{diverged}/{count}\ndiverged"
    dark = not is_empty and sum(image.cmap(image.norm(median))[:3]) < DARK
    color = PALE if is_empty else "white" if dark else INK
    axes.text(column, row, text, ha="center", va="center", fontsize=7, color=color, linespacing=1.0)


def _frame(axes: Axes, row: int, column: int) -> None:
    """A frame around the best cell of a row."""
    from matplotlib.patches import Rectangle

    axes.add_patch(
        Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor="#D55E00", linewidth=1.8, zorder=3)
    )
