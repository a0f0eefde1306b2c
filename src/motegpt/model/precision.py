"""Rounding to single precision without NumPy."""

from __future__ import annotations

from ctypes import c_float


def single(x: float) -> float:
    """x rounded to single precision."""
    return c_float(x).value
