"""Where the cells of a group, and the boxes of groups, are in a picture of the graph. Lengths in pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, sqrt

from motegpt.engines.scalar.draw import drawn_nodes
from motegpt.engines.scalar.graph import Value
from motegpt.engines.scalar.groups import Graph, Group

CELL_WIDTH, CELL_HEIGHT = 80, 38
STEP_X, STEP_Y = CELL_WIDTH + 10, CELL_HEIGHT + 16
TITLE = 16  # height of the title of a box
PADDING = 8
GAP_X, GAP_Y = 30, 24  # between boxes
HEAD, FOOT, MARGIN = 74, 40, 24  # above and below the boxes, and left of them
OPEN_VALUES = 200  # the largest graph that is drawn open
OPEN_CELLS = 3  # cells beside each other in an open box
WEIGHTS_WIDTH, TEXT_WIDTH, MIN_WIDTH = 150, 640, 66  # of folded boxes; TEXT_WIDTH for all positions together
FOLDED_HEIGHT = 52
LEGEND_WIDTH = 240


@dataclass(frozen=True)
class Box:
    """x, y, width, height of a box or of a cell."""

    x: float
    y: float
    width: float
    height: float

    @property
    def center_x(self) -> float:
        return self.x + self.width / 2

    @property
    def right(self) -> float:
        return self.x + self.width

    @property
    def center_y(self) -> float:
        return self.y + self.height / 2

    @property
    def bottom(self) -> float:
        return self.y + self.height


@dataclass(frozen=True)
class Content:
    """The cells of a group, relative to it."""

    cells: dict[Value, Box]
    width: float
    height: float

    def placed(self, box: Box) -> Box:
        """Its place in the middle of the box of its group."""
        return Box(
            box.center_x - self.width / 2,
            (box.y + TITLE + box.bottom - self.height) / 2,
            self.width,
            self.height,
        )

    def within(self, box: Box) -> dict[Value, Box]:
        """The cells in the picture, in a group that is drawn at its size."""
        at = self.placed(box)
        return {
            value: Box(at.x + cell.x, at.y + cell.y, cell.width, cell.height)
            for value, cell in self.cells.items()
        }


@dataclass(frozen=True)
class Layout:
    """The boxes of groups and their contents; is_open: whether they begin unfolded."""

    groups: Sequence[Group]
    boxes: list[Box]
    contents: list[Content]
    width: float
    height: float
    is_open: bool


def arrange(group: Group, is_open: bool) -> Content:
    """The cells in lines: weights by matrix rows, others by the longest path from outside the group."""
    return placed_lines(_matrix_lines(group, is_open) if is_weights(group) else _level_lines(group, is_open))


def placed_lines(lines: Sequence[Sequence[Value]]) -> Content:
    """Lines of cells from top to bottom."""
    cells = {
        value: Box(i * STEP_X, n * STEP_Y, CELL_WIDTH, CELL_HEIGHT)
        for n, line in enumerate(lines)
        for i, value in enumerate(line)
    }
    width = max(map(len, lines)) * STEP_X - (STEP_X - CELL_WIDTH)
    return Content(cells, width, len(lines) * STEP_Y - (STEP_Y - CELL_HEIGHT))


def flowing_right(values: Sequence[Value]) -> Content:
    """The cells of a graph without groups: a column for each level, in the middle of the height."""
    levels = by_level(values)
    step, tallest = CELL_WIDTH + 40, max(map(len, levels))
    cells = {
        value: Box(n * step, (i + (tallest - len(level)) / 2) * STEP_Y, CELL_WIDTH, CELL_HEIGHT)
        for n, level in enumerate(levels)
        for i, value in enumerate(level)
    }
    return Content(cells, len(levels) * step - 40, tallest * STEP_Y - (STEP_Y - CELL_HEIGHT))


def is_weights(group: Group) -> bool:
    """Whether a group has parameters, not what is computed from them."""
    return not any(value.parents for value in group.values)


def _matrix_lines(group: Group, is_open: bool) -> list[list[Value]]:
    """The rows of matrices, wrapped in an open box."""
    return [
        row[i : i + limit]
        for row in group.parts.values()
        for limit in [OPEN_CELLS if is_open else len(row)]
        for i in range(0, len(row), limit)
    ]


def _level_lines(group: Group, is_open: bool) -> list[list[Value]]:
    """Values level by level; a line has several levels if they fit, and a long level has several lines."""
    limit = OPEN_CELLS if is_open else max(OPEN_CELLS, ceil(sqrt(2.2 * len(group.values))))
    lines: list[list[Value]] = [[]]
    for level in by_level(group.values):
        if lines[-1] and len(lines[-1]) + len(level) > limit:
            lines.append([])
        for value in level:
            if len(lines[-1]) == limit:
                lines.append([])
            lines[-1].append(value)
    return lines


def by_level(values: Sequence[Value]) -> list[list[Value]]:
    """Values by the longest path to them among the values; a leaf is just before the first that uses it."""
    level: dict[Value, int] = {}
    for value in values:
        level[value] = 1 + max((level[parent] for parent in value.parents if parent in level), default=-1)
    for value in values:
        for parent in value.parents:
            if parent in level and not parent.parents:
                level[parent] = level[parent] or level[value] - 1
    levels: dict[int, list[Value]] = {}
    for value, n in level.items():
        levels.setdefault(n, []).append(value)
    return [levels[n] for n in sorted(levels)]


def layout(graph: Graph) -> Layout:
    """Rows of stages from top to bottom; weights on the left, then a column for each position."""
    if not graph.groups:
        return _without_groups(drawn_nodes(graph.loss))
    groups = graph.groups
    is_open = sum(len(group.values) for group in groups) <= OPEN_VALUES
    contents = [arrange(group, is_open) for group in groups]
    count = 1 + max((group.column for group in groups if group.column is not None), default=-1)
    widths = _widths(groups, contents, count, is_open)
    heights = _heights(groups, contents, is_open)
    left: list[float] = [MARGIN]
    for width in widths:
        left.append(left[-1] + (width + GAP_X if width else 0))
    top: dict[int, float] = {}
    y: float = HEAD
    for row, height in heights.items():
        top[row], y = y, y + height + GAP_Y
    boxes = [
        Box(left[1], top[group.row], left[-1] - GAP_X - left[1], heights[group.row])
        if group.column is None and not is_weights(group)
        else Box(left[at := column_of(group)], top[group.row], widths[at], heights[group.row])
        for group in groups
    ]
    return Layout(groups, boxes, contents, left[-1] - GAP_X + MARGIN, y - GAP_Y + FOOT, is_open)


def _without_groups(values: list[Value]) -> Layout:
    """One box of all values."""
    content = flowing_right(values)
    width, height = max(content.width, LEGEND_WIDTH) + 2 * MARGIN, content.height + MARGIN
    box = Box(0, MARGIN / 2 - TITLE, width, content.height + TITLE)
    return Layout([Group("", None, 0, 0, {"": values})], [box], [content], width, height + FOOT, True)


def column_of(group: Group) -> int:
    """0 for weights, then the positions."""
    return 0 if group.column is None else group.column + 1


def _widths(groups: Sequence[Group], contents: Sequence[Content], count: int, is_open: bool) -> list[float]:
    if not is_open:
        return [WEIGHTS_WIDTH] + [max(MIN_WIDTH, min(128, TEXT_WIDTH / count))] * count
    widths = [0.0] * (count + 1)
    for group, content in zip(groups, contents, strict=True):
        at = column_of(group)
        widths[at] = max(widths[at], content.width + 2 * PADDING)
    return widths


def _heights(groups: Sequence[Group], contents: Sequence[Content], is_open: bool) -> dict[int, float]:
    """Row -> height, from top to bottom."""
    heights: dict[int, float] = {}
    for group, content in sorted(zip(groups, contents, strict=True), key=lambda pair: pair[0].row):
        height = content.height + TITLE + 2 * PADDING if is_open else FOLDED_HEIGHT
        heights[group.row] = max(heights.get(group.row, 0), height)
    return heights
