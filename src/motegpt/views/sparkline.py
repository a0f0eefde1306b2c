"""Curves as one line of text."""

from __future__ import annotations

from collections.abc import Sequence

BLOCKS = "▁▂▃▄▅▆▇█"
PLAIN = "_.-=+*%#"  # for encodings without block characters


def sparkline(
    x: Sequence[float],
    y: Sequence[float],
    width: int,
    *,
    x_range: tuple[float, float] | None = None,
    levels: str = BLOCKS,
) -> str:
    """One character for the mean of y in each of `width` equal intervals of x.

    An interval without values repeats the previous one, or is a space at the start. x_range: default: the
    range of x.

    >>> sparkline([0, 1, 2, 3], [3.0, 2.0, 1.0, 1.0], 4)
    '█▅▁▁'
    """
    if not x:
        return ""
    left, right = x_range or (min(x), max(x))
    parts: list[list[float]] = [[] for _ in range(width)]
    for position, value in zip(x, y, strict=True):
        share = (position - left) / (right - left) if right > left else 0.0
        parts[min(width - 1, max(0, int(share * width)))].append(value)
    means: list[float | None] = []
    for part in parts:
        means.append(sum(part) / len(part) if part else means[-1] if means else None)
    known = [mean for mean in means if mean is not None]
    low, high = min(known), max(known)
    return "".join(" " if mean is None else _level(mean, low, high, levels) for mean in means)


def levels_for(encoding: str | None) -> str:
    """BLOCKS if the encoding has them, else ASCII."""
    try:
        BLOCKS.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return PLAIN
    return BLOCKS


def _level(value: float, low: float, high: float, levels: str) -> str:
    if high <= low:
        return levels[0]
    share = (value - low) / (high - low)
    return levels[min(len(levels) - 1, max(0, round(share * (len(levels) - 1))))]
