"""Values in messages and in notebooks: one short line each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

WIDTH = 100  # columns
LONGEST = 40  # columns of one value


def concise(name: str, values: Mapping[str, Any]) -> str:
    """Name(steps=1000, lr=0.01, …): as many of the values as fit into WIDTH columns, without None."""
    parts = [f"{key}={_text(value)}" for key, value in values.items() if value is not None]
    line = f"{name}({', '.join(parts)})"
    while len(line) > WIDTH:
        parts.pop()
        line = f"{name}({', '.join([*parts, '…'])})"
    return line


def concise_repr(one: Any) -> str:
    """The __repr__ of a dataclass: its fields as far as they fit; those at their defaults are left out."""
    values = {field.name: getattr(one, field.name) for field in fields(one)}
    differing = {field.name for field in fields(one) if values[field.name] != field.default}
    return concise(type(one).__name__, {name: values[name] for name in values if name in differing})


def _text(value: Any) -> str:
    """A value; a float to six digits."""
    return f"{value:.6g}" if isinstance(value, float) else shortened(value, LONGEST)


def is_surrogate(character: str) -> bool:
    """Whether it is half of a pair, which is no character and has no UTF-8."""
    return "\ud800" <= character <= "\udfff"


def has_surrogate(text: str) -> bool:
    """Whether some of it is no Unicode character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def shortened(value: object, most: int = 80) -> str:
    """A value for a message, in one line of at most `most` characters, however large it is."""
    try:
        text = repr(value[:80] if isinstance(value, str) else value)
        text = " ".join(line.strip() for line in text.splitlines())
    except RecursionError:
        return f"a {type(value).__name__} nested thousands deep"
    except Exception:  # an int of more digits than Python prints, or a __repr__ that fails
        return "a number of thousands of digits" if isinstance(value, int) else f"a {type(value).__name__}"
    return text if len(text) <= most else text[: most - 3] + "..."
