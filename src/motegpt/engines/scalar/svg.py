"""Elements of an SVG picture. Standard library only."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from html import escape
from itertools import chain
from struct import pack
from zlib import compress, crc32

from motegpt.engines.scalar.layout import STEP_X, Box

Color = tuple[int, int, int]


def safe(text: str) -> str:
    """A text for SVG; characters that cannot be printed become U+0007."""
    return escape("".join(c if c.isprintable() else f"U+{ord(c):04X}" for c in text))


def rectangle(box: Box, more: str) -> str:
    """more: further attributes."""
    return f'<rect x="{box.x:.5g}" y="{box.y:.5g}" width="{box.width:.4g}" height="{box.height:.4g}" {more}/>'


def text(kind: str, x: float, y: float, content: str, more: str = "") -> str:
    """kind: classes of picture.css; more: further attributes."""
    return f'<text class="{kind}" x="{x:.5g}" y="{y:.5g}"{more}>{safe(content)}</text>'


def path(kind: str, d: str, more: str = "") -> str:
    """A line along d."""
    return f'<path class="{kind}" d="{d}"{more}/>'


def image(box: Box, rows: Sequence[Sequence[Color]]) -> str:
    """A pixel of each color, stretched to the box."""
    data = b64encode(png(rows)).decode()
    picture = rectangle(box, f'preserveAspectRatio="none" href="data:image/png;base64,{data}"')
    return picture.replace("<rect", "<image", 1) + rectangle(box, 'class="f"')


def fit(content: str, width: float, letter: float) -> str:
    """The attributes that squeeze a text, whose letters are `letter` wide, into a width."""
    if len(content) * letter <= width:
        return ""
    return f' textLength="{width:.3g}" lengthAdjust="spacingAndGlyphs"'


def curve(start: Box, end: Box, sideways: bool = False) -> str:
    """From the bottom of a cell to the top of another, or from its right to the left of one beside it."""
    if start.y == end.y and not sideways:
        return bow(start, end, 14) if end.x - start.x > STEP_X else curve(start, end, sideways=True)
    if sideways:
        x1, y1, x2, y2 = start.right, start.center, end.x, end.center
        return f"M{x1:g} {y1:g}C{(m := (x1 + x2) / 2):g} {y1:g} {m:g} {y2:g} {x2:g} {y2:g}"
    x1, y1, x2, y2 = start.middle, start.bottom, end.middle, end.y
    return f"M{x1:g} {y1:g}C{x1:g} {(m := (y1 + y2) / 2):g} {x2:g} {m:g} {x2:g} {y2:g}"


def bow(start: Box, end: Box, depth: float) -> str:
    """From the bottom of a box to the bottom of another on its right."""
    x1, x2, y = start.middle + 4, end.middle - 4, start.bottom
    return f"M{x1:g} {y:g}C{x1:g} {y + depth:g} {x2:g} {y + depth:g} {x2:g} {y:g}"


def png(rows: Sequence[Sequence[Color]]) -> bytes:
    """Colors as a PNG image; rows that are shorter than the first are filled with white."""
    width = len(rows[0])
    data = b"".join(
        b"\0" + bytes(chain.from_iterable(row)) + b"\xff" * 3 * (width - len(row)) for row in rows
    )

    def chunk(kind: bytes, body: bytes) -> bytes:
        return pack(">I", len(body)) + kind + body + pack(">I", crc32(kind + body))

    head = pack(">IIBBBBB", width, len(rows), 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", compress(data, 9)) + chunk(b"IEND", b"")
    )
