"""Batches as padded tensors: split into equal parts, and prefetched by another thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from motegpt.data.plan import Batch
from motegpt.errors import SettingError
from motegpt.model.dropout import Masks
from motegpt.ngrams.vectors import Vectors

T = TypeVar("T")
PREFETCHED = 2  # batches that are ready or in progress while a step is computed


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

    def to(self, device: torch.device) -> Part:
        """A copy on a device; asynchronous from pinned memory."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self) -> Part:
        """A copy in page-locked memory, which a GPU reads without the processor."""
        return self._map(Tensor.pin_memory)

    def _map(self, function: Callable[[Tensor], Tensor]) -> Part:
        made = (None if tensor is None else function(tensor) for tensor in self)
        return Part(*made)  # type: ignore[arg-type]


def mask_keys(masks: Masks, sites: Sequence[int], count: int) -> Tensor:
    """The keys (count, sites) of the masks of a batch of `count` documents."""
    documents = np.arange(count, dtype=np.uint64)
    return torch.from_numpy(np.stack([masks.key(site, documents) for site in sites], 1).astype(np.int64))


def rows_and_scales(vectors: Vectors, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """See Part: both (orders, B, T)."""
    rows = torch.from_numpy(vectors.rows)
    return rows.clamp(min=0), (rows >= 0).to(dtype) * vectors.scale


def used_rows(vectors: Vectors) -> list[Tensor]:
    """The rows of each table that a batch reads, ascending."""
    return [torch.from_numpy(np.unique(rows[rows >= 0])) for rows in vectors.rows]


def to_part(
    batch: Batch, dtype: torch.dtype, keys: Tensor | None = None, vectors: Vectors | None = None
) -> Part:
    """The sequences of a batch as one part. vectors: theirs, of at least as many positions."""
    lengths = np.array([len(row) for row in batch.inputs])
    inside = np.arange(lengths.max()) < lengths[:, None]
    ids, targets = (_padded(rows, inside, torch.int64) for rows in (batch.inputs, batch.targets))
    part = Part(ids, targets, _padded(batch.weights, inside, dtype), keys)
    if vectors is None:
        return part
    of_part = vectors._replace(rows=np.ascontiguousarray(vectors.rows[:, :, : inside.shape[1]]))
    return Part(*part[:4], *rows_and_scales(of_part, dtype))


def _padded(rows: Sequence[Sequence[float]], inside: NDArray[np.bool_], dtype: torch.dtype) -> Tensor:
    """Ragged rows as one tensor: their numbers where `inside` (B, T) is true, zeros elsewhere."""
    padded = torch.zeros(inside.shape, dtype=dtype)
    padded[torch.from_numpy(inside)] = torch.tensor(list(chain.from_iterable(rows)), dtype=dtype)
    return padded


def split_batch(
    batch: Batch,
    ranks: int,
    rank: int,
    accumulate: int,
    dtype: torch.dtype,
    keys: Tensor | None = None,
    vectors: Vectors | None = None,
) -> list[Part]:
    """One rank's share of a batch, in `accumulate` parts. keys: as in Part, vectors: both of the whole batch.

    Weights are those of the whole batch, so losses and gradients of all parts of all ranks add up to those
    of the batch, whatever the lengths of the sequences.
    """
    size = len(batch.inputs) // (ranks * accumulate)
    starts = range(rank * accumulate * size, (rank + 1) * accumulate * size, size)
    parts = []
    for which in (slice(start, start + size) for start in starts):
        own_keys = None if keys is None else keys[which]
        own_vectors = None if vectors is None else vectors._replace(rows=vectors.rows[:, which])
        parts.append(to_part(slice_of(batch, which), dtype, own_keys, own_vectors))
    return parts


def slice_of(batch: Batch, which: slice) -> Batch:
    """Some sequences of a batch, their weights unchanged."""
    return Batch(batch.inputs[which], batch.targets[which], batch.weights[which])


def check_division(batch_size: int, ranks: int, accumulate: int) -> None:
    """SettingError unless a batch divides into equal parts."""
    if batch_size % (ranks * accumulate):
        fitting = -(-batch_size // (ranks * accumulate)) * ranks * accumulate
        raise SettingError(
            f"batch_size: expected a multiple of {ranks * accumulate} ({ranks} ranks, each with accumulate = "
            f"{accumulate} parts), got {batch_size}; try `batch_size={fitting}`, or fewer of them"
        )


def prefetch(make: Callable[[int], T], steps: Iterable[int]) -> Iterator[T]:
    """make(step) for each step, called in another thread while the caller works on earlier ones."""
    with ThreadPoolExecutor(1) as pool:
        waiting: deque[Future[T]] = deque()
        try:
            for step in steps:
                waiting.append(pool.submit(make, step))
                if len(waiting) > PREFETCHED:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
