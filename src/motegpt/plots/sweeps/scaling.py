"""The best loss over the number of parameters, with a fitted scaling law."""

from __future__ import annotations

from math import isinf
from typing import TYPE_CHECKING

from motegpt.config.text import shortened
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
WIDTH_OR_DEPTH, LENGTH = "`n_embd` or `n_layer`", "`steps`"
# What a law can be of, and the settings that change it.
SIZES = {
    SIZE: WIDTH_OR_DEPTH, "operations": WIDTH_OR_DEPTH, "tokens": LENGTH, "steps": LENGTH,
    "n_embd": "`n_embd`", "n_layer": "`n_layer`", "n_hidden": "`n_hidden`",
}  # fmt: skip
POINTS = 100  # of the drawn law


@drawing()
def scaling_figure(results: Results, x: str = SIZE, measure: str | None = None) -> Figure:
    """The measure of the best settings of each size, over x, and the law L = E + A · N^-α.

    The law is that of the medians, which are drawn. The band is the bootstrap over seeds. UsageError for
    an x that is no size, a measure that is no loss, and as fit_law.
    """
    import numpy as np

    measure = results.checked_measure(measure)
    if measure not in LOSSES:
        raise UsageError(
            f"measure: expected a loss for a scaling law, one of {', '.join(LOSSES)}, got {measure}; draw "
            "lines instead"
        )
    if x not in SIZES:
        raise UsageError(
            f"x: expected a size for a scaling law, one of {', '.join(SIZES)}, got {shortened(x)}"
        )
    numbers_axis(results, "x", x)
    cells = [cell for cell in best_of_others(results, [x], measure) if cell.measured]
    if any(cell.values[0] <= 0 for cell in cells):
        raise UsageError(f"x: expected sizes above 0, got {min(cell.values[0] for cell in cells)} of {x}")
    fit = fit_law({cell.values[0]: cell.measured for cell in cells}, SIZES[x])
    figure = new_figure(WIDTH, HEIGHT)
    axes = figure.add_subplot()
    points = [(cell.values[0], y) for cell in cells for y in cell.measured]
    axes.plot(*zip(*points, strict=True), ".", color=COLORS[0], alpha=0.55, markersize=4)
    medians = [cell.median for cell in cells]
    axes.plot([cell.values[0] for cell in cells], medians, "o", color=COLORS[0], markersize=5)
    span = np.geomspace(min(cell.values[0] for cell in cells), max(cell.values[0] for cell in cells), POINTS)
    if len(fit.draws):
        low, high = np.quantile([Law(*law).at(span) for law in fit.draws], (0.05, 0.95), axis=0)
        axes.fill_between(span, low, high, color=COLORS[4], alpha=0.18, linewidth=0)
    axes.plot(span, fit.law.at(span), color=COLORS[4], linewidth=1.6)
    axes.text(
        0.97, 0.95, described(fit), transform=axes.transAxes, ha="right", va="top", fontsize=9, color=INK
    )
    set_scale(axes, "x", list(span))
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
        lines.append(f"{symbol} = {getattr(fit.law, name):.3g}{_ends(fit.interval(name))}")
    return "\n".join(lines)


def _ends(interval: tuple[float, float] | None) -> str:
    """(0.21 … 0.3), or which ends the losses do not determine"""
    if interval is None:
        return ""
    low, high = ("" if isinf(end) else f"{end:.3g}" for end in interval)
    if low and high:
        return f" ({low} … {high})"
    if not low and not high:
        return " (not determined)"
    return f" (from {low}, not determined above)" if low else f" (to {high}, not determined below)"
