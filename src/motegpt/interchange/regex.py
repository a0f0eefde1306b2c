"""Token patterns for the library `tokenizers`, whose regular expressions are Oniguruma's, not Python's.

The two disagree on what \\w and \\s are, on flags and on anchors. A tokenizer has a finite alphabet, though,
so every part of a pattern that matches one character becomes the list of the characters that it matches.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from motegpt.config.patterns import compiled
from motegpt.config.text import shortened
from motegpt.errors import SettingError

ANY = r"[\s\S]"
NEVER = "(?!)"
TYPES = re.ASCII | re.LOCALE | re.UNICODE  # flags of which a part of a pattern has one


def oniguruma(pattern: str, alphabet: str) -> str:
    """A pattern whose matches are those of a token pattern in texts of the alphabet, and any other character.

    Raises SettingError for a pattern that can match the empty text, as the library then skips a character.
    """
    compiled(pattern)
    tree = re._parser.parse(pattern)  # type: ignore[attr-defined]  # the tree has no public name
    if not tree.getwidth()[0]:
        raise SettingError(
            f"token_pattern: expected one that matches at least a character, got {shortened(pattern)}; it "
            "cannot be exported"
        )
    return f"(?:{_sequence(tree, tree.state.flags, alphabet)})|{ANY}"


def _sequence(tree: Iterable[Any], flags: int, alphabet: str) -> str:
    return "".join(_part(str(op), (op, value), flags, alphabet) for op, value in tree)


def _part(op: str, node: tuple[Any, Any], flags: int, alphabet: str) -> str:
    """One node of the tree of a pattern."""
    value = node[1]
    match op:
        case "LITERAL" | "NOT_LITERAL" | "ANY" | "IN":
            return _one_of(_matches(node, flags, alphabet))
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            low, high, inner = value
            most = "" if str(high) == "MAXREPEAT" else int(high)
            repeated = f"(?:{_sequence(inner, flags, alphabet)}){{{int(low)},{most}}}"
            return {"MIN_REPEAT": f"{repeated}?", "MAX_REPEAT": repeated}.get(op, f"(?>{repeated})")
        case "SUBPATTERN":
            _, added, removed, inner = value
            kept = flags & ~(TYPES if added & TYPES else 0) & ~removed
            return f"(?:{_sequence(inner, kept | added, alphabet)})"
        case "BRANCH":
            return f"(?:{'|'.join(_sequence(inner, flags, alphabet) for inner in value[1])})"
        case "ASSERT" | "ASSERT_NOT":
            direction, inner = value
            sign = "<" * (direction < 0) + ("=" if op == "ASSERT" else "!")
            return f"(?{sign}{_sequence(inner, flags, alphabet)})"
        case "ATOMIC_GROUP":
            return f"(?>{_sequence(value, flags, alphabet)})"
        case "AT":
            return _anchor(str(value), flags, alphabet)
        case _:
            raise SettingError(f"token_pattern: expected one that can be exported, got one with {op.lower()}")


def _anchor(kind: str, flags: int, alphabet: str) -> str:
    """A place between two characters."""
    in_lines = flags & re.MULTILINE
    word = _one_of(filter(re.compile(r"\w", flags & re.ASCII).match, alphabet))
    is_edge = f"(?<={word})(?!{word})|(?<!{word})(?={word})"
    return {
        "AT_BEGINNING": "^" if in_lines else r"\A",
        "AT_BEGINNING_STRING": r"\A",
        "AT_END": "$" if in_lines else r"\Z",
        "AT_END_STRING": r"\z",
        "AT_BOUNDARY": f"(?:{is_edge})",
        "AT_NON_BOUNDARY": f"(?!{is_edge})",
    }[kind]


def _matches(node: tuple[Any, Any], flags: int, alphabet: str) -> Iterator[str]:
    """The characters of the alphabet that a node matches."""
    state = re._parser.State()  # type: ignore[attr-defined]
    state.flags = flags
    single = re._compiler.compile(re._parser.SubPattern(state, [node]), flags)  # type: ignore[attr-defined]
    return filter(single.match, alphabet)


def _one_of(characters: Iterable[str]) -> str:
    """A class of characters, as ranges of code points."""
    runs: list[list[int]] = []
    for code in sorted(map(ord, characters)):
        if runs and code == runs[-1][1] + 1:
            runs[-1][1] = code
        else:
            runs.append([code, code])
    ranges = (f"\\x{{{first:x}}}" + f"-\\x{{{last:x}}}" * (last > first) for first, last in runs)
    return f"[{''.join(ranges)}]" if runs else NEVER
