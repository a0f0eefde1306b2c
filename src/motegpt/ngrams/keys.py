"""Sorted keys, and the rows of keys in them. NumPy is imported when it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NONE = -1  # the row of a key that is not there


def rows_of(keys: NDArray[np.int64], wanted: NDArray[Any]) -> NDArray[np.int64]:
    """The index of each wanted key among sorted keys, NONE where it is not there.   -> as wanted"""
    import numpy as np

    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, at, NONE)
