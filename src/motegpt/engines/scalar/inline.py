"""A small graph as SVG for a notebook: the nodes nearest to the root, others folded. Standard library only.

The picture flows to the right and brings its own background, as a notebook shows an SVG as an image, in which
the colors of its theme do not exist.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import NamedTuple, Protocol

MAX_NODES, MAX_PARENTS, MAX_DEPTH = 40, 8, 9  # shown: nodes in all, parents of a node, steps from the root
MAX_LABELED = 12  # nodes of a graph whose edges have their local derivatives
MAX_TITLE = 16  # characters
COLUMN, ROW, BOX, HEIGHT, MARGIN = 168, 56, 104, 40, 14  # in pixels
FILLS = {"leaf": "#cfe8ff", "constant": "#ececec"}
FILL, INK, PALE, LINE = "#ffffff", "#1f2933", "#52606d", "#8899aa"


class Node(Protocol):
    """A Value, whose module this one cannot import, as it imports this one."""

    data: float
    grad: float
    op: str
    local_grads: Sequence[float]

    @property
    def parents(self) -> Sequence[Node]: ...


class Point(NamedTuple):
    """Where a value is in the picture: in the column of its box, or passing another on its way to its users.

    column: counted from the root, which is on the right.
    """

    value: int
    column: int


class Place(NamedTuple):
    """The upper left corner of a box, in pixels."""

    x: float
    y: float


def to_inline_svg(root: Node) -> str:
    """The graph of what the root was computed from: values, gradients, and in small graphs local derivatives.

    Nodes have the names of the variables of the notebook that hold them.
    """
    nodes, names = nearest(root), variables()
    columns = columns_of(nodes)
    ways = ways_of(nodes, columns)
    places = layout([Point(*item) for item in columns.items()], ways)
    width = max(place.x for place in places.values()) + BOX + MARGIN
    height = max(place.y for place in places.values()) + HEIGHT + MARGIN
    parts = [_line(places[start], places[end]) for start, ends in ways.items() for end in ends]
    parts += [_passage(places[point]) for point in places if columns[point.value] != point.column]
    for node in nodes:
        place = places[Point(id(node), columns[id(node)])]
        if len(nodes) <= MAX_LABELED:
            parts += _derivatives(node, place, columns, places)
        parts += [_folded(node, place, columns), _box(node, place, names.get(id(node)))]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="sans-serif" font-size="10.5" fill="{INK}">'
        f'<rect width="100%" height="100%" rx="6" fill="#fbfcfd"/>{"".join(parts)}</svg>'
    )


def nearest(root: Node) -> list[Node]:
    """The root and what it was computed from, breadth first, within the limits above."""
    found = {id(root): root}
    level = [root]
    for _ in range(MAX_DEPTH):
        parents = {id(parent): parent for node in level for parent in node.parents[:MAX_PARENTS]}
        new = [parent for key, parent in parents.items() if key not in found]
        level = new[: MAX_NODES - len(found)]
        found |= {id(node): node for node in level}
    return list(found.values())


def variables() -> dict[int, str]:
    """The names of the variables of the notebook or program, by the id of what they hold."""
    held = dict(vars(sys.modules["__main__"])) if "__main__" in sys.modules else {}
    return {id(held[name]): name for name in held if not name.startswith("_")}


def columns_of(nodes: Sequence[Node]) -> dict[int, int]:
    """id -> column: the length of the longest way to the root."""
    columns = {id(node): 0 for node in nodes}
    for _ in nodes:  # as often as the longest way has edges
        for node in nodes:
            for key in columns.keys() & set(map(id, node.parents)):
                columns[key] = max(columns[key], columns[id(node)] + 1)
    return columns


def ways_of(nodes: Sequence[Node], columns: Mapping[int, int]) -> dict[Point, dict[Point, None]]:
    """Point -> the points of the column to its right that it leads to."""
    ways: dict[Point, dict[Point, None]] = {}
    for node in nodes:
        for key in dict.fromkeys(map(id, node.parents)):
            end = Point(id(node), columns[id(node)])
            for column in range(end.column + 1, columns.get(key, -1) + 1):
                start = Point(key, column)
                ways.setdefault(start, {})[end] = None
                end = start
    return ways


def layout(boxes: Sequence[Point], ways: Mapping[Point, Iterable[Point]]) -> dict[Point, Place]:
    """The place of each point; in a column they have the order of the points that they lead to."""
    columns: dict[int, list[Point]] = {}
    for point in dict.fromkeys([*boxes, *ways]):
        columns.setdefault(point.column, []).append(point)
    tallest, places = max(map(len, columns.values())), dict[Point, Place]()
    for column in sorted(columns):
        heights = {point: [places[end].y for end in ways.get(point, ())] for point in columns[column]}
        order = sorted(heights, key=lambda point: sum(heights[point]) / max(1, len(heights[point])))
        for row, point in enumerate(order):
            down = row + (tallest - len(order)) / 2
            places[point] = Place((len(columns) - 1 - column) * COLUMN + MARGIN, down * ROW + MARGIN)
    return places


def _derivatives(
    node: Node, end: Place, columns: Mapping[int, int], places: Mapping[Point, Place]
) -> Iterator[str]:
    """d node / d parent at the line from each parent."""
    derivatives = dict.fromkeys(map(id, node.parents), 0.0)
    for parent, local_grad in zip(node.parents, node.local_grads, strict=True):
        derivatives[id(parent)] += local_grad
    for key, derivative in derivatives.items():
        if key in columns:
            start = places[Point(key, columns[id(node)] + 1)]
            x, y = (start.x + BOX + end.x) / 2, (start.y + end.y + HEIGHT) / 2 - 3
            yield f'<text x="{x}" y="{y}" text-anchor="middle" fill="{PALE}">× {derivative:.4g}</text>'


def _folded(node: Node, place: Place, columns: Mapping[int, int]) -> str:
    """A dashed line for the parents that are not shown, with their number; empty without any."""
    folded, middle = len(set(map(id, node.parents)) - columns.keys()), place.y + HEIGHT / 2
    if not folded:
        return ""
    return (
        f'<path d="M{place.x - 34} {middle}H{place.x}" stroke="{LINE}" stroke-dasharray="3 3"/>'
        f'<text x="{place.x - 4}" y="{middle - 4}" text-anchor="end" fill="{PALE}">{folded} more</text>'
    )


def _passage(place: Place) -> str:
    """A line in the place of a box."""
    return f'<path d="M{place.x} {place.y + HEIGHT / 2}h{BOX}" stroke="{LINE}"/>'


def _line(start: Place, end: Place) -> str:
    x1, y1, x2, y2 = start.x + BOX, start.y + HEIGHT / 2, end.x, end.y + HEIGHT / 2
    middle = (x1 + x2) / 2
    return f'<path d="M{x1} {y1}C{middle} {y1} {middle} {y2} {x2} {y2}" fill="none" stroke="{LINE}"/>'


def _box(node: Node, place: Place, name: str | None) -> str:
    """A node: its name or operation, its value, and its gradient, the derivative of the root."""
    title = node.op if name is None else name if node.op == "leaf" else f"{name} = {node.op}"
    numbers = [(f"{node.data:.4g}", ""), (f"grad {node.grad:.4g}", f'fill="{PALE}"')]
    rows = [(escape(title[:MAX_TITLE]), 'font-weight="bold"'), *numbers]
    texts = "".join(
        f'<text x="{place.x + 7}" y="{place.y + 12 + 12 * i}" {style}>{text}</text>'
        for i, (text, style) in enumerate(rows)
    )
    fill, size = FILLS.get(node.op, FILL), f'width="{BOX}" height="{HEIGHT}"'
    return f'<rect x="{place.x}" y="{place.y}" {size} rx="4" fill="{fill}" stroke="#445566"/>{texts}'
