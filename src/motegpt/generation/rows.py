"""Generated ids as arrays, as an engine that generates whole texts returns them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Rows(NamedTuple):
    """n texts. ids (n, T): the ids after the prompt, without the end, then -1; lengths (n): how many there
    are; states (n): of the generators afterwards.
    """

    ids: NDArray[np.int32]
    lengths: NDArray[np.int64]
    states: NDArray[np.uint64]

    def lists(self) -> list[list[int]]:
        """The ids of each text."""
        rows = self.ids[:, : self.longest].tolist()
        return [row[:length] for row, length in zip(rows, self.lengths.tolist(), strict=True)]

    @property
    def longest(self) -> int:
        """The largest length; 0 without texts."""
        return int(self.lengths.max(initial=0))
