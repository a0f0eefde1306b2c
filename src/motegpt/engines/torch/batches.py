"""Batches as padded tensors: split into equal parts, and prefetched by another thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from motegpt.data.batches import Chunk
from motegpt.errors import SettingError
from motegpt.model.dropout import Masks
from motegpt.ngrams.keys import NONE
from motegpt.ngrams.vectors import Vectors

S = TypeVar("S")
T = TypeVar("T")
PREFETCHED = 2  # blocks that are ready or in progress while the steps of another are computed
BLOCK_POSITIONS = 2**16  # of the batches that are padded together, which bounds the memory of a long chunk


class Part(NamedTuple):
    """Some sequences of a batch: ids, targets and weights, each (B, T) and padded with zeros.

    keys (B, sites): of the masks of dropout; None without dropout. rows, scales (orders, B, T): of the n-gram
    embedding, if there is one: rows of the tables, and the factors of their vectors, 0 where there is none.
    """

    ids: Tensor
    targets: Tensor
    weights: Tensor
    keys: Tensor | None = None
    rows: Tensor | None = None
    scales: Tensor | None = None

    def map(self, function: Callable[[Tensor], Tensor]) -> Part:
        """The function of each tensor."""
        made = (None if tensor is None else function(tensor) for tensor in self)
        return Part(*made)  # type: ignore[arg-type]


class Steps(NamedTuple):
    """One rank's share of the batches of consecutive steps.

    whole: the share of all steps, each tensor with one more axis in front; widths: the number of positions of
    each part of each step; used: of each step, the rows of the tables that the whole batch reads.
    """

    whole: Part
    widths: list[list[int]]
    used: list[list[Tensor]]

    def to(self, device: torch.device) -> Steps:
        """On a device; asynchronous from pinned memory."""
        return self._replace(whole=self.whole.map(lambda tensor: tensor.to(device, non_blocking=True)))

    def pinned(self) -> Steps:
        """In page-locked memory, which a GPU reads without the processor."""
        return self._replace(whole=self.whole.map(Tensor.pin_memory))

    def parts(self, i: int) -> list[Part]:
        """The parts of the batch of step i."""
        widths = self.widths[i]
        size = self.whole.ids.shape[1] // len(widths)
        return [self._part(i, slice(n * size, (n + 1) * size), width) for n, width in enumerate(widths)]

    def _part(self, i: int, own: slice, width: int) -> Part:
        ids, targets, weights = (x[i, own, :width].contiguous() for x in self.whole[:3])
        keys, *of_tables = self.whole[3:]
        rows, scales = (None if x is None else x[i, :, own, :width].contiguous() for x in of_tables)
        return Part(ids, targets, weights, None if keys is None else keys[i, own], rows, scales)


class Padded(NamedTuple):
    """The batches of some steps: ids, targets and weights, each (steps, B, T) and padded with zeros.

    lengths (steps, B): number of positions of each sequence.
    """

    ids: NDArray[np.int64]
    targets: NDArray[np.int64]
    weights: NDArray[np.float64]
    lengths: NDArray[np.int64]

    @classmethod
    def of(cls, chunk: Chunk, steps: slice) -> Padded:
        """Those of some steps of a chunk."""
        lengths = chunk.lengths[steps] - 1
        positions = np.arange(lengths.max())
        inside = positions < lengths[..., None]
        at = np.where(inside, chunk.starts[steps][..., None] + positions, 0)
        weights = np.zeros(inside.shape)
        weights[inside] = chunk.weights_of(steps)
        ids, targets = (np.where(inside, chunk.tokens[x], 0).astype(np.int64) for x in (at, at + inside))
        return cls(ids, targets, weights, lengths)

    def inputs(self, i: int) -> list[Any]:
        """The ids of each sequence of a step, without padding, as arrays."""
        return [row[:length] for row, length in zip(self.ids[i], self.lengths[i], strict=True)]


def steps_of(
    padded: Padded,
    share: slice,
    accumulate: int,
    dtype: torch.dtype,
    keys: Sequence[NDArray[np.int64]] = (),
    vectors: Sequence[Vectors] = (),
) -> Steps:
    """The batches of some steps, of which one rank has the sequences of `share`, in `accumulate` parts.

    keys (B, sites), vectors: of each step, of its whole batch. Weights are those of the whole batch, so
    losses and gradients of all parts of all ranks add up to those of the batch, whatever the lengths of the
    sequences.
    """
    ids, targets, weights = (torch.from_numpy(x[:, share]) for x in padded[:3])
    steps, count = padded.lengths[:, share].shape
    widths = padded.lengths[:, share].reshape(steps, accumulate, count // accumulate).max(2).tolist()
    whole = Part(ids, targets, weights.to(dtype))
    if keys:
        whole = whole._replace(keys=torch.from_numpy(np.stack(keys)[:, share]))
    if vectors:
        rows = np.full((steps, len(vectors[0].rows), *padded.ids.shape[1:]), NONE)
        for own, (found, _) in zip(rows, vectors, strict=True):
            own[:, :, : found.shape[2]] = found
        of_tables = rows_and_scales(Vectors(rows[:, :, share], vectors[0].scale), dtype)
        whole = Part(*whole[:4], *of_tables)
    return Steps(whole, widths, [used_rows(of_step) for of_step in vectors] or [[]] * steps)


def mask_keys(masks: Masks, sites: Sequence[int], count: int) -> NDArray[np.int64]:
    """The keys (count, sites) of the masks of a batch of `count` documents."""
    documents = np.arange(count, dtype=np.uint64)
    return np.stack([masks.key(site, documents) for site in sites], 1).astype(np.int64)


def rows_and_scales(vectors: Vectors, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """See Part: both of the shape of the rows."""
    rows = torch.from_numpy(vectors.rows)
    return rows.clamp(min=0), (rows >= 0).to(dtype) * vectors.scale


def used_rows(vectors: Vectors) -> list[Tensor]:
    """The rows of each table that a batch reads, ascending."""
    return [torch.from_numpy(np.unique(rows[rows >= 0])) for rows in vectors.rows]


def check_division(batch_size: int, ranks: int, accumulate: int) -> None:
    """SettingError unless a batch divides into equal parts."""
    if batch_size % (ranks * accumulate):
        fitting = -(-batch_size // (ranks * accumulate)) * ranks * accumulate
        raise SettingError(
            f"batch_size: expected a multiple of {ranks * accumulate} ({ranks} ranks, each with accumulate = "
            f"{accumulate} parts), got {batch_size}; try `batch_size={fitting}`, or fewer of them"
        )


def blocks(chunk: Chunk) -> list[slice]:
    """The steps of a chunk in blocks of at most BLOCK_POSITIONS positions, or of one step."""
    count, batch_size = chunk.starts.shape
    size = max(1, BLOCK_POSITIONS // (batch_size * int(chunk.lengths.max(initial=1))))
    return [slice(first, min(first + size, count)) for first in range(0, count, size)]


def prefetch(make: Callable[[S], T], given: Iterable[S]) -> Iterator[T]:
    """make(x) for each x given, called in another thread while the caller works on earlier ones."""
    with ThreadPoolExecutor(1) as pool:
        waiting: deque[Future[T]] = deque()
        try:
            for x in given:
                waiting.append(pool.submit(make, x))
                if len(waiting) > PREFETCHED:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
