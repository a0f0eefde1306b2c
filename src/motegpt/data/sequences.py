"""Token sequences in flat memory."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import accumulate, chain, pairwise
from typing import TYPE_CHECKING, Any, Literal, overload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = Any  # an int, or a NumPy array of them
    Mask = memoryview[int] | memoryview[float]

NATIVE = "le" if sys.byteorder == "little" else "be"
# Ids are created as code points, which Python encodes in bulk, with 1, 2 or 4 bytes per id.
WIDTHS: tuple[tuple[int, Literal["B", "H", "I"], str], ...] = (
    (2**8, "B", "latin-1"),
    (2**16, "H", f"utf-16-{NATIVE}"),
    (2**32, "I", f"utf-32-{NATIVE}"),
)


class TokenSequences(Sequence[list[int]]):
    """Sequence i is tokens[offsets[i] : offsets[i + 1]], truncated to max_length ids.

    tokens: ids of 1, 2 or 4 bytes each, read-only; offsets (n + 1); mask: for each token its weight in the
    loss where it is a target, as bytes of 0 and 1, or doubles of at least 0; None: all are 1.

    >>> TokenSequences.of([[1, 2, 3], [4, 5]])[0]
    [1, 2, 3]
    """

    def __init__(
        self,
        tokens: memoryview[int],
        offsets: array[int],
        max_length: int = sys.maxsize,
        mask: Mask | None = None,
    ) -> None:
        self.tokens, self.offsets, self.max_length, self.mask = tokens, offsets, max_length, mask

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
        shorter = TokenSequences(self.tokens, self.offsets, min(max_length, self.max_length), self.mask)
        if self.mask is not None:
            shorter.counted_before = self.counted_before
        return shorter

    def counted(self) -> NDArray[np.int64]:
        """How many targets of each sequence count in the loss (n)."""
        import numpy as np

        starts, lengths = self.span(np.arange(len(self)))
        if self.mask is None:
            return np.asarray(lengths - 1)
        return np.asarray(self.counted_before[starts + lengths] - self.counted_before[starts + 1])

    def weights(self) -> NDArray[Any] | None:
        """The weights of all targets, concatenated; None if all are 1."""
        if self.mask is None:
            return None
        import numpy as np

        starts, lengths = self.span(np.arange(len(self)))
        return np.asarray(self.mask)[positions(starts + 1, lengths - 1)]

    @cached_property
    def counted_before(self) -> NDArray[np.int64]:
        """Of masked sequences, how many of the first n tokens count as targets (tokens + 1)."""
        assert self.mask is not None
        return running_count(self.mask)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # compares equal to lists

    def __reduce__(self) -> tuple[Any, ...]:
        """As arrays: memory itself cannot be sent to another process."""
        mask = None if self.mask is None else array(self.mask.format, self.mask)
        return _of_arrays, (array(self.tokens.format, self.tokens), self.offsets, self.max_length, mask)


def _of_arrays(
    tokens: array[int], offsets: array[int], longest: int, mask: array[Any] | None
) -> TokenSequences:
    """The sequences as they were before they were sent."""
    flat = None if mask is None else memoryview(mask).toreadonly()
    return TokenSequences(memoryview(tokens).toreadonly(), offsets, longest, flat)


def take(values: Sequence[int], at: Numbers) -> Numbers:
    """values[at], for an int or a NumPy array of them."""
    if isinstance(at, int):
        return values[at]
    import numpy as np

    return np.asarray(values)[at]


def running_count(values: Mask) -> NDArray[np.int64]:
    """How many of the first 0, 1, 2, … values are not 0."""
    import numpy as np

    return np.concatenate([[0], np.cumsum(np.asarray(values) != 0, dtype=np.int64)])


def running_offsets(lengths: array[int], more: int) -> array[int]:
    """Where sequences of these lengths, and `more` tokens each, start and end in flat memory (n + 1)."""
    try:
        import numpy as np
    except ImportError:
        return array("q", accumulate(map(more.__add__, lengths), initial=0))
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(np.add(lengths, more, dtype=np.int64), out=offsets[1:])
    return array("q", offsets.tobytes())


def positions(starts: Numbers, lengths: Numbers) -> Numbers:
    """start, start + 1, … of each of several spans, concatenated. starts, lengths (n) -> (Σ lengths)"""
    import numpy as np

    ends = np.cumsum(lengths)
    return np.repeat(starts - ends + lengths, lengths) + np.arange(ends[-1] if len(ends) else 0)


def minimum(x: Numbers, bound: int) -> Numbers:
    """min(x, bound), for an int or a NumPy array of them."""
    if isinstance(x, int):
        return min(x, bound)
    import numpy as np

    return np.minimum(x, bound)


def mask_of(sequences: Sequence[Sequence[int]]) -> Mask | None:
    """The mask of sequences in flat memory, as in TokenSequences; None if all targets count."""
    return sequences.mask if isinstance(sequences, TokenSequences) else None


def packed_ids(texts: Iterable[str], count: int) -> memoryview[int]:
    """Ids below `count`, given as strings of code points, in the smallest unsigned type."""
    form, encoding = next((form, encoding) for limit, form, encoding in WIDTHS if count <= limit)
    packed = bytearray()
    for text in texts:
        packed += text.encode(encoding, "surrogatepass")
    return memoryview(packed).toreadonly().cast(form)
