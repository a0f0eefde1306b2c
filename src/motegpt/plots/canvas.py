"""Shared by all figures: style, symbols for characters, saving.

Uses matplotlib's object-oriented interface alone; its settings change only while a figure is drawn. Files are
reproducible byte by byte on every machine, unless a text needs an installed font (fonts.py).
"""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from motegpt.data.tokenizers import SYMBOLS
from motegpt.errors import LibraryUnavailable
from motegpt.plots.fonts import FONT, family_of, fit_fonts
from motegpt.system.libraries import imports_for
from motegpt.views.output import check_new, ending_of, write_new

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.text import Text

FORMATS = {".png": {"Software": "motegpt"}, ".svg": {"Creator": "motegpt", "Date": None}}
DPI = 150
HEADING = 44  # points: height of the title and the subtitle
MAX_LINES = 3  # of the subtitle, and of the title
CHARACTER, LINE = 5.0, 13  # width of a character of the subtitle on average, and height of a line, in points
TITLE_CHARACTER, TITLE_LINE = 7.4, 17  # the same of the title
DIGIT, MAX_ROOM = 0.64, 1.4  # by the size of a text: width of a digit, and of labels not rotated
INK, PALE, GRID = "#222222", "#6a6a6a", "#e4e4e4"
STYLE: dict[str, Any] = {
    "font.family": FONT,
    "font.size": 9.5,
    "text.color": INK,
    "text.parse_math": False,  # show dollar signs
    "axes.labelcolor": INK,
    "axes.edgecolor": PALE,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10.5,
    "axes.unicode_minus": False,
    "xtick.color": PALE,
    "ytick.color": PALE,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "figure.titlesize": 12,
    "svg.fonttype": "none",  # keep text searchable
    "svg.hashsalt": "motegpt",
}


@contextmanager
def drawing() -> Iterator[None]:
    """Use matplotlib with the style of motegpt, not the user's; LibraryUnavailable if it is missing."""
    log = logging.getLogger("matplotlib")
    level = log.level
    log.setLevel(logging.ERROR)  # hides its messages about caches
    try:
        matplotlib = _matplotlib()
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(STYLE)
            yield
    finally:
        log.setLevel(level)


def _matplotlib() -> Any:
    with imports_for("plot", LibraryUnavailable):
        import matplotlib
    return matplotlib


def new_figure(width: float, height: float, compressed: bool = False) -> Figure:
    """An empty figure; width and height in inches; compressed: for axes of fixed aspect."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from motegpt.plots.shown import ShownFigure

    figure = ShownFigure(figsize=(width, height), layout="compressed" if compressed else "constrained")
    FigureCanvasAgg(figure)
    return figure


def add_heading(figure: Figure, title: str, subtitle: str) -> None:
    """Add a title and a subtitle on the left, each in as many lines as it needs, at most MAX_LINES."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    height, width = 72 * figure.get_figheight(), 72 * figure.get_figwidth()
    titles, lines = _wrapped(title, width / TITLE_CHARACTER), _wrapped(subtitle, width / CHARACTER)
    more = TITLE_LINE * (len(titles) - 1)
    figure.text(0.012, 1 - 8 / height, "\n".join(titles), va="top", size=12, weight="bold")
    figure.text(0.012, 1 - (27 + more) / height, "\n".join(lines), va="top", color=PALE, size=9)
    engine = figure.get_layout_engine()
    assert isinstance(engine, ConstrainedLayoutEngine)
    heading = HEADING + more + LINE * (len(lines) - 1)
    engine.set(rect=(0, 0, 1, 1 - heading / height), h_pad=0.07, w_pad=0.06)


def _wrapped(text: str, columns: float) -> list[str]:
    """A text in lines of at most so many characters; unchanged if it fits into one."""
    from textwrap import wrap

    text = printable(text)
    return [text] if len(text) <= columns else wrap(text, int(columns), max_lines=MAX_LINES, placeholder=" …")


def check_out(path: Path, overwrite: bool) -> None:
    """UsageError unless a figure can be written to `path`."""
    ending_of(path, FORMATS)
    check_new(path, overwrite)


@drawing()
def save(figure: Figure, path: Path, overwrite: bool = False, dpi: int = DPI) -> None:
    """Write a PNG (dpi: pixels per inch) or an SVG, by file name; replaces a file only with `overwrite`."""
    check_out(path, overwrite)
    suffix, data = path.suffix.lower(), BytesIO()
    fit_fonts(figure)
    figure.draw_without_rendering()  # the layout settles in two passes, as labels move with their axes
    figure.savefig(data, format=suffix[1:], metadata=FORMATS[suffix], dpi=dpi)
    write_new(path, data.getvalue(), overwrite)


def symbol(character: str) -> str:
    """The text drawn for a token: a symbol if it is invisible, U+4E2D if no installed font has it."""
    if character in SYMBOLS:
        return SYMBOLS[character]
    if len(character) > 1:
        return character.strip("<>")
    category = unicodedata.category(character)
    if category[0] in "CZ" or family_of(character) is None:
        return f"U+{ord(character):04X}"
    return f"◌{character}" if category[0] == "M" else character


def rotate_long(labels: Iterable[Text], room: float) -> None:
    """Rotate the labels of a horizontal axis that are wider than their room, in units of their size."""
    for label in labels:
        label.set_rotation(90 if DIGIT * len(label.get_text()) > min(0.9 * room, MAX_ROOM) else 0)


def quoted(text: str) -> str:
    """A text in quotes for a title, shortened if it is long."""
    return f"“{text if len(text) <= 24 else text[:23] + '…'}”"


def printable(text: str) -> str:
    """Replace characters that cannot be drawn; spaces stay."""
    return "".join(character if character == " " else symbol(character) for character in text)
