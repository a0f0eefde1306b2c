"""The order of the documents in each epoch, where epochs are reshuffled: a pure function of (seed, epoch)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from motegpt.model.rng import splitmix64

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = Any  # an int, or a NumPy array of int64


def epoch_orders(seed: int, first: int, count: int, n: int) -> NDArray[np.int64]:
    """0 … n - 1 in the orders of the epochs first … first + count - 1: (count, n).

    Sorted by the high bits of splitmix64(splitmix64(seed, epoch), index), then by index.
    """
    epochs, indices = (np.arange(size, dtype=np.uint64) for size in (count, n))
    bits = (n - 1).bit_length()
    hashes = splitmix64(splitmix64(seed, epochs + np.uint64(first))[:, None], indices)
    keys: NDArray[np.uint64] = hashes >> bits << bits | indices
    keys.sort(axis=1)  # in place; no two are equal, so every method of sorting gives the same
    keys &= np.uint64(2**bits - 1)
    return keys.view(np.int64)


class EpochOrders:
    """Which of n documents comes when. Keeps the orders of the epochs that were asked for last."""

    def __init__(self, seed: int, lengths: NDArray[np.int64], order: Sequence[int] | None) -> None:
        """lengths (n): of the documents; order: of the first epoch, None for their own."""
        self._seed, self._lengths = seed, lengths
        self._first_order = np.arange(len(lengths)) if order is None else np.asarray(order)
        self._first, self._orders = 0, self._first_order[None]  # of epochs _first, _first + 1, …
        self._running: dict[int, NDArray[np.int64]] = {}

    def index(self, number: Numbers) -> Numbers:
        """The document that comes as number epoch · n + place."""
        epoch, place = divmod(number, len(self._lengths))
        if isinstance(number, int):
            return int(self._of(epoch, epoch)[0, place])
        if not number.size:
            return number
        lowest = int(epoch.min())
        return self._of(lowest, int(epoch.max()))[epoch - lowest, place]

    def length_before(self, epoch: int, place: int) -> int:
        """The sum of the lengths of the first `place` documents of an epoch."""
        if place == 0:
            return 0
        if epoch not in self._running:
            kept = dict(list(self._running.items())[-1:])
            self._running = {**kept, epoch: np.cumsum(self._lengths[self._of(epoch, epoch)[0]])}
        return int(self._running[epoch][place - 1])

    def _of(self, lowest: int, highest: int) -> NDArray[np.int64]:
        """The orders of the epochs lowest … highest: (highest - lowest + 1, n)."""
        if not self._first <= lowest <= highest < self._first + len(self._orders):
            orders = epoch_orders(self._seed, lowest, highest - lowest + 1, len(self._lengths))
            if lowest == 0:
                orders[0] = self._first_order
            self._first, self._orders = lowest, orders
        return self._orders[lowest - self._first : highest - self._first + 1]
