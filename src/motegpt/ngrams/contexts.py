"""The contexts of the n-gram embedding: the last 2 … n tokens, in exact tables built from the training data.

A context of order k ends at position t of a sequence and has the tokens t - k + 1 … t, so none begins before
the sequence. Each is a pair: the row of its last k - 1 tokens in the table of order k - 1, and the token
before them. As a context is at least as frequent as a longer one that ends with it, no pair lacks its row.
NumPy is imported when it is used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from motegpt.config.text import concise
from motegpt.errors import RunFolderError, SettingError
from motegpt.ngrams.keys import NONE, rows_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from motegpt.config.sections import ModelConfig
    from motegpt.data.plan import Plan

    Keys = NDArray[np.int64]

TOKEN_BITS = 20  # LARGEST_SIZE of vocabularies is 2^20


@dataclass(frozen=True, eq=False)
class Contexts:
    """keys: for the orders 2, 3, … the sorted keys of its contexts; a context's row is its index in them.

    key = row << TOKEN_BITS | token: the row of the context without its first token, and this token; for order
    2 the row is the last token itself. No array is empty: the orders end where no context is frequent enough.
    """

    keys: tuple[Keys, ...] = ()

    def __repr__(self) -> str:
        return concise(type(self).__name__, {"sizes": self.sizes})

    @classmethod
    def of_plan(cls, plan: Plan, orders: int, min_count: int) -> Contexts:
        """The contexts of the inputs of a plan's data: of each sequence once, or of its stream."""
        import numpy as np

        return cls.build(np.asarray(plan.memory), *plan.inputs(), orders, min_count)

    @classmethod
    def build(
        cls, memory: NDArray[Any], starts: NDArray[Any], lengths: NDArray[Any], orders: int, min_count: int
    ) -> Contexts:
        """The contexts of 2 … orders tokens that occur at least min_count times.

        memory: flat token ids; starts, lengths (n): the sequences in it. Sorts once per order.
        """
        import numpy as np

        before = np.repeat(np.cumsum(lengths) - lengths, lengths)  # inputs of earlier sequences
        within = np.arange(len(before)) - before  # position in its sequence
        at = within + np.repeat(starts, lengths)  # where contexts may end
        found: list[Keys] = []
        rows = memory[at].astype(np.int64)
        for order in range(2, orders + 1):
            inside = within >= order - 1
            at, within, rows = at[inside], within[inside], rows[inside]
            keys, place, counts = np.unique(
                rows << TOKEN_BITS | memory[at - (order - 1)], return_inverse=True, return_counts=True
            )
            frequent = counts >= min_count
            if not frequent.any():
                break
            found.append(keys[frequent])
            kept = frequent[place]
            at, within, rows = at[kept], within[kept], (np.cumsum(frequent) - 1)[place[kept]]
        return cls(tuple(found))

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of contexts of each order from 2 on: `ngram_rows`."""
        return tuple(map(len, self.keys))

    @property
    def longest(self) -> int:
        """The number of tokens of the longest contexts; 1 without any."""
        return len(self.keys) + 1

    def rows(self, tokens: NDArray[Any]) -> Keys:
        """The row of each context: tokens (B, T) -> (orders, B, T), NONE where there is none.

        A sequence begins at position 0; its rows do not depend on what follows, such as padding.
        """
        import numpy as np

        found = np.full((len(self.keys), *tokens.shape), NONE, np.int64)
        before = tokens = tokens.astype(np.int64)
        for order, (keys, rows) in enumerate(zip(self.keys, found, strict=True), 2):
            first = tokens[:, : max(0, tokens.shape[1] - order + 1)]
            key = before[:, order - 1 :] << TOKEN_BITS | first  # negative after NONE
            rows[:, order - 1 :] = rows_of(keys, key)
            before = rows
        return found

    def used_in(self, tokens: Sequence[int]) -> tuple[Contexts, tuple[Keys, ...]]:
        """The contexts that occur in a sequence, and for each order the rows that they have here."""
        import numpy as np

        keys: list[Keys] = []
        used: list[Keys] = []
        for order, rows in enumerate(self.rows(np.array([tokens])), 2):
            found = np.unique(rows[rows != NONE])
            if not len(found):
                break
            shorter, first = np.divmod(self.keys[order - 2][found], 1 << TOKEN_BITS)
            keys.append((np.searchsorted(used[-1], shorter) if used else shorter) << TOKEN_BITS | first)
            used.append(found)
        return Contexts(tuple(keys)), tuple(used)

    def rows_at_end(self, tokens: Sequence[int]) -> list[int]:
        """The rows of the contexts that end at the last of some tokens, by order; fewer if a longer has none.

        The reference for `rows`; standard library only.
        """
        found: list[int] = []
        row = tokens[-1]
        for order, table in enumerate(self._tables[: len(tokens) - 1], 2):
            next_row = table.get(row << TOKEN_BITS | tokens[-order])
            if next_row is None:
                break
            found.append(row := next_row)
        return found

    @cached_property
    def _tables(self) -> list[dict[int, int]]:
        """For each order the row of each key."""
        return [dict(zip(keys.tolist(), range(len(keys)), strict=True)) for keys in self.keys]

    def check(self, model: ModelConfig) -> None:
        """SettingError unless these are tables of the sizes in the settings."""
        if self.sizes != model.ngram_rows:
            raise SettingError(
                f"contexts: expected tables of {model.ngram_rows or 'no'} rows, as in the settings, got "
                f"{self.sizes or 'none'}"
            )

    @classmethod
    def checked(cls, arrays: Mapping[str, Keys], model: ModelConfig) -> Contexts:
        """The contexts in arrays named as the tables; RunFolderError if these cannot be tables."""
        import numpy as np

        before = model.vocab_size
        for name, keys in arrays.items():
            rows, tokens = keys >> TOKEN_BITS, keys & (2**TOKEN_BITS - 1)
            if not (np.diff(keys) > 0).all():
                raise RunFolderError(f"{name}: expected keys in ascending order; the file was changed")
            if not ((rows >= 0) & (rows < before) & (tokens < model.vocab_size)).all():
                raise RunFolderError(
                    f"{name}: expected keys of rows below {before} and tokens below {model.vocab_size}, got "
                    "others; the file was changed"
                )
            before = len(keys)
        return cls(tuple(arrays.values()))
