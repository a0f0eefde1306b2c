"""The training texts, to reject generated texts that repeat one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from motegpt.data.tokenizers import Tokenizer


class TrainingTexts:
    """A container of the training documents; of a stream (framing "none"), it contains every substring."""

    def __init__(self, documents: Iterable[str], tokenizer: Tokenizer) -> None:
        self._documents = frozenset(documents)
        self._is_stream = tokenizer.framing == "none"

    def __contains__(self, text: object) -> bool:
        if self._is_stream and isinstance(text, str):
            return any(text in document for document in self._documents)
        return text in self._documents


class HashedTexts:
    """A container of texts of which only 64-bit hashes are known, as in a run folder that was moved.

    A text of N is mistaken for one of them with probability N / 2^64. hashes (N): sorted, distinct.
    """

    def __init__(self, hashes: NDArray[np.uint64]) -> None:
        self.hashes = hashes

    @classmethod
    def of(cls, texts: Iterable[str]) -> HashedTexts:
        """The container of some texts."""
        import numpy as np

        return cls(np.unique(np.fromiter(map(text_hash, texts), np.uint64)))

    def union(self, other: HashedTexts) -> HashedTexts:
        """The texts of both."""
        import numpy as np

        return HashedTexts(np.union1d(self.hashes, other.hashes))

    def __contains__(self, text: object) -> bool:
        return isinstance(text, str) and text_hash(text) in self._known

    @cached_property
    def _known(self) -> frozenset[int]:
        """The hashes as a set, where one is found twenty times as fast as in the array."""
        return frozenset(self.hashes.tolist())


def text_hash(text: str) -> int:
    """The first 64 bits of the SHA-256 of a text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
