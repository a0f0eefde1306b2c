"""One-line representations of values for messages and notebooks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import PureWindowsPath
from typing import Any, overload

MAX_LINE = 100  # columns
MAX_VALUE = 40  # columns of one value
UNNAMED = "unnamed"  # the name of a path without one, such as /


def concise(name: str, values: Mapping[str, Any]) -> str:
    """Name(steps=1000, lr=0.01, …): the values that fit into MAX_LINE columns; None is omitted."""
    parts = [f"{key}={_text(value)}" for key, value in values.items() if value is not None]
    line = f"{name}({', '.join(parts)})"
    while len(line) > MAX_LINE:
        parts.pop()
        line = f"{name}({', '.join([*parts, '…'])})"
    return line


def concise_repr(one: Any) -> str:
    """A __repr__ for dataclasses: the fields that fit; fields with default values are omitted."""
    values = {field.name: getattr(one, field.name) for field in fields(one)}
    differing = {field.name for field in fields(one) if values[field.name] != field.default}
    return concise(type(one).__name__, {name: values[name] for name in values if name in differing})


def _text(value: Any) -> str:
    """A short repr; floats with six digits."""
    return f"{value:.6g}" if isinstance(value, float) else shortened(value, MAX_VALUE)


def is_surrogate(character: str) -> bool:
    """Whether it is half of a surrogate pair, which is not a character and has no UTF-8."""
    return "\ud800" <= character <= "\udfff"


def has_surrogate(text: str) -> bool:
    """Whether the text contains a lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def shortened(value: object, max_length: int = 80) -> str:
    """The repr of a value on one line, truncated to `max_length` characters."""
    try:
        text = repr(value[:80] if isinstance(value, str) else value)
        text = " ".join(line.strip() for line in text.splitlines())
    except RecursionError:
        return f"a {type(value).__name__} nested thousands deep"
    except Exception:  # an int of more digits than Python prints, or a __repr__ that fails
        return "a number of thousands of digits" if isinstance(value, int) else f"a {type(value).__name__}"
    return text if len(text) <= max_length else text[: max_length - 3] + "..."


@overload
def file_name(path: str) -> str: ...
@overload
def file_name(path: None) -> None: ...
def file_name(path: str | None) -> str | None:
    """The last part of a path of any system; None for None."""
    return None if path is None else PureWindowsPath(path).name or UNNAMED  # it knows both separators


def visible(text: str, encoding: str = "utf-8") -> str:
    """A text as one printable line in an encoding, with escapes for other characters."""
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return shown.encode(encoding, "backslashreplace").decode(encoding)


def counted(count: int, noun: str) -> str:
    """A number of things.

    >>> counted(1, "training"), counted(1200, "training")
    ('1 training', '1,200 trainings')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
