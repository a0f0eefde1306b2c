"""The types of arrays, and the table that has the backward of each operation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
Ids = NDArray[np.intp]

Backward = TypeVar("Backward", bound=Callable[..., Any])
BACKWARD: dict[Callable[..., Any], Callable[..., Any]] = {}  # forward -> backward


def backward_of(forward: Callable[..., Any]) -> Callable[[Backward], Backward]:
    """Makes a function the backward of an operation in BACKWARD."""

    def register(backward: Backward) -> Backward:
        BACKWARD[forward] = backward
        return backward

    return register
