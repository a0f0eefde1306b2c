"""A computation graph as Graphviz text or as an SVG picture. Standard library only.

The picture flows to the right; nodes in a column are ordered by the mean row of their parents, which keeps
most edges short.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from html import escape

from motegpt.engines.scalar.graph import Value, topological

COLUMN, ROW, BOX, HEIGHT = 150, 34, 120, 24  # distances and sizes in the picture, in pixels
COLORS = {"leaf": "#cfe8ff", "constant": "#eeeeee", "relu": "#ffe0b0", "log": "#ffd0d0", "exp": "#ffd0d0"}
DEFAULT_COLOR = "#ffffff"


def all_nodes(root: Value) -> list[Value]:
    """The root and all values it depends on, parents first."""
    seen: dict[Value, None] = {}
    for current in topological(root):
        seen.update(dict.fromkeys((*current.parents, current)))
    return list(seen)


def count_ops(root: Value) -> dict[str, int]:
    """Number of values by operation, most frequent first."""
    return dict(Counter(node.op for node in all_nodes(root)).most_common())


def to_dot(root: Value, names: Mapping[Value, str]) -> str:
    """The graph in Graphviz' language. names: labels of some of the nodes."""
    nodes = all_nodes(root)
    number = {node: i for i, node in enumerate(nodes)}
    lines = ["digraph loss {", "  rankdir=LR;", '  node [shape=box, fontname="sans-serif", style=filled];']
    for node, i in number.items():
        label = "\\n".join(part.replace('"', '\\"') for part in label_of(node, names))
        lines.append(f'  n{i} [label="{label}", fillcolor="{COLORS.get(node.op, DEFAULT_COLOR)}"];')
    lines += [f"  n{number[parent]} -> n{number[node]};" for node in nodes for parent in node.parents]
    return "\n".join([*lines, "}"]) + "\n"


def to_svg(root: Value, names: Mapping[Value, str]) -> str:
    """The graph as a picture; a node's tooltip has its value and gradient in full precision."""
    places = layout(root)
    width = (max(x for x, _ in places.values()) + 1) * COLUMN
    height = (max(y for _, y in places.values()) + 1) * ROW + HEIGHT
    edges = [_edge(places[parent], places[node]) for node in places for parent in node.parents]
    boxes = [_box(node, at, names) for node, at in places.items()]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif">'
    )
    return (
        "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *edges, *boxes, "</svg>"]) + "\n"
    )


def label_of(node: Value, names: Mapping[Value, str]) -> tuple[str, str]:
    """The name or operation of a node, and its value and gradient."""
    return names.get(node, node.op), f"{node.data:.3g} | {node.grad:.2g}"


def layout(root: Value) -> dict[Value, tuple[int, int]]:
    """Value -> (column, row), with columns vertically centered."""
    columns = columns_of(all_nodes(root))
    members: dict[int, list[Value]] = {}
    for node, column in columns.items():
        members.setdefault(column, []).append(node)
    tallest = max(map(len, members.values()))
    places: dict[Value, tuple[int, int]] = {}
    for column in sorted(members):
        stack = sorted(members[column], key=lambda node: _mean_row(node, places))
        first = (tallest - len(stack)) // 2
        places.update({node: (column, first + row) for row, node in enumerate(stack)})
    return places


def columns_of(nodes: list[Value]) -> dict[Value, int]:
    """Node -> column: right of its rightmost parent; for a leaf, left of the first node that uses it."""
    columns: dict[Value, int] = {}
    for node in nodes:
        columns[node] = 1 + max((columns[parent] for parent in node.parents), default=-1)
    first_use: dict[Value, int] = {}
    for node in nodes:
        for parent in node.parents:
            first_use[parent] = min(columns[node], first_use.get(parent, columns[node]))
    return {
        node: column if node.parents or node not in first_use else first_use[node] - 1
        for node, column in columns.items()
    }


def _mean_row(node: Value, places: Mapping[Value, tuple[int, int]]) -> float:
    """The mean row of a node's parents; 0 without parents."""
    return sum(places[parent][1] for parent in node.parents) / max(1, len(node.parents))


def _edge(start: tuple[int, int], end: tuple[int, int]) -> str:
    x1, y1 = start[0] * COLUMN + BOX + 10, start[1] * ROW + HEIGHT
    x2, y2 = end[0] * COLUMN + 10, end[1] * ROW + HEIGHT
    middle = (x1 + x2) // 2
    path = f"M{x1} {y1}C{middle} {y1} {middle} {y2} {x2} {y2}"
    return f'<path d="{path}" fill="none" stroke="#8899aa" stroke-opacity="0.5"/>'


def _box(node: Value, at: tuple[int, int], names: Mapping[Value, str]) -> str:
    x, y = at[0] * COLUMN + 10, at[1] * ROW + HEIGHT // 2
    what, numbers = (escape(part) for part in label_of(node, names))
    color = COLORS.get(node.op, DEFAULT_COLOR)
    title = f"<title>{what} = {node.data!r}, gradient {node.grad!r}</title>"
    box = f'<rect width="{BOX}" height="{HEIGHT}" rx="4" fill="{color}" stroke="#445566"/>'
    text = f'<text x="4" y="10" font-size="9">{what}</text><text x="4" y="20" font-size="9">{numbers}</text>'
    return f'<g transform="translate({x} {y})">{title}{box}{text}</g>'
