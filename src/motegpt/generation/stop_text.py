"""Stop texts for tokenizers with multi-character tokens: matched in the decoded bytes, not in the ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from motegpt.config.text import concise_repr


@dataclass(frozen=True)
class StopText:
    """A text that ends generation; it may have several tokenizations, and begin and end within a token.

    stop: the text in UTF-8; tokens: the bytes of every id.
    """

    stop: bytes
    tokens: Sequence[bytes]

    __repr__ = concise_repr

    def occurs_in(self, drawn: Sequence[int]) -> bool:
        """Whether the last tokens of `drawn` contain the stop text."""
        return self.stop in self._bytes_of(drawn[-len(self.stop) :])

    def completing(self, drawn: Sequence[int]) -> list[int]:
        """The ids that would complete the stop text after `drawn`."""
        encoded = self._bytes_of(drawn[-len(self.stop) :])
        before = encoded[max(0, len(encoded) - len(self.stop) + 1) :]
        return [i for i, token in enumerate(self.tokens) if self.stop in before + token]

    def too_early(self, drawn: Sequence[int], min_new_tokens: int) -> set[int]:
        """The completing ids that would leave fewer than min_new_tokens whole tokens before the stop text."""
        return {i for i in self.completing(drawn) if self._tokens_before_stop([*drawn, i]) < min_new_tokens}

    def never_completes(self, token: int) -> bool:
        """Whether this id cannot complete the stop text, whichever text precedes it."""
        encoded = self.tokens[token]
        ends = (self.stop[-size:] for size in range(1, len(self.stop) + 1))
        return self.stop not in encoded and not any(map(encoded.startswith, ends))

    def _tokens_before_stop(self, ids: Sequence[int]) -> int:
        """The number of whole tokens before the first stop text in `ids`, which must contain it."""
        at = self._bytes_of(ids).find(self.stop)
        return sum(end <= at for end in accumulate(len(self.tokens[i]) for i in ids))

    def _bytes_of(self, ids: Sequence[int]) -> bytes:
        return b"".join(self.tokens[i] for i in ids)
