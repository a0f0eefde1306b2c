"""A sliding context window for texts longer than the block; it moves in strides of about half a block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from motegpt.engines.base import Decoder


def window_start(length: int, block_size: int) -> int:
    """The first token in context: 0 if all fit, else between half a block and a block from the end."""
    stride = block_size - max(1, block_size // 2) + 1
    return max(0, -(-(length - block_size) // stride)) * stride


class SlidingContext:
    """A decoder that takes whole texts and feeds the tokens of their context windows."""

    def __init__(self, decoder: Decoder, block_size: int) -> None:
        self._decoder, self._block_size = decoder, block_size
        self._start = self._length = 0

    def logits(
        self, histories: Sequence[Sequence[int]], sources: Sequence[int] | None = None
    ) -> Sequence[Sequence[float]]:
        """The logits (n, V) after n texts of equal length, one token longer than in the previous call.

        sources: text i continues text sources[i] of the previous call; None: text i.
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
