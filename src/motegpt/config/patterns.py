"""Cut texts into pieces by a regular expression, in bounded time.

A pattern may come with a run folder, which is untrusted input, and `re` backtracks: `(a+)+b` takes
exponential time. So a pattern sees MAX_PIECE characters at a time, has no references, and there are at most
MAX_PATHS ways to go through it; two repetitions in a row have MAX_PIECE².
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from motegpt.config.text import shortened

WORDS = r" ?\w+| ?[^\w\s]+|\s+(?!\S)|\s+"  # a word or punctuation marks with the space before, or white space
MAX_PATTERN, MAX_PIECE = 2000, 256  # characters
MAX_PATHS = 2**17


@cache
def compiled(pattern: str) -> re.Pattern[str]:
    """The compiled pattern; ValueError with the reason if it is none, or not of bounded time."""
    if len(pattern) > MAX_PATTERN:
        raise ValueError(f"one of {len(pattern):,} characters, more than {MAX_PATTERN:,}")
    try:
        found = re.compile(pattern)
        tree = re._parser.parse(pattern)  # type: ignore[attr-defined]  # the tree has no public name
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"{shortened(pattern)} ({error})") from None
    if _paths(tree) > MAX_PATHS:
        raise ValueError(
            f"{shortened(pattern)}, which can take too long: it refers to a group, repeats a choice or a "
            "repetition, or has three repetitions in a row"
        )
    return found


def pieces(pattern: str, text: str) -> Iterator[str]:
    """The matches in order; each character that no match covers is a piece of its own. They make up the text.

    >>> list(pieces("[A-Z][a-z]?", "NaCl."))
    ['Na', 'Cl', '.']
    """
    match, at = compiled(pattern).match, 0
    while at < len(text):
        found = match(text, at, at + MAX_PIECE)
        end = max(at + 1, found.end()) if found else at + 1
        yield text[at:end]
        at = end


def _paths(tree: Iterable[Any]) -> int:
    """How many ways there are to go through a pattern: the product over its nodes, at most MAX_PATHS + 1."""
    return min(math.prod(_paths_of(str(op), value) for op, value in tree), MAX_PATHS + 1)


def _paths_of(op: str, value: Any) -> int:
    """The same of one node of the tree of a pattern."""
    match op:
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            low, high, inner = value
            most, once = min(int(high), MAX_PIECE), _paths(inner)
            return sum(once**times for times in range(min(int(low), most), most + 1))
        case "SUBPATTERN":
            return _paths(value[-1])
        case "BRANCH":
            return sum(map(_paths, value[1]))
        case "ASSERT" | "ASSERT_NOT":
            return _paths(value[1])
        case "ATOMIC_GROUP":
            return _paths(value)
        case _:
            return MAX_PATHS + 1 if op.startswith("GROUPREF") else 1
