"""Curves of a statistic of one run: one for each tensor, layer or head (`log_statistics`)."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Literal

from motegpt.errors import RunFolderError
from motegpt.plots.canvas import GRID, add_heading, drawing, new_figure, printable
from motegpt.plots.curves import COLORS, COLUMNS, DASHES, HEIGHT, LABEL_SIZE, LEGEND_LINE, WIDTH
from motegpt.plots.sweeps.grouping import begin_at_zero, number_text, set_scale

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from motegpt.views.runs import RunView

UNITS = {"attention_entropy": "attention entropy (nats)"}


def statistics_of(run: RunView) -> dict[str, list[str]]:
    """The statistics in the records of a run, each with the tensors or places that it has."""
    found: dict[str, dict[str, None]] = {}
    for record in run.records:
        for key in record:
            statistic, _, of = key.partition("/")
            if of:
                found.setdefault(statistic, {})[of] = None
    return {statistic: list(of) for statistic, of in found.items()}


@drawing()
def statistic_figure(run: RunView, statistic: str, along: Literal["step", "tokens"] = "step") -> Figure:
    """The curves of a statistic; RunFolderError if the run has none of that name."""
    from matplotlib.ticker import FuncFormatter

    known = statistics_of(run)
    if statistic not in known:
        has = f"it has {', '.join(known)}" if known else "train with `log_statistics=True`"
        raise RunFolderError(f"{run.path}: has no statistic {printable(statistic)}; {has}")
    names = known[statistic]
    figure = new_figure(WIDTH, HEIGHT + LEGEND_LINE * ceil(len(names) / COLUMNS))
    axes = figure.add_subplot()
    values: list[float] = []
    for i, name in enumerate(names):
        x, y = run.series(f"{statistic}/{name}", along=along)
        dashes = DASHES[i // len(COLORS) % len(DASHES)]
        axes.plot(x, y, color=COLORS[i % len(COLORS)], linestyle=dashes, linewidth=1.3, label=printable(name))
        values += y
    if values:
        set_scale(axes, "y", values)
        begin_at_zero(axes, values)
    axes.set_xlabel("step" if along == "step" else "training tokens")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: number_text(x)))
    axes.set_ylabel(UNITS.get(statistic, statistic.replace("_", " ")))
    axes.grid(color=GRID, linewidth=0.7)
    figure.legend(loc="outside lower left", ncols=COLUMNS, frameon=False, fontsize=LABEL_SIZE)
    add_heading(figure, run.name, f"{statistic.replace('_', ' ')} at logged steps")
    return figure
