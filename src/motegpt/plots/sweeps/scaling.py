"""The best loss over the number of parameters, with a fitted scaling law."""

from __future__ import annotations

from typing import TYPE_CHECKING

from motegpt.errors import UsageError
from motegpt.plots.canvas import GRID, INK, add_heading, drawing, new_figure
from motegpt.plots.curves import COLORS
from motegpt.plots.sweeps.grouping import best_of_others, label_of, numbers_axis, set_scale, subtitle_of
from motegpt.sweeps.results import LOSSES, Results
from motegpt.sweeps.scaling import Fit, Law, fit_law

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 7.6, 4.6  # inches
SIZE = "parameters"
POINTS = 100  # of the drawn law


@drawing()
def scaling_figure(results: Results, x: str = SIZE, measure: str | None = None) -> Figure:
    """The measure of the best settings of each size, over x, and the law L = E + A · N^-α.

    The law is that of the medians, which are drawn. The band is the bootstrap over seeds. UsageError below
    four sizes, and for a measure that is no loss.
    """
    import numpy as np

    measure = results.checked_measure(measure)
    if measure not in LOSSES:
        raise UsageError(
            f"measure: expected a loss for a scaling law, one of {', '.join(LOSSES)}, got {measure}; draw "
            "lines instead"
        )
    numbers_axis(results, "x", x)
    cells = [cell for cell in best_of_others(results, [x], measure) if cell.measured]
    if any(cell.values[0] <= 0 for cell in cells):
        raise UsageError(f"x: expected sizes above 0, got {min(cell.values[0] for cell in cells)} of {x}")
    fit = fit_law({cell.values[0]: cell.measured for cell in cells})
    figure = new_figure(WIDTH, HEIGHT)
    axes = figure.add_subplot()
    points = [(cell.values[0], y) for cell in cells for y in cell.measured]
    axes.plot(*zip(*points, strict=True), ".", color=COLORS[0], alpha=0.55, markersize=4)
    medians = [cell.median for cell in cells]
    axes.plot([cell.values[0] for cell in cells], medians, "o", color=COLORS[0], markersize=5)
    sizes = np.geomspace(min(cell.values[0] for cell in cells), max(cell.values[0] for cell in cells), POINTS)
    if len(fit.draws):
        low, high = np.quantile([Law(*law).at(sizes) for law in fit.draws], (0.05, 0.95), axis=0)
        axes.fill_between(sizes, low, high, color=COLORS[4], alpha=0.18, linewidth=0)
    axes.plot(sizes, fit.law.at(sizes), color=COLORS[4], linewidth=1.6)
    axes.text(
        0.97, 0.95, described(fit), transform=axes.transAxes, ha="right", va="top", fontsize=9, color=INK
    )
    set_scale(axes, "x", list(sizes))
    axes.set_xlabel(x)
    axes.set_ylabel(label_of(measure))
    axes.grid(color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    notes = "medians; band: 90 % bootstrap over seeds" if len(fit.draws) else "one seed, so no interval"
    add_heading(figure, f"{results.name}: {measure} over {x}", subtitle_of(results, [x], notes))
    return figure


def described(fit: Fit) -> str:
    """The law with the intervals of its parameters, a line each."""
    lines = ["L = E + A · N^-α"]
    for symbol, name in (("E", "floor"), ("A", "factor"), ("α", "exponent")):
        interval = fit.interval(name)
        ends = "" if interval is None else f" ({interval[0]:.3g} … {interval[1]:.3g})"
        lines.append(f"{symbol} = {getattr(fit.law, name):.3g}{ends}")
    return "\n".join(lines)
