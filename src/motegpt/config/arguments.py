"""Validation of arguments of the Python API that are not settings."""

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
    """The Path of a string or os.PathLike; raises `error` for other types and invalid file names."""
    try:
        text = os.fspath(plain(value))
        is_name = isinstance(text, str) and text != "" and b"\0" not in os.fsencode(text)
    except (TypeError, ValueError):  # not a path; a lone surrogate
        is_name = False
    if not is_name:
        raise error(f"{name}: expected a path, got {shortened(value)}")
    return Path(text)


def is_path(value: object) -> bool:
    """Whether a value is a string or an os.PathLike."""
    return isinstance(plain(value), str | os.PathLike)


def strings(name: str, values: Any, expected: str = "a list of strings") -> list[str]:
    """Plain strings from an iterable of strings; DataError for a single string or a table."""
    is_string_or_table = isinstance(plain(values), str) or columns_of(values) is not None
    items = None if is_string_or_table else _items(values)
    if items is None:
        raise DataError(f"{name}: expected {expected}, got {shortened(values)}")
    found = [plain(item) for item in items]
    for index, item in enumerate(found):
        if not isinstance(item, str):
            raise DataError(f"{name}: expected {expected}, got {shortened(item)} at index {index}")
    return found


def columns_of(value: Any) -> list[Any] | None:
    """The column names of a mapping or DataFrame; None for anything else."""
    columns = value if isinstance(value, Mapping) else getattr(value, "columns", None)
    return None if columns is None else list(columns)


def functions(name: str, value: Any) -> list[Callable[..., object]]:
    """A list of one function or several; SettingError for anything not callable."""
    found = [value] if callable(value) else _items(value)
    if found is None or not all(map(callable, found)):
        raise SettingError(f"{name}: expected one or more functions of a record, got {shortened(value)}")
    return found


def _items(value: Any) -> list[Any] | None:
    """The items of an iterable; None if the value is not iterable."""
    try:
        return list(iter(value))
    except TypeError:
        return None
