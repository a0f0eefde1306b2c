"""The accuracies below a loss curve, of runs on data that are ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from motegpt.plots.canvas import GRID, PALE
from motegpt.views.runs import ACCURACY, TRAIN_ACCURACY, RunView

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEIGHT = 1.8  # inches
VALIDATION: dict[str, Any] = {
    "linewidth": 0.9, "marker": "o", "markersize": 4, "markerfacecolor": "white", "markeredgewidth": 1
}  # fmt: skip


def has_accuracy(runs: Sequence[RunView]) -> bool:
    """Whether there is any to draw."""
    return any(run.series(ACCURACY)[0] for run in runs)


def add_axes(figure: Figure, loss_height: float) -> tuple[Axes, Axes]:
    """Axes for losses, and below them for accuracies. loss_height: in inches."""
    above, below = figure.subplots(2, 1, height_ratios=(loss_height, HEIGHT))
    return above, below


def draw_accuracy(
    below: Axes, above: Axes, runs: Sequence[RunView], colors: Sequence[str], along: str
) -> None:
    """A line for each run, and a pale one for its training data, on the same horizontal axis as above."""
    for run, color in zip(runs, colors, strict=True):
        below.plot(*run.series(TRAIN_ACCURACY, along=along), color=color, linewidth=1.9, alpha=0.4)
        below.plot(*run.series(ACCURACY, along=along), color=color, **VALIDATION)
    below.text(
        0.99, 0.07, "pale: training data", transform=below.transAxes, ha="right", size=8.5, color=PALE
    )  # fmt: skip
    below.set_xlim(above.get_xlim())
    below.set_ylim(-0.03, 1.03)
    below.set_xticks(above.get_xticks())
    below.set_ylabel("accuracy")
    below.set_xlabel(above.get_xlabel())
    below.grid(color=GRID, linewidth=0.7)
    below.set_axisbelow(True)
    below.xaxis.set_major_formatter(above.xaxis.get_major_formatter())
    above.set_xlabel("")
