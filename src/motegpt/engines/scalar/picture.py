"""A computation graph as an SVG picture, colored by gradient, whose groups fold. Standard library only.

Stages are rows and positions are columns, with the weights on the left. A folded group shows its last
vectors, an open one each number; picture.js opens groups, zooms, and marks the parents and children of a
number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain
from pathlib import Path

from motegpt.engines.scalar import layout as places
from motegpt.engines.scalar.draw import Colors, label_of, number_text
from motegpt.engines.scalar.graph import Value
from motegpt.engines.scalar.groups import TOTAL, Graph, Group
from motegpt.engines.scalar.layout import (
    FOLDED_HEIGHT,
    PADDING,
    TITLE,
    Box,
    Content,
    column_of,
    is_weights,
    layout,
)
from motegpt.engines.scalar.svg import Color, bow, curve, fit, image, path, rectangle, safe, text

MAX_CELLS = 16_000  # numbers in a picture
NUMBER_WIDTH = 34  # that a number needs
MAX_RECTANGLES = 8  # longer vectors are images
FAINT = 0.06  # opacity of the line of an attention weight near 0; of others it is the weight
MAX_LINES = 12  # a value with more parents has no line to them; picture.js shows them
LABEL, LABELED = 36, 100  # width of the name of a vector in a folded group; narrower boxes have none
RAMP, RAMP_STEP = 40, 5  # colors in the legend, and their width
DARK = 140  # brightness, of 255, of a color with white text


def to_svg(graph: Graph, numbers: bool = True) -> str:
    """The picture; numbers: whether groups open, the smallest first, up to MAX_CELLS numbers in all.

    Tooltips have values and gradients in full precision.
    """
    painter = _Painter(graph, MAX_CELLS if numbers else 0)
    body, width, height = "\n".join(painter.elements()), painter.found.width, painter.found.height
    style, script = (
        Path(__file__).with_name(f"picture.{kind}").read_text(encoding="utf-8") for kind in ("css", "js")
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}">\n<style>{style}</style>\n<rect width="100%" height="100%" fill="#fff"/>\n'
        f"{body}\n<script><![CDATA[{script}]]></script>\n</svg>\n"
    )


def cell_numbers(contents: Sequence[Content], most: int) -> dict[Value, int]:
    """The place of each number among all that are drawn: those of the smallest groups, at most `most`."""
    sizes = sorted((len(content.cells), i) for i, content in enumerate(contents))
    totals = accumulate(size for size, _ in sizes)
    drawn = {i for (_, i), total in zip(sizes, totals, strict=True) if total <= most}
    cells = chain.from_iterable(contents[i].cells for i in sorted(drawn))
    return {value: number for number, value in enumerate(cells)}


class _Painter:
    """index: the place of each number that is drawn among them; triples: groups, boxes and contents."""

    def __init__(self, graph: Graph, most: int) -> None:
        self.graph, self.found, self.colors = graph, layout(graph), Colors.of(graph)
        self.index = cell_numbers(self.found.contents, most)
        self.is_open = self.found.is_open and bool(self.index)
        self.triples = list(zip(self.found.groups, self.found.boxes, self.found.contents, strict=True))
        self.group_of = {value: i for i, group in enumerate(self.found.groups) for value in group.values}

    def elements(self) -> Iterator[str]:
        """From back to front."""
        if not self.graph.groups:
            ((_, box, content),) = self.triples
            yield f'<g class="g open">{self._inside(box, content)}</g>'
        else:
            yield from self._heading()
            yield from self._panels()
            if not self.is_open:
                yield from self._group_edges()
            yield from (self._group(*triple) for triple in self.triples)
            if self.is_open:
                yield from self._value_edges()
        yield from self._legend()

    # Around the groups

    def _heading(self) -> Iterator[str]:
        graph, left = self.graph, places.MARGIN
        title = f"{graph.title}: loss {number_text(graph.loss.data)}"
        yield text("", left, 24, title, ' style="font-size:15px;font-weight:700"')
        how = " · click a group to open it, Esc to see all; wheel and drag to zoom and move"
        yield text("k", left, 40, f"{len(self.group_of):,} numbers{how if self.index else ''}")
        headings: dict[float, str] = {}
        for group, box, _ in self.triples:
            if group.title != TOTAL:
                headings[box.middle] = "weights" if group.column is None else graph.columns[group.column]
        yield from (text("h", x, 62, heading) for x, heading in headings.items())

    def _panels(self) -> Iterator[str]:
        """A background for each layer."""
        rows: dict[int, list[Box]] = {}
        for group, box, _ in self.triples:
            if group.layer is not None:
                rows.setdefault(group.layer, []).append(box)
        for layer, boxes in rows.items():
            top, bottom = min(box.y for box in boxes) - 8, max(box.bottom for box in boxes) + 8
            panel = Box(4, top, self.found.width - 8, bottom - top)
            yield rectangle(panel, 'class="p" rx="8"')
            yield text(
                "h", 0, 0, f"layer {layer}", f' transform="translate(16 {panel.center:g}) rotate(-90)"'
            )

    def _legend(self) -> Iterator[str]:
        """The colors of gradients."""
        x, y, largest = places.MARGIN, self.found.height - 26, self.colors.largest
        yield text("s", x, y - 3, "gradient, d loss / d number")
        for i in range(RAMP + 1):
            gradient = largest * (2 * i / RAMP - 1) ** 3
            place = Box(x + RAMP_STEP * i, y, RAMP_STEP, 8)
            yield rectangle(place, f'fill="{self.colors.hex(gradient)}"')
            if i % (RAMP // 4) == 0:
                yield text("s m", place.middle, y + 17, number_text(gradient))

    # Groups

    def _group(self, group: Group, box: Box, content: Content) -> str:
        """The box of a group, folded and open."""
        values = group.values
        kind = "weights" if is_weights(group) else "numbers"
        where = "" if group.column is None else f" at position {group.column}"
        tip = f"{group.heading}{where}: {len(values)} {kind}"
        inside = f'<g class="in">{self._inside(box, content)}</g>' if values[0] in self.index else ""
        outline = rectangle(box, 'class="b" rx="6"')
        title = rectangle(Box(box.x, box.y, box.width, TITLE), 'fill-opacity="0"')
        name = title_of(group)
        title += text("", box.x + 7, box.y + 12, name, fit(name, box.width - 12, 6.4))
        if box.width > LABELED:
            title += text("n", box.right - 6, box.y + 12, str(len(values)))
        return (
            f'<g class="g {"open" if self.is_open else "zoom"}"><title>{safe(tip)}</title>'
            f'{outline}<g class="t">{title}</g>'
            f'<g class="out">{"".join(self._outside(group, box))}</g>{inside}</g>'
        )

    def _outside(self, group: Group, box: Box) -> Iterator[str]:
        """A folded group: weights as images, else the last two vectors."""
        top = box.center - FOLDED_HEIGHT / 2 + TITLE
        if is_weights(group):
            yield from self._images(group, Box(box.x + PADDING, top + 2, box.width - PADDING, 21))
            return
        vectors = list(group.vectors(self.graph.names).items())[-2:]
        label = LABEL if box.width > LABELED else 0
        for i, (name, vector) in enumerate(vectors):
            y = top + (16 * i if len(vectors) == 2 else 8)
            if label:
                yield text("s", box.x + 7, y + 10, name)
            yield from self._strip(vector, Box(box.x + label + 6, y, box.width - label - 12, 14))

    def _images(self, group: Group, at: Box) -> Iterator[str]:
        """Each tensor of a group as an image, with its name if there are several."""
        width = at.width / len(group.tensors)
        for i, (tensor, rows) in enumerate(group.tensors.items()):
            place = Box(at.x + i * width, at.y, width - PADDING, at.height)
            yield image(place, [self._colors(row) for row in rows])
            if len(group.tensors) > 1:
                name = tensor.rpartition(".")[2]
                yield text("s", place.x, place.bottom + 9, name, fit(name, place.width + 4, 4.2))

    def _strip(self, vector: Sequence[Value], at: Box) -> Iterator[str]:
        """A vector as colors, with its values where there is room."""
        if len(vector) > MAX_RECTANGLES:
            yield image(at, [self._colors(vector)])
            return
        width = min(at.width / len(vector), 1.6 * NUMBER_WIDTH)
        for i, value in enumerate(vector):
            place = Box(at.x + i * width, at.y, width, at.height)
            yield rectangle(place, f'class="f" style="fill:{self.colors.hex(value.grad)}"')
            if width >= NUMBER_WIDTH:
                number = number_text(value.data)
                yield text(
                    f"v{self._shade(value)}", place.middle, at.y + 10, number, fit(number, width - 3, 4.9)
                )

    # Numbers

    def _inside(self, box: Box, content: Content) -> str:
        """An open group: its numbers and the edges between them, as large as fits the box."""
        at = content.placed(box) if self.found.is_open else inner(box)
        edges = "".join(
            path("i", curve(content.cells[parent], cell, sideways=not self.graph.groups))
            for value, cell in content.cells.items()
            for parent in dict.fromkeys(value.parents)
            if parent in content.cells and len(value.parents) <= MAX_LINES
        )
        cells = "".join(self._cell(value, cell) for value, cell in content.cells.items())
        return (
            f'<svg x="{at.x:g}" y="{at.y:g}" width="{at.width:g}" height="{at.height:g}" '
            f'viewBox="0 0 {content.width:g} {content.height:g}" overflow="visible">{edges}{cells}</svg>'
        )

    def _cell(self, value: Value, at: Box) -> str:
        name, data, gradient = label_of(value, self.graph.names)
        shade, parents = self._shade(value), ranges(self.index[p] for p in value.parents if p in self.index)
        return (
            f'<g class="c" data-f="{parents}" transform="translate({at.x:g} {at.y:g})">'
            f"<title>{safe(name)} = {value.data!r}, gradient {value.grad!r}</title>"
            f'<rect width="{at.width:g}" height="{at.height:g}" rx="4" fill="{self.colors.hex(value.grad)}"/>'
            f"{text(shade, 4, 9.5, name, fit(name, at.width - 8, 4.3))}"
            f"{text(f'd{shade}', 4, 22, data)}{text(shade, 4, 33.5, f'∂ {gradient}')}</g>"
        )

    def _colors(self, values: Iterable[Value]) -> list[Color]:
        return [self.colors.rgb(value.grad) for value in values]

    def _shade(self, value: Value) -> str:
        """The class of text on a color: white on dark ones."""
        r, g, b = self.colors.rgb(value.grad)
        return " w" if 0.299 * r + 0.587 * g + 0.114 * b < DARK else ""

    # Edges

    def _group_edges(self) -> Iterator[str]:
        """A line from each group to those that use its values."""
        pairs = {
            (self.group_of[parent], self.group_of[value])
            for value in self.group_of
            for parent in value.parents
            if parent in self.group_of
        }
        rows = sorted({group.row for group in self.found.groups})
        for one, two in sorted(pairs):
            if one != two:
                yield self._group_edge(one, two, rows)

    def _group_edge(self, one: int, two: int, rows: Sequence[int]) -> str:
        (group, start, _), (user, end, _) = self.triples[one], self.triples[two]
        if is_weights(group):
            detour = "" if group.row == user.row else f"h14V{end.center:g}"
            return path("e", f"M{start.right:g} {start.center:g}{detour}H{end.middle:g}")
        if group.column != user.column and user.title != TOTAL:  # attention
            assert group.column is not None
            assert user.column is not None
            p = user.vectors(self.graph.names)["p"][group.column].data
            depth = 6 + 14 * (user.column - group.column) / len(self.graph.columns)
            return path("e a", bow(start, end, depth), f' opacity="{max(p, FAINT):.2g}"')
        if rows.index(user.row) - rows.index(group.row) == 1:
            return path("e", f"M{start.middle:g} {start.bottom:g}V{end.y:g}")
        of_head, to_head = (one.title.startswith("head") for one in (group, user))
        x = start.right if of_head else start.x
        lane = x + 7 if of_head else x - 7 if to_head else x - 12
        return path("e", f"M{x:g} {start.center:g}H{lane:g}V{end.center:g}H{x:g}")

    def _value_edges(self) -> Iterator[str]:
        """A line from each value to those of other groups that use it, in a picture that begins open."""
        places = {value: at for _, box, content in self.triples for value, at in content.within(box).items()}
        columns = [column_of(group) for group in self.found.groups]
        for value, user in self.group_of.items():
            for parent in dict.fromkeys(value.parents):
                group = self.group_of.get(parent, user)
                if group != user:
                    line = curve(places[parent], places[value], sideways=columns[group] != columns[user])
                    yield path("l x", line, f' data-g="{group} {user}"')


def title_of(group: Group) -> str:
    """The title; of weights the tensor, or the layer of several tensors."""
    if not is_weights(group):
        return group.title
    tensors = list(group.tensors)
    return tensors[0] if len(tensors) == 1 else "weights" if group.layer is None else f"layer{group.layer}"


def inner(box: Box) -> Box:
    """The part of a folded box in which its numbers appear when it opens, below a smaller title."""
    return Box(box.x + 3, box.y + 9, box.width - 6, box.height - 12)


def ranges(numbers: Iterable[int]) -> str:
    """Numbers, with consecutive ones as a range.

    >>> ranges([7, 3, 4, 5])
    '3-5 7'
    """
    found: list[list[int]] = []
    for number in sorted(set(numbers)):
        if found and number == found[-1][-1] + 1:
            found[-1] = [found[-1][0], number]
        else:
            found.append([number])
    return " ".join("-".join(map(str, one)) for one in found)
