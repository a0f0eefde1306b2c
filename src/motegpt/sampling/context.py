"""What the model sees of a text that may be longer than its block: a window that moves on in strides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from motegpt.engines.base import Decoder


def window_start(length: int, block_size: int) -> int:
    """The first token the model sees of so many: all that fit, else from the last half to the last block."""
    stride = block_size - max(1, block_size // 2) + 1
    return max(0, -(-(length - block_size) // stride)) * stride


class SlidingContext:
    """A decoder that is fed whole texts as they grow, and sees the window of each."""

    def __init__(self, decoder: Decoder, block_size: int) -> None:
        self._decoder, self._block_size = decoder, block_size
        self._start = self._length = 0

    def logits(
        self, histories: Sequence[Sequence[int]], sources: Sequence[int] | None = None
    ) -> Sequence[Sequence[float]]:
        """The logits (n, V) after n texts of one length, one token longer than the last time.

        sources: text i continues the text sources[i] of the last time; None: each continues its own.
        """
        length = len(histories[0])
        start = window_start(length, self._block_size)
        if start != self._start or self._length == 0:
            self._decoder.reset()
            self._length = start
        elif sources is not None and any(source != i for i, source in enumerate(sources)):
            self._decoder.reorder(sources)
        for at in range(self._length, length):
            logits = self._decoder.feed([history[at] for history in histories])
        self._start, self._length = start, length
        return logits
