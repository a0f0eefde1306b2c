"""The windows in which sequences are evaluated.

Sequences longer than the block have windows that overlap by half. Each target counts in the first window that
contains it, so every target after the first window has at least half a block of context.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from motegpt.data.batches import Chunk
from motegpt.data.sequences import TokenSequences

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Window(NamedTuple):
    """Inputs start … end - 1 of one sequence (by index); the targets from `first` on count in this window."""

    sequence: int
    start: int
    first: int
    end: int

    @property
    def targets(self) -> int:
        """The number of targets that count in this window, unless a mask leaves some out."""
        return self.end - self.first


def windows_in(sequences: Iterable[Sequence[int]], block_size: int) -> Iterator[Window]:
    """The windows of all sequences, in order; every target counts in exactly one."""
    for i, sequence in enumerate(sequences):
        for window in windows_of(len(sequence) - 1, block_size):
            yield Window(i, *window)


def windows_of(targets: int, block_size: int) -> Iterator[tuple[int, int, int]]:
    """(start, first, end) of each window of one sequence; the reference for `window_table`."""
    done, end = 0, min(targets, block_size)
    while done < end:
        yield max(0, end - block_size), done, end
        done, end = end, min(targets, end + max(1, block_size // 2))


def window_table(sequences: TokenSequences, block_size: int) -> NDArray[np.int64]:
    """The numbers of windows_in, one window per row: (n, 4)."""
    import numpy as np

    step, numbers = max(1, block_size // 2), np.arange(len(sequences))
    targets = sequences.span(numbers)[1] - 1
    counts = np.where(targets > 0, 1 - np.minimum(0, block_size - targets) // step, 0)
    sequence = np.repeat(numbers, counts)
    place = np.arange(len(sequence)) - np.repeat(np.cumsum(counts) - counts, counts)  # within its sequence
    end = np.minimum(targets[sequence], block_size + step * place)
    first = np.where(place == 0, 0, block_size + step * (place - 1))
    return np.stack([sequence, np.maximum(0, end - block_size), first, end], axis=1)


def counted_targets(sequences: TokenSequences, windows: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many targets of each window count in it and are not masked.   windows (n, 4) -> (n)"""
    import numpy as np

    sequence, _, first, end = windows.T
    if sequences.mask is None:
        return np.asarray(end - first)
    before, starts = sequences.counted_before, sequences.span(sequence)[0] + 1
    return np.asarray(before[starts + end] - before[starts + first])


def flat_sequences(sequences: Sequence[Sequence[int]]) -> TokenSequences:
    """The sequences in flat memory."""
    if isinstance(sequences, TokenSequences):
        return sequences
    if len(sequences) == 1 and isinstance(sequences[0], memoryview):
        return TokenSequences.of_stream(sequences[0])
    return TokenSequences.of(sequences)


def chunks_of(
    sequences: TokenSequences, windows: NDArray[np.int64], positions: int
) -> Iterator[tuple[slice, Chunk]]:
    """Consecutive windows and their batch of one step; a target has the weight 1, or that of a mask, where it
    counts, else 0.

    windows: as of window_table; positions: inputs per step, unless one window has more.
    """
    import numpy as np

    sizes = windows[:, 3] - windows[:, 1]
    totals, begin = np.cumsum(sizes), 0
    while begin < len(windows):
        before = totals[begin] - sizes[begin]
        end = max(begin + 1, int(np.searchsorted(totals, before + positions, side="right")))
        part = slice(begin, end)
        yield part, _chunk(sequences, windows[part])
        begin = end


def _chunk(sequences: TokenSequences, windows: NDArray[np.int64]) -> Chunk:
    import numpy as np

    sequence, start, first, end = windows.T
    sizes = end - start
    places = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # within a window
    weights = (places >= np.repeat(first - start, sizes)).astype(np.float64)
    starts = sequences.span(sequence)[0] + start
    if sequences.mask is not None:
        weights *= np.asarray(sequences.mask)[np.repeat(starts, sizes) + places + 1]
    return Chunk(np.asarray(sequences.tokens), starts[None], sizes[None] + 1, weights)
