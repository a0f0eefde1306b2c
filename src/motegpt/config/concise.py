"""What a notebook shows of an object: one short line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from motegpt.config.fields import shortened

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
