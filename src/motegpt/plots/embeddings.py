"""Embedding maps: the similarity of tokens, or of positions of a text, in the model's vectors.

Vectors are projected onto their first two principal components, and a heat map shows the cosine of each pair.
The vectors are the rows of wte for the vocabulary, or for a text the residual stream at each position, before
the first layer and after each layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from motegpt.errors import UsageError
from motegpt.evaluation.inspect import cosines, principal_plane, residual_stream
from motegpt.plots.attention import bos_note, symbols_of
from motegpt.plots.canvas import (
    GRID,
    INK,
    PALE,
    add_heading,
    drawing,
    new_figure,
    quoted,
    rotate_long,
    symbol,
)
from motegpt.plots.fonts import fit_fonts
from motegpt.plots.labels import label_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from motegpt.engines.array.ops import Array
    from motegpt.views.runs import RunView

COLORS = "RdBu"
MAX_CHARACTERS = 600  # sum over the names in a map
MAX_STAGES = 5
SPECIAL, LETTER, OTHER = "#D55E00", "#0072B2", "#4d4d4d"  # special tokens, letters, other tokens


@drawing()
def vocabulary_figure(run: RunView) -> Figure:
    """The token embeddings wte: their projection and the cosine of each pair."""
    vectors = np.asarray(run.parameters()["wte"], np.float64)
    shown = selected_tokens(vectors, [symbol(name) for name in symbols_of(run, range(len(vectors)))])
    names = symbols_of(run, shown)
    figure = new_figure(11.4, 5.9, compressed=True)
    plane, heat = figure.subplots(1, 2, width_ratios=(1, 1.06))
    points, shares = principal_plane(vectors[shown])
    _scatter(plane, points, shares, [symbol(name) for name in names], [color_of(name) for name in names])
    order = np.argsort(points[:, 0], kind="stable")
    image = _heat(heat, vectors[shown][order], [symbol(names[i]) for i in order], 5.0)
    heat.set_title("cosine; tokens from left to right as in the map", loc="left", fontsize=9, color=PALE)
    _bar(figure, image, heat)
    every = len(shown) == len(vectors)
    which = "all" if every else f"the {len(shown)} longest vectors of"
    add_heading(
        figure, f"{run.name}: token embeddings", f"{which} {len(vectors)} tokens, {vectors.shape[1]} wide"
    )
    return figure


def selected_tokens(vectors: Array, names: list[str]) -> list[int]:
    """The tokens to draw: those with the longest vectors, up to MAX_CHARACTERS in all names."""
    longest = np.argsort(-np.linalg.norm(vectors, axis=1), kind="stable")
    room = np.cumsum([len(names[i]) for i in longest]) <= MAX_CHARACTERS
    return sorted(int(i) for i in longest[room])


@drawing()
def text_figure(run: RunView, text: str) -> Figure:
    """The residual stream of a text, one column per stage: projection and the cosine of each pair.

    Raises DataError or PrefixError for a text that the model cannot read.
    """
    model = run.config.model
    ids = run.ids_of(text)
    stream = residual_stream(run.parameters(), model, ids, run.contexts())
    names = symbols_of(run, ids)
    stages = sorted({round(i) for i in np.linspace(0, model.n_layer, min(model.n_layer + 1, MAX_STAGES))})
    figure = new_figure(3.2 * len(stages) + 0.9, 7.2, compressed=True)
    grid = figure.subplots(2, len(stages), squeeze=False)
    signs = [symbol(name) for name in names]
    for stage, above, below in zip(stages, grid[0], grid[1], strict=True):
        points, shares = principal_plane(stream[stage])
        above.plot(*points.T, color=GRID, linewidth=1, zorder=1)
        _scatter(above, points, shares, signs, [color_of(name) for name in names])
        above.set_title("embedded" if stage == 0 else f"after layer {stage - 1}", loc="left", fontsize=10)
        image = _heat(below, stream[stage], signs, 2.6)
    _bar(figure, image, grid[1])
    add_heading(
        figure,
        f"{run.name}: residual stream of {quoted(text)}",
        f"lines join the positions in their order{bos_note(run)}",
    )
    return figure


@drawing()
def draw_map(axes: Axes, run: RunView, text: str | None, layer: int | None = None) -> None:
    """One map in given axes: of the token embeddings, or of a text after `layer` layers (default: all).

    Raises DataError or PrefixError for a text that the model cannot read, UsageError for an unknown layer.
    """
    model = run.config.model
    if text is None:
        vectors = np.asarray(run.parameters()["wte"], np.float64)
        ids: Sequence[int] = selected_tokens(
            vectors, [symbol(name) for name in symbols_of(run, range(len(vectors)))]
        )
        vectors, title = vectors[ids], "token embeddings"
    else:
        after = model.n_layer if layer is None else layer
        if not 0 <= after <= model.n_layer:
            raise UsageError(f"layer: expected 0 to {model.n_layer}, got {layer}")
        ids = run.ids_of(text)
        vectors = residual_stream(run.parameters(), model, ids, run.contexts())[after]
        title = f"{quoted(text)} after {after} of {model.n_layer} layers"
    points, shares = principal_plane(vectors)
    names = symbols_of(run, ids)
    _scatter(axes, points, shares, [symbol(name) for name in names], [color_of(name) for name in names])
    axes.set_title(title, loc="left", fontsize=10)
    fit_fonts(axes)


def color_of(name: str) -> str:
    """The color for a special token, a letter, or another token."""
    return SPECIAL if name in ("<BOS>", "<EOS>") else LETTER if name.isalpha() else OTHER


def _scatter(axes: Axes, points: Array, shares: Array, names: list[str], colors: list[str]) -> None:
    """Draw each name at its point, or beside it where names would overlap; both axes have the same scale."""
    size = min(13.0, max(6.0, 90 / len(names) ** 0.5))
    texts = [
        axes.text(
            x, y, name, ha="center", va="center", fontsize=size if len(name) < 3 else 0.6 * size, color=color
        )
        for (x, y), name, color in zip(points, names, colors, strict=True)
    ]
    label_points(axes, points, texts)
    reach = 1.12 * float(np.abs(points).max()) or 1.0
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    axes.grid(color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=7.5, length=2)
    axes.set_xlabel(f"1st component ({shares[0]:.0%} of variance)", fontsize=8.5)
    axes.set_ylabel(f"2nd component ({shares[1]:.0%} of variance)", fontsize=8.5)


def _heat(axes: Axes, vectors: Array, names: list[str], inches: float) -> Any:
    """Draw the cosines of all pairs of vectors, with names if they fit."""
    image = axes.imshow(cosines(vectors), cmap=COLORS, vmin=-1, vmax=1, interpolation="nearest")
    axes.spines[:].set_visible(False)
    font = min(9.0, 72 * inches / len(names) * 0.85)
    if font < 4.0:
        axes.set_xticks([])
        axes.set_yticks([])
        return image
    axes.set_xticks(range(len(names)), names)
    rotate_long(axes.get_xticklabels(), 72 * inches / len(names) / font)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(length=0, pad=2, labelsize=font, labelcolor=INK)
    return image


def _bar(figure: Figure, image: Any, axes: Any) -> None:
    bar = figure.colorbar(image, ax=axes, shrink=0.7, pad=0.02, ticks=[-1, -0.5, 0, 0.5, 1])
    bar.outline.set_visible(False)
    bar.set_label("cosine")
