"""The arguments of the Python API that are no settings: accepted alike everywhere, refused in one line."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from motegpt.config.fields import Kind, plain
from motegpt.config.text import shortened
from motegpt.errors import DataError, SettingError, UsageError

FLAG = Kind(bool, "")


def flag(name: str, value: Any) -> bool:
    """True or False; SettingError for anything else."""
    found: bool = FLAG.check(name, value)
    return found


def path_of(name: str, value: Any, error: type[UsageError]) -> Path:
    """The path that a string or an os.PathLike gives; `error` where no file can have that name."""
    try:
        text = os.fspath(plain(value))
        is_name = isinstance(text, str) and text != "" and b"\0" not in os.fsencode(text)
    except (TypeError, ValueError):  # no path at all; half of a surrogate pair
        is_name = False
    if not is_name:
        raise error(f"{name}: expected a path, got {shortened(value)}")
    return Path(text)


def is_path(value: object) -> bool:
    """Whether a value names a file: a string or an os.PathLike."""
    return isinstance(plain(value), str | os.PathLike)


def strings(name: str, values: Any, expected: str = "a list of strings") -> list[str]:
    """Plain strings, from an iterable of them; DataError for one alone or a table, though iterable too."""
    is_other = isinstance(plain(values), str) or columns_of(values) is not None
    items = None if is_other else _items(values)
    if items is None:
        raise DataError(f"{name}: expected {expected}, got {shortened(values)}")
    found = [plain(item) for item in items]
    for index, item in enumerate(found):
        if not isinstance(item, str):
            raise DataError(f"{name}: expected {expected}, got {shortened(item)} at index {index}")
    return found


def columns_of(value: Any) -> list[Any] | None:
    """The columns of a table, a mapping or a DataFrame, over which it iterates; None if it is none."""
    columns = value if isinstance(value, Mapping) else getattr(value, "columns", None)
    return None if columns is None else list(columns)


def functions(name: str, value: Any) -> list[Callable[..., object]]:
    """One function, or several, as a list; SettingError if something is none."""
    found = [value] if callable(value) else _items(value)
    if found is None or not all(map(callable, found)):
        raise SettingError(f"{name}: expected a function of a record, or several, got {shortened(value)}")
    return found


def _items(value: Any) -> list[Any] | None:
    """The items of an iterable; None if it is none."""
    try:
        return list(iter(value))
    except TypeError:
        return None
