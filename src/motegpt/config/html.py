"""Tables, bars and curves as HTML for notebooks: no style sheet, no script, and the colors of the theme."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from motegpt.config.text import visible

WIDTH, HEIGHT = 360, 90  # of a curve, in pixels
BAR = 160  # pixels for a share of 1


class Markup(str):
    """HTML that is complete; every other string is escaped."""

    __slots__ = ()


def table(header: Sequence[str], rows: Iterable[Sequence[str | Markup]], caption: str = "") -> Markup:
    """A table of texts; cells are left-aligned, and control characters are escaped.

    >>> table([], [["<b>"]]).partition("<td")[2]
    ' style="text-align:left;white-space:pre">&lt;b&gt;</td></tr></tbody></table>'
    """
    title = f'<caption style="text-align:left"><b>{_shown(caption)}</b></caption>' if caption else ""
    head = f"<thead>{_row('th', header)}</thead>" if header else ""
    return Markup(f"<table>{title}{head}<tbody>{''.join(_row('td', row) for row in rows)}</tbody></table>")


def facts(caption: str, values: Iterable[tuple[str, str | Markup]]) -> Markup:
    """A table of names and values."""
    return table([], [[Markup(f"<b>{_shown(name)}</b>"), value] for name, value in values], caption)


def bar(share: float) -> Markup:
    """A horizontal bar for a share from 0 to 1."""
    style = f"display:inline-block;height:0.8em;width:{BAR * share:.1f}px;background:currentColor;opacity:.6"
    return Markup(f'<span style="{style}"></span>')


def curve(x: Sequence[float], y: Sequence[float], x_range: tuple[float, float], label: str) -> Markup:
    """A line through the points, which are finite, with its range of y; label: for screen readers."""
    low, high = min(y, default=0.0), max(y, default=1.0)
    left, right = x_range
    across, up = (WIDTH - 60) / ((right - left) or 1.0), (HEIGHT - 20) / ((high - low) or 1.0)
    points = " ".join(
        f"{50 + across * (a - left):.1f},{HEIGHT - 10 - up * (b - low):.1f}"
        for a, b in zip(x, y, strict=True)
    )
    at = 'text-anchor="end" fill="currentColor" font-size="11"'
    return Markup(
        f'<svg role="img" aria-label="{escape(label)}" width="{WIDTH}" height="{HEIGHT}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}">'
        f'<text x="44" y="14" {at}>{high:.3g}</text><text x="44" y="{HEIGHT - 6}" {at}>{low:.3g}</text>'
        f'<path d="M50 8V{HEIGHT - 8}H{WIDTH - 8}" fill="none" stroke="currentColor" stroke-opacity=".4"/>'
        f'<polyline points="{points}" fill="none" stroke="#3b7dd8" stroke-width="1.8"/></svg>'
    )


def _row(tag: str, cells: Iterable[str | Markup]) -> str:
    style = 'style="text-align:left;white-space:pre"'
    shown = (cell if isinstance(cell, Markup) else _shown(cell) for cell in cells)
    return f"<tr>{''.join(f'<{tag} {style}>{cell}</{tag}>' for cell in shown)}</tr>"


def _shown(text: str) -> str:
    """A text as escaped HTML on one line."""
    return escape(visible(text))
