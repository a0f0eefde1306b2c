"""The picture of a sweep that is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from motegpt.config.text import shortened
from motegpt.errors import UsageError
from motegpt.plots.sweeps import FORMS
from motegpt.plots.sweeps.lines import lines_figure
from motegpt.plots.sweeps.map import map_figure
from motegpt.plots.sweeps.scaling import SIZE, scaling_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from motegpt.sweeps.results import Results


def sweep_figure(
    results: Results, form: str, x: str | None = None, by: str | None = None, measure: str | None = None
) -> Figure:
    """One of FORMS, by default over what the sweep varies first; UsageError if there is nothing to draw."""
    if form not in FORMS:
        raise UsageError(f"form: expected one of {', '.join(FORMS)}, got {shortened(form)}")
    if x is not None and x == by:
        raise UsageError(f"by: expected another setting than x, got {shortened(x)} for both")
    if form == "scaling":
        if by is not None:
            raise UsageError("by: expected none for a scaling law; leave it out")
        return scaling_figure(results, x or SIZE, measure)
    varied = [name for name in results.table.varied if name not in (x, by)]
    if x is None and not varied:
        raise UsageError("x: expected a setting, got none, and the sweep varies no other")
    x = x or varied.pop(0)
    if form == "lines":
        return lines_figure(results, x, by, measure)
    if by is None and not varied:
        raise UsageError("by: expected a setting for the rows of the map, got none")
    return map_figure(results, x, by or varied[0], measure)
