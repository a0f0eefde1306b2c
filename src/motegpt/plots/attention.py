"""Attention maps of a text: one panel per layer and head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from motegpt.errors import UsageError
from motegpt.evaluation.inspect import attention, ids_of
from motegpt.plots.canvas import INK, PALE, drawing, head, new_figure, symbol, titled, turn_long

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from motegpt.engines.array.ops import Array
    from motegpt.views.runs import Run

COLORS, EDGE = "Blues", "#9aa7b5"
MOST = 8  # rows and columns of panels
SMALLEST, LARGEST = 1.25, 3.6  # inches of a panel
WIDEST, NARROWEST = 12.0, 4.6  # inches of the picture
CELL, LABELLED = 0.31, 0.11  # inches a cell needs to hold its number, and a line its label


@drawing()
def attention_figure(run: Run, text: str, layers: Sequence[int] = (), heads: Sequence[int] = ()) -> Figure:
    """Attention on `text`, one panel per layer and head: those given, or all, at most MOST of each.

    Raises DataError or PrefixError for a text that the model cannot read, UsageError for an unknown layer or
    head.
    """
    model = run.config.model
    layers = chosen("layer", layers, model.n_layer)
    heads = chosen("head", heads, model.n_head)
    ids = ids_of(text, run.tokenizer, model.block_size)
    maps = attention(run.parameters(), model, ids)
    figure = _figure(maps, [symbol(s) for s in symbols_of(run, ids)], layers, heads)
    drawn = f"{len(layers)} of {model.n_layer} layers, {len(heads)} of {model.n_head} heads"
    every = len(layers) * len(heads) == model.n_layer * model.n_head
    head(
        figure,
        f"{run.name}: attention on {titled(text)}",
        f"{'each row adds up to 1' if every else drawn}{beginning(run)}",
    )
    return figure


def symbols_of(run: Run, ids: Sequence[int]) -> list[str]:
    """Each id decoded; bytes that are not text by themselves as <C3>."""
    names = [run.tokenizer.decode([token]) for token in ids]
    return [
        f"<{run.tokenizer.token_bytes(token).hex().upper()}>" if "\ufffd" in name else name
        for token, name in zip(ids, names, strict=True)
    ]


def beginning(run: Run) -> str:
    """An explanation of the first symbol, if there is a BOS."""
    return "" if run.tokenizer.bos is None else " · ⊢ begins the text"


def chosen(what: str, named: Sequence[int], count: int) -> list[int]:
    """The given ones, or all, or as many as fit, evenly spaced."""
    for one in named:
        if not 0 <= one < count:
            raise UsageError(f"{what}: expected 0 to {count - 1}, got {one}")
    if len(set(named)) > MOST:
        raise UsageError(f"{what}: expected at most {MOST} in a picture, got {len(set(named))}")
    if named:
        return sorted(set(named))
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, MOST))})


def _figure(maps: Array, labels: list[str], layers: list[int], heads: list[int]) -> Figure:
    """The panels and their common color scale."""
    size = panel_size(len(labels), max(len(layers), len(heads)))
    width = max(size * len(heads) + 1.3, NARROWEST)
    figure = new_figure(width, size * len(layers) + 1.35, compressed=True)
    grid = figure.subplots(len(layers), len(heads), squeeze=False)
    for layer, row in zip(layers, grid, strict=True):
        for which, axes in zip(heads, row, strict=True):
            image = _panel(axes, maps[layer, which], size / len(labels))
            axes.set_title(f"layer {layer}, head {which}", fontsize=9 if size > 1.6 else 7.5)
            _ticks(axes, labels, size, outer=(layer == layers[-1], which == heads[0]))
    bar = figure.colorbar(image, ax=grid, shrink=min(1.0, 3.0 / (size * len(layers))), pad=0.02)
    bar.outline.set_visible(False)
    bar.set_label("attention")
    grid[-1, 0].set_xlabel("key position", fontsize=8.5)
    grid[-1, 0].set_ylabel("query position", fontsize=8.5)
    return figure


def panel_size(positions: int, panels: int) -> float:
    """Inches of a panel: large enough for labels and numbers, within the bounds of the figure."""
    wanted = max(min(max(CELL * positions, 1.6), LARGEST), (NARROWEST - 1.3) / panels)
    return max(SMALLEST, min(wanted, WIDEST / panels))


def _panel(axes: Axes, weights: Array, cell: float) -> Any:
    """One map; future positions stay empty. cell: inches."""
    future = np.triu(np.ones_like(weights, dtype=bool), k=1)
    shown = np.ma.masked_array(weights, future)
    image = axes.imshow(shown, cmap=COLORS, vmin=0, vmax=1, interpolation="nearest")
    axes.spines[:].set_visible(False)
    edge = np.repeat(np.arange(len(weights) + 1), 2) - 0.5  # the stairs between the past and the future
    axes.plot(edge[1:], edge[:-1], color=EDGE, linewidth=0.5)
    if cell >= CELL:
        for (t, u), p in np.ndenumerate(weights):
            if u <= t:
                color = "white" if p > 0.6 else INK
                axes.text(u, t, _two_digits(float(p)), ha="center", va="center", fontsize=7, color=color)
    return image


def _two_digits(p: float) -> str:
    """.25; 1 for what is nearly so, nothing for nearly nothing."""
    return "" if p < 0.005 else "1" if p >= 0.995 else f"{p:.2f}".removeprefix("0")


def _ticks(axes: Axes, labels: list[str], size: float, outer: tuple[bool, bool]) -> None:
    """Characters at the outer panels, or numbers if they do not all fit."""
    fitting = max(1, int(size / LABELLED))
    every = 1 if len(labels) <= fitting else -(-2 * len(labels) // fitting)  # numbers take twice the room
    at = range(0, len(labels), every)
    font = min(9.0, 72 * size / len(labels) * every * 0.8)
    axes.tick_params(length=0, pad=2, labelsize=max(font, 5.0), labelcolor=INK if every == 1 else PALE)
    texts = [labels[i] for i in at] if every == 1 else [f"{i}" for i in at]
    axes.set_xticks(at, texts if outer[0] else [])
    if every == 1:
        turn_long(axes.get_xticklabels())
    axes.set_yticks(at, texts if outer[1] else [])
