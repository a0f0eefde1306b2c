"""The font of a character: the one that comes with matplotlib, else an installed one.

The first is the same on every machine. Installed fonts are searched only for characters that it lacks, since
each must be opened to list its characters.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.artist import Artist

FONT = "DejaVu Sans"
BOXES = "LastResort"  # fonts that draw a box for every character


def family_of(character: str) -> str | None:
    """The font family that has a character; None if no installed font has it."""
    if _has(FONT, character):
        return FONT
    return _installed_family_of(character)


def fit_fonts(artist: Artist) -> None:
    """Add the families that its characters need to every text of a figure or of axes."""
    from matplotlib.text import Text

    for text in artist.findobj(Text):
        families = dict.fromkeys(map(family_of, text.get_text()))
        others = [family for family in families if family not in (FONT, None)]
        if others:
            text.set_fontfamily([FONT, *others])


@cache
def _installed_family_of(character: str) -> str | None:
    return next((family for family in _installed() if _has(family, character)), None)


@cache
def _installed() -> list[str]:
    """All installed families, sans-serif first."""
    from matplotlib.font_manager import findSystemFonts, fontManager

    known = {font.fname for font in fontManager.ttflist}
    for path in set(findSystemFonts()) - known:  # matplotlib caches the list of its first use
        with suppress(Exception):  # skip a damaged font
            fontManager.addfont(path)
    families = {font.name for font in fontManager.ttflist if BOXES not in font.name.replace(" ", "")}
    return sorted(families, key=lambda family: ("Sans" not in family, family))


def _has(family: str, character: str) -> bool:
    return ord(character) in _characters(family)


@cache
def _characters(family: str) -> frozenset[int]:
    """The code points of a scalable font family; empty if the font cannot be read."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    try:
        font = get_font(findfont(FontProperties(family=[family]), fallback_to_default=False))
    except (OSError, RuntimeError, ValueError):
        return frozenset()
    return frozenset(font.get_charmap() if font.scalable else ())
