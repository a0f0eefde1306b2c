"""Token sequences in flat memory."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain, pairwise
from typing import TYPE_CHECKING, Any, Literal, overload

if TYPE_CHECKING:
    Numbers = Any  # an int, or a NumPy array of them

NATIVE = "le" if sys.byteorder == "little" else "be"
# Ids are created as code points, which Python encodes in bulk, with 1, 2 or 4 bytes per id.
WIDTHS: tuple[tuple[int, Literal["B", "H", "I"], str], ...] = (
    (2**8, "B", "latin-1"),
    (2**16, "H", f"utf-16-{NATIVE}"),
    (2**32, "I", f"utf-32-{NATIVE}"),
)


class TokenSequences(Sequence[list[int]]):
    """Sequence i is tokens[offsets[i] : offsets[i + 1]], truncated to max_length ids.

    tokens: ids of 1, 2 or 4 bytes each, read-only; offsets (n + 1).

    >>> TokenSequences.of([[1, 2, 3], [4, 5]])[0]
    [1, 2, 3]
    """

    def __init__(self, tokens: memoryview[int], offsets: array[int], max_length: int = sys.maxsize) -> None:
        self.tokens, self.offsets, self.max_length = tokens, offsets, max_length

    @classmethod
    def of(cls, rows: Iterable[Sequence[int]]) -> TokenSequences:
        """The sequences of lists of ids."""
        rows = list(rows)
        tokens = array("I", chain.from_iterable(rows))
        return cls(memoryview(tokens).toreadonly(), array("q", accumulate(map(len, rows), initial=0)))

    @classmethod
    def of_stream(cls, tokens: memoryview[int]) -> TokenSequences:
        """One sequence, which is not copied."""
        return cls(tokens, array("q", [0, len(tokens)]))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, at: int) -> list[int]: ...
    @overload
    def __getitem__(self, at: slice) -> list[list[int]]: ...
    def __getitem__(self, at: int | slice) -> list[int] | list[list[int]]:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        start = self.offsets[range(len(self))[at]]
        return self.tokens[start : start + self.length(at)].tolist()

    def __iter__(self) -> Iterator[list[int]]:
        for start, end in pairwise(self.offsets):
            yield self.tokens[start : min(end, start + self.max_length)].tolist()

    def span(self, at: Numbers) -> tuple[Numbers, Numbers]:
        """Offset in `tokens` and length of a sequence. at: an int in 0 … n - 1, or a NumPy array of them."""
        start = take(self.offsets, at)
        return start, minimum(take(self.offsets, at + 1) - start, self.max_length)

    def length(self, at: int) -> int:
        """Number of ids of a sequence."""
        length: int = self.span(range(len(self))[at])[1]
        return length

    def truncate(self, max_length: int) -> TokenSequences:
        """The same sequences, truncated to their first `max_length` ids."""
        return TokenSequences(self.tokens, self.offsets, min(max_length, self.max_length))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # compares equal to lists


def take(values: Sequence[int], at: Numbers) -> Numbers:
    """values[at], for an int or a NumPy array of them."""
    if isinstance(at, int):
        return values[at]
    import numpy as np

    return np.asarray(values)[at]


def minimum(x: Numbers, bound: int) -> Numbers:
    """min(x, bound), for an int or a NumPy array of them."""
    if isinstance(x, int):
        return min(x, bound)
    import numpy as np

    return np.minimum(x, bound)


def packed_ids(texts: Iterable[str], count: int) -> memoryview[int]:
    """Ids below `count`, given as strings of code points, in the smallest unsigned type."""
    form, encoding = next((form, encoding) for limit, form, encoding in WIDTHS if count <= limit)
    packed = bytearray()
    for text in texts:
        packed += text.encode(encoding, "surrogatepass")
    return memoryview(packed).toreadonly().cast(form)
