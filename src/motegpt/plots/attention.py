"""Attention maps of a text: one panel per layer and head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from motegpt.errors import UsageError
from motegpt.evaluation.inspect import attention
from motegpt.plots.canvas import INK, PALE, add_heading, drawing, new_figure, quoted, rotate_long, symbol
from motegpt.plots.fonts import fit_fonts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from motegpt.engines.array.ops import Array
    from motegpt.views.runs import RunView

COLORS, EDGE = "Blues", "#9aa7b5"
MAX_PANELS = 8  # in a row or column
MIN_PANEL, MAX_PANEL = 1.25, 3.6  # inches of a panel
MAX_WIDTH, MIN_WIDTH = 12.0, 4.6  # inches of the figure
CELL, LABELED = 0.31, 0.11  # inches needed by a number in a cell, and by a label


@drawing()
def attention_figure(
    run: RunView, text: str, layers: Sequence[int] = (), heads: Sequence[int] = ()
) -> Figure:
    """Attention on `text`, one panel per layer and head (default: all, at most MAX_PANELS of each).

    Raises DataError or PrefixError for a text that the model cannot read, UsageError for an unknown layer or
    head.
    """
    model = run.config.model
    layers = selected("layer", layers, model.n_layer)
    heads = selected("head", heads, model.n_head)
    ids = run.ids_of(text)
    maps = attention(run.parameters(), model, ids, run.contexts())
    figure = _figure(maps, [symbol(s) for s in symbols_of(run, ids)], layers, heads)
    drawn = f"{len(layers)} of {model.n_layer} layers, {len(heads)} of {model.n_head} heads"
    every = len(layers) * len(heads) == model.n_layer * model.n_head
    add_heading(
        figure,
        f"{run.name}: attention on {quoted(text)}",
        f"{'each row adds up to 1' if every else drawn}{bos_note(run)}",
    )
    return figure


@drawing()
def draw_attention(
    axes: Sequence[Axes], run: RunView, text: str, layers: Sequence[int] = (), heads: Sequence[int] = ()
) -> None:
    """The same maps in given axes, by layer and then by head; UsageError for another number of axes."""
    model = run.config.model
    layers, heads = selected("layer", layers, model.n_layer), selected("head", heads, model.n_head)
    wanted = [(layer, head) for layer in layers for head in heads]
    if len(axes) != len(wanted):
        raise UsageError(
            f"ax: expected {len(wanted)} axes, one for each of {len(layers)} layers and {len(heads)} heads, "
            f"got {len(axes)}; choose maps by layers=0 and heads=0"
        )
    ids = run.ids_of(text)
    maps, labels = attention(run.parameters(), model, ids, run.contexts()), symbols_of(run, ids)
    for one, (layer, head) in zip(axes, wanted, strict=True):
        size = inches_of(one)
        _panel(one, maps[layer, head], size / len(labels))
        one.set_title(f"layer {layer}, head {head}", fontsize=9)
        _ticks(one, [symbol(label) for label in labels], size, outer=(True, True))
        fit_fonts(one)


def inches_of(axes: Axes) -> float:
    """The shorter side of axes."""
    box = axes.get_window_extent()
    return float(min(box.width, box.height) / axes.figure.dpi)


def symbols_of(run: RunView, ids: Sequence[int]) -> list[str]:
    """Decode each id by itself; bytes of an incomplete character become <C3>."""
    return run.tokenizer.names(ids)


def bos_note(run: RunView) -> str:
    """An explanation of the BOS symbol, if there is one."""
    return "" if run.tokenizer.bos is None else " · ⊢ begins the text"


def selected(kind: str, given: Sequence[int], count: int) -> list[int]:
    """The given indices, sorted; by default all below `count`, or MAX_PANELS of them, evenly spaced."""
    for index in given:
        if not 0 <= index < count:
            raise UsageError(f"{kind}: expected 0 to {count - 1}, got {index}")
    if len(set(given)) > MAX_PANELS:
        raise UsageError(f"{kind}: expected at most {MAX_PANELS} per figure, got {len(set(given))}")
    if given:
        return sorted(set(given))
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, MAX_PANELS))})


def _figure(maps: Array, labels: list[str], layers: list[int], heads: list[int]) -> Figure:
    """The panels and their common color scale."""
    size = panel_size(len(labels), max(len(layers), len(heads)))
    width = max(size * len(heads) + 1.3, MIN_WIDTH)
    figure = new_figure(width, size * len(layers) + 1.35, compressed=True)
    grid = figure.subplots(len(layers), len(heads), squeeze=False)
    for layer, row in zip(layers, grid, strict=True):
        for head, axes in zip(heads, row, strict=True):
            image = _panel(axes, maps[layer, head], size / len(labels))
            axes.set_title(f"layer {layer}, head {head}", fontsize=9 if size > 1.6 else 7.5)
            _ticks(axes, labels, size, outer=(layer == layers[-1], head == heads[0]))
    bar = figure.colorbar(image, ax=grid, shrink=min(1.0, 3.0 / (size * len(layers))), pad=0.02)
    bar.outline.set_visible(False)
    bar.set_label("attention")
    grid[-1, 0].set_xlabel("key position", fontsize=8.5)
    grid[-1, 0].set_ylabel("query position", fontsize=8.5)
    return figure


def panel_size(positions: int, panels: int) -> float:
    """Inches of a panel: large enough for labels and numbers, within the bounds of the figure."""
    wanted = max(min(max(CELL * positions, 1.6), MAX_PANEL), (MIN_WIDTH - 1.3) / panels)
    return max(MIN_PANEL, min(wanted, MAX_WIDTH / panels))


def _panel(axes: Axes, weights: Array, cell: float) -> Any:
    """Draw one map; future positions stay empty. cell: size in inches."""
    future = np.triu(np.ones_like(weights, dtype=bool), k=1)
    shown = np.ma.masked_array(weights, future)
    image = axes.imshow(shown, cmap=COLORS, vmin=0, vmax=1, interpolation="nearest")
    axes.spines[:].set_visible(False)
    edge = np.repeat(np.arange(len(weights) + 1), 2) - 0.5  # the staircase between past and future
    axes.plot(edge[1:], edge[:-1], color=EDGE, linewidth=0.5)
    if cell >= CELL:
        for (t, u), p in np.ndenumerate(weights):
            if u <= t:
                color = "white" if p > 0.6 else INK
                axes.text(u, t, _two_digits(float(p)), ha="center", va="center", fontsize=7, color=color)
    return image


def _two_digits(p: float) -> str:
    """.25; 1 if it rounds to 1, empty if it rounds to 0."""
    return "" if p < 0.005 else "1" if p >= 0.995 else f"{p:.2f}".removeprefix("0")


def _ticks(axes: Axes, labels: list[str], size: float, outer: tuple[bool, bool]) -> None:
    """Label the outer panels with characters, or with position numbers if characters do not fit."""
    fitting = max(1, int(size / LABELED))
    every = 1 if len(labels) <= fitting else -(-2 * len(labels) // fitting)  # numbers take twice the space
    at = range(0, len(labels), every)
    font = min(9.0, 72 * size / len(labels) * every * 0.8)
    axes.tick_params(length=0, pad=2, labelsize=max(font, 5.0), labelcolor=INK if every == 1 else PALE)
    texts = [labels[i] for i in at] if every == 1 else [f"{i}" for i in at]
    axes.set_xticks(at, texts if outer[0] else [])
    if every == 1:
        rotate_long(axes.get_xticklabels(), 72 * size / len(labels) / font)
    axes.set_yticks(at, texts if outer[1] else [])
