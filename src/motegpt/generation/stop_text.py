"""A stop text where a token may be several characters: it is searched for in the text, not among the ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from motegpt.config.text import concise_repr


@dataclass(frozen=True)
class StopText:
    """stop: the UTF-8 of what ends a text; tokens: the UTF-8 of every id.

    The same text may come as different ids, and `stop` may begin and end within a token.
    """

    stop: bytes
    tokens: Sequence[bytes]

    __repr__ = concise_repr

    def occurs_in(self, drawn: Sequence[int]) -> bool:
        """Whether what was drawn has `stop` in its last tokens."""
        return self.stop in self._spelled(drawn[-len(self.stop) :])

    def completing(self, drawn: Sequence[int]) -> list[int]:
        """The ids that would complete `stop` after what was drawn."""
        spelled = self._spelled(drawn[-len(self.stop) :])
        before = spelled[max(0, len(spelled) - len(self.stop) + 1) :]
        return [i for i, token in enumerate(self.tokens) if self.stop in before + token]

    def too_early(self, drawn: Sequence[int], min_new_tokens: int) -> set[int]:
        """Those of them that would leave fewer than so many whole tokens before `stop`."""
        return {i for i in self.completing(drawn) if self._kept([*drawn, i]) < min_new_tokens}

    def never_completes(self, token: int) -> bool:
        """Whether there is no text after which this id would complete `stop`."""
        spelled = self.tokens[token]
        ends = (self.stop[-size:] for size in range(1, len(self.stop) + 1))
        return self.stop not in spelled and not any(map(spelled.startswith, ends))

    def _kept(self, ids: Sequence[int]) -> int:
        """How many whole tokens come before `stop`."""
        at = self._spelled(ids).find(self.stop)
        return sum(end <= at for end in accumulate(len(self.tokens[i]) for i in ids))

    def _spelled(self, ids: Sequence[int]) -> bytes:
        return b"".join(self.tokens[i] for i in ids)
