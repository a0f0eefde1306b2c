"""Stop texts and lengths for tokens that are not characters: found in the decoded bytes, not in the ids."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from motegpt.config.text import concise_repr

LONGEST_CHARACTER = 4  # bytes


@dataclass(frozen=True)
class TextRules:
    """What the text after the prefix has to be, whichever tokens it is drawn as.

    tokens: the bytes of every id; stop: the text in UTF-8 that ends generation, which may begin and end
    within a token, or nothing; min_length, max_length: in characters, not counting the prefix; tail: the
    bytes of the text that precede the drawn ids.

    A character counts once its first byte is drawn, so min_length holds for invalid UTF-8 too.
    """

    tokens: Sequence[bytes]
    stop: bytes = b""
    min_length: int = 0
    max_length: int | None = None
    tail: bytes = b""

    __repr__ = concise_repr

    def ends(self, drawn: Sequence[int]) -> bool:
        """Whether the last tokens of `drawn` contain the stop text, or the text is as long as it may be."""
        return (bool(self.stop) and self.stop in self._last_bytes(drawn)) or self._is_full(drawn)

    def is_short(self, drawn: Sequence[int]) -> bool:
        """Whether the text may not end yet."""
        return self._length(drawn) < self.min_length

    def completing(self, drawn: Sequence[int]) -> list[int]:
        """The ids that would complete the stop text after `drawn`."""
        if not self.stop:
            return []
        encoded = self._last_bytes(drawn)
        before = encoded[max(0, len(encoded) - len(self.stop) + 1) :]
        return [i for i, token in enumerate(self.tokens) if self.stop in before + token]

    def filling(self, drawn: Sequence[int]) -> list[int]:
        """The ids that would make the text as long as it may be."""
        if self.max_length is None or self._length(drawn) + max(self._lengths) < self.max_length:
            return []
        return [i for i in range(len(self.tokens)) if self._is_full([*drawn, i])]

    def too_early(self, drawn: Sequence[int], min_new_tokens: int) -> set[int]:
        """The completing ids that would leave too few tokens or characters before the stop text."""
        return {i for i in self.completing(drawn) if self._is_too_early([*drawn, i], min_new_tokens)}

    def begins_too_early(self, min_new_tokens: int) -> bool:
        """Whether the stop text is in the tail, and leaves too little before it."""
        return bool(self.stop) and self.stop in self.tail and self._is_too_early([], min_new_tokens)

    def never_completes(self, token: int) -> bool:
        """Whether this id cannot complete the stop text, whichever text precedes it."""
        encoded = self.tokens[token]
        ends = (self.stop[-size:] for size in range(1, len(self.stop) + 1))
        return self.stop not in encoded and not any(map(encoded.startswith, ends))

    def _is_too_early(self, ids: Sequence[int], min_new_tokens: int) -> bool:
        """Of ids that contain the stop text."""
        encoded = self.tail + self._bytes_of(ids)
        at = encoded.find(self.stop)
        ends = accumulate((len(self.tokens[i]) for i in ids), initial=len(self.tail))
        whole = sum(end <= at for end in ends) - (len(self.tail) <= at)
        return whole < min_new_tokens or characters(encoded[:at]) < self.min_length

    def _is_full(self, drawn: Sequence[int]) -> bool:
        """Whether max_length characters are complete."""
        if self.max_length is None or (length := self._length(drawn)) < self.max_length:
            return False
        return length > self.max_length or is_complete(self.tail + self._bytes_of(drawn[-LONGEST_CHARACTER:]))

    def _length(self, drawn: Sequence[int]) -> int:
        """Characters of the text."""
        return characters(self.tail) + sum(map(self._lengths.__getitem__, drawn))

    @cached_property
    def _lengths(self) -> list[int]:
        """The characters that begin in each id."""
        return list(map(characters, self.tokens))

    def _last_bytes(self, drawn: Sequence[int]) -> bytes:
        """The end of the text, with all bytes that the stop text can be in."""
        size = len(self.stop)
        return self.tail * (len(drawn) <= size) + self._bytes_of(drawn[-size:])

    def _bytes_of(self, ids: Sequence[int]) -> bytes:
        return b"".join(self.tokens[i] for i in ids)


def characters(encoded: bytes) -> int:
    """The number of characters that begin in UTF-8."""
    return sum(byte & 0xC0 != 0x80 for byte in encoded)


def is_complete(encoded: bytes) -> bool:
    """Whether UTF-8 does not end within a character."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    decoder.decode(encoded)
    return not decoder.getstate()[0]
