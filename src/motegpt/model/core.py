"""Access to the compiled generators and learning rates, which give the same numbers as the Python here."""

from __future__ import annotations

from functools import cache
from typing import Any


@cache
def numbers() -> Any:
    """The module `_numbers`, which cpp/bind_numbers.cpp makes; None where it is not installed."""
    try:
        from motegpt.model import _numbers
    except ImportError:
        return None
    return _numbers
