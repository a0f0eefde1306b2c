"""Tables, bars and curves as HTML for notebooks: no style sheet, no script, and the colors of the theme."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from motegpt.config.text import visible

WIDTH, HEIGHT, LEFT, EDGE = 420, 130, 48, 8  # of a curve, in pixels: size, space for numbers, margin
COLORS = ("#3b82d0", "#d97a1f")  # of its lines, readable on light and dark backgrounds
BAR = 160  # pixels for a share of 1


class Markup(str):
    """HTML that is complete; every other string is escaped."""

    __slots__ = ()


def table(header: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "") -> Markup:
    """A table of texts; cells are left-aligned, and control characters are escaped.

    >>> table([], [["<b>"]]).partition("<td")[2]
    ' style="text-align:left;white-space:pre">&lt;b&gt;</td></tr></tbody></table>'
    """
    title = f'<caption style="text-align:left"><b>{_shown(caption)}</b></caption>' if caption else ""
    head = f"<thead>{_row('th', header)}</thead>" if header else ""
    return Markup(f"<table>{title}{head}<tbody>{''.join(_row('td', row) for row in rows)}</tbody></table>")


def facts(caption: str, values: Iterable[tuple[str, str]]) -> Markup:
    """A table of names and values."""
    return table([], [[Markup(f"<b>{_shown(name)}</b>"), value] for name, value in values], caption)


def bar(share: float) -> Markup:
    """A horizontal bar for a share from 0 to 1."""
    style = f"display:inline-block;height:0.8em;width:{BAR * share:.1f}px;background:currentColor;opacity:.6"
    return Markup(f'<span style="{style}"></span>')


class Line(NamedTuple):
    """A named line through finite points (x, y)."""

    name: str
    points: Sequence[tuple[float, float]]


def curve(lines: Sequence[Line], x_range: tuple[float, float], label: str) -> Markup:
    """Lines with their names and the range of y, as SVG; label: for screen readers. Empty without lines."""
    values = [y for line in lines for _, y in line.points]
    if not values:
        return Markup()
    (left, right), low, high = x_range, min(values), max(values)
    across, up = (WIDTH - LEFT - EDGE) / ((right - left) or 1), (HEIGHT - 2 * EDGE) / ((high - low) or 1)
    drawn = [
        f'<text x="{LEFT - 5}" y="{y}" text-anchor="end" style="fill:currentColor">{value:.3g}</text>'
        for y, value in ((EDGE + 4, high), (HEIGHT - EDGE, low))
    ]
    drawn += [f'<path d="M{LEFT} {EDGE}V{HEIGHT - EDGE}H{WIDTH - EDGE}" stroke="currentColor" opacity=".4"/>']
    for i, (line, color) in enumerate(zip(lines, COLORS, strict=False)):
        points = " ".join(
            f"{LEFT + across * (x - left):.1f},{HEIGHT - EDGE - up * (y - low):.1f}" for x, y in line.points
        )
        at = f'x="{WIDTH - EDGE}" y="{EDGE + 4 + 14 * i}" text-anchor="end" style="fill:{color}"'
        drawn += [f'<polyline points="{points}" stroke="{color}" stroke-width="1.8"/>']
        drawn += [f"<text {at}>{_escaped(line.name)}</text>"]
    size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    style = "fill:none;font:11px sans-serif"
    return Markup(
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{_escaped(label)}" {size} '
        f'style="{style}">{"".join(drawn)}</svg>'
    )


def _row(tag: str, cells: Iterable[str]) -> str:
    style = 'style="text-align:left;white-space:pre"'
    shown = (cell if isinstance(cell, Markup) else _shown(cell) for cell in cells)
    return f"<tr>{''.join(f'<{tag} {style}>{cell}</{tag}>' for cell in shown)}</tr>"


def _shown(text: str) -> str:
    """A text as escaped HTML on one line."""
    return _escaped(visible(text))


def _escaped(text: str) -> str:
    from html import escape

    return escape(text)
