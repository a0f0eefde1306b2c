"""Labels of points that do not overlap: they move apart, and a line leads from a moved one to its point."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Text

    from motegpt.engines.array.ops import Array

GAP = 0.1  # between labels, of the height of a letter
DIRECTIONS = 16  # in which a place is looked for around a point, at distances of
STEP = 0.4  # more and more of the mean height of the labels
TOUCH = 1e-9  # boxes may overlap by it


def separated(points: Array, sizes: Array) -> Array:
    """(N, 2) centers of boxes of some sizes (N, 2), near their points (N, 2), that do not overlap.

    One after the other, those with the fewest neighbors first, takes the free place nearest to its point.
    """
    centers = points.copy()
    neighbors = overlapping(points[:, None], sizes[:, None], points, sizes).sum(axis=1)
    placed: list[int] = []
    for i in np.argsort(neighbors, kind="stable"):
        for ring in count():
            places = points[i] + STEP * sizes[:, 1].mean() * ring * _directions(ring)
            taken = overlapping(places[:, None], sizes[i], centers[placed], sizes[placed]).any(axis=1)
            if not taken.all():
                centers[i] = places[taken.argmin()]
                break
        placed.append(int(i))
    return centers


def _directions(ring: int) -> Array:
    """Vectors of length 1, turned from ring to ring."""
    angles = 2 * np.pi * (np.arange(DIRECTIONS if ring else 1) + ring / 2) / DIRECTIONS
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def overlapping(centers: Array, sizes: Array, others: Array, other_sizes: Array) -> Any:
    """Whether boxes overlap others, of shapes that broadcast to (…, 2)."""
    return (np.abs(centers - others) < (sizes + other_sizes) / 2 - TOUCH).all(axis=-1)


def label_points(axes: Axes, points: Array, texts: Sequence[Text]) -> None:
    """Keep the texts, which are at their points, apart whenever the axes are drawn."""
    axes.add_artist(_placer()(axes, points, texts))


@cache
def _placer() -> Any:
    """The artist that moves labels; made when it is needed, as its base is of matplotlib."""
    from matplotlib.artist import Artist
    from matplotlib.collections import LineCollection
    from matplotlib.transforms import IdentityTransform

    class Placer(Artist):
        """Moves texts, which are drawn after it, and draws lines from their points."""

        def __init__(self, axes: Axes, points: Array, texts: Sequence[Text]) -> None:
            super().__init__()
            self.points, self.texts = points, texts
            self.key, self.moves = b"", np.zeros_like(points)  # of the last drawing: the moves in pixels
            pixels: dict[str, Any] = {"transform": IdentityTransform(), "clip_on": False}
            self.lines = LineCollection([], colors="#9aa7b5", linewidths=0.6, zorder=2.5, **pixels)
            (self.dots,) = axes.plot([], [], "o", color="#6a6a6a", markersize=1.8, zorder=2.6, **pixels)
            axes.add_collection(self.lines, autolim=False)
            self.set_zorder(2.4)
            for artist in (self, self.lines, self.dots, *texts):
                artist.set_in_layout(False)

        def draw(self, renderer: Any) -> None:
            axes = self.axes
            assert axes is not None
            pixels = axes.transData.transform(self.points)
            for text, point in zip(self.texts, self.points, strict=True):
                text.set_position(point)
            boxes = [text.get_window_extent(renderer) for text in self.texts]
            sizes = np.array([(box.width, box.height) for box in boxes])
            offsets = np.array([((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2) for box in boxes]) - pixels
            gap = GAP * sizes[:, 1].mean()
            key = np.round(np.concatenate([pixels - pixels[0], sizes]), 1).tobytes()
            if key != self.key:  # else the axes have at most moved
                self.key, self.moves = key, separated(pixels + offsets, sizes + gap) - offsets - pixels
            moved = pixels + self.moves
            for text, place in zip(self.texts, axes.transData.inverted().transform(moved), strict=True):
                text.set_position(place)
            middles = moved + offsets
            ends = np.clip(pixels, middles - sizes / 2, middles + sizes / 2)
            led = (np.abs(ends - pixels) > 0.5).any(axis=1)
            self.lines.set_segments(list(np.stack([pixels, ends], axis=1)[led]))
            self.dots.set_data(*pixels[led].T)

    return Placer
