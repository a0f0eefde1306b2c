"""Warnings attributed to the caller of motegpt."""

from __future__ import annotations

import sys
import warnings


def warn(text: str, category: type[Warning]) -> None:
    """Issue a warning located at the innermost line outside motegpt, the call of its API."""
    depth, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals["__name__"].startswith("motegpt."):
        depth, frame = depth + 1, frame.f_back
    warnings.warn(text, category, stacklevel=depth)
