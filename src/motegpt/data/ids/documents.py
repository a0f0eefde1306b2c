"""Sequences of token ids in flat memory."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, overload

from motegpt.config.text import shortened
from motegpt.data.documents import END, Documents
from motegpt.data.sequences import TokenSequences, positions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from motegpt.data.sequences import Mask


class IdDocuments(Documents):
    """Sequences of ids and a mask; as texts, ids separated by spaces.

    sequences: the ids and the mask; vocab_size: above every id; is_stream: one long sequence, to be cut into
    windows; held_out: for each sequence whether it is validation data, None if the data do not say; optimum:
    the loss of the best possible model in nats per unmasked target, None if it is not known.

    >>> documents = IdDocuments(TokenSequences.of([[3, 1, 2], [0, 1]]), vocab_size=4)
    >>> documents[0], list(documents.lengths)
    ('3 1 2', [3, 2])
    """

    unit = "ids"

    def __init__(
        self,
        sequences: TokenSequences,
        vocab_size: int,
        *,
        is_stream: bool = False,
        held_out: NDArray[np.bool_] | None = None,
        optimum: float | None = None,
    ) -> None:
        self.sequences, self.vocab_size, self.is_stream = sequences, vocab_size, is_stream
        self.held_out, self.optimum = held_out, optimum
        self.lengths = array("q", (end - start for start, end in pairwise(sequences.offsets)))

    @cached_property
    def data(self) -> bytes:  # type: ignore[override]
        """The texts as UTF-8, each followed by END."""
        return "".join(text + END for text in self).encode()

    @property
    def settings(self) -> dict[str, Any]:
        form: dict[str, Any] = {"format": "id_stream" if self.is_stream else "ids"}
        return form if self.held_out is None else {**form, "val_fraction": float(self.held_out.mean())}

    @property
    def mask(self) -> Mask | None:
        return self.sequences.mask

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> list[str]: ...
    def __getitem__(self, at: int | slice) -> str | list[str]:
        return [*map(text_of, self.sequences[at])] if isinstance(at, slice) else text_of(self.sequences[at])

    def __iter__(self) -> Iterator[str]:
        return map(text_of, self.sequences)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, IdDocuments):
            return self.sequences == other.sequences and self.mask == other.mask
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # compares equal to lists

    def __repr__(self) -> str:
        return f"IdDocuments({len(self):,}: {shortened(', '.join(self[:3]))})"

    def groups(self) -> Iterator[list[str]]:
        yield list(self)

    def where(self, mask: Iterable[bool]) -> IdDocuments:
        import numpy as np

        kept = np.fromiter(mask, bool, len(self))
        lengths = np.asarray(self.lengths)[kept]
        places = positions(np.asarray(self.sequences.offsets)[:-1][kept], lengths)
        held_out = None if self.held_out is None else self.held_out[kept]
        return self._taken(places, lengths, held_out)

    def split_at(self, length: int) -> tuple[IdDocuments, IdDocuments]:
        import numpy as np

        first, rest = np.split(np.arange(len(self.sequences.tokens)), [length])
        return self._taken(first, np.array([len(first)])), self._taken(rest, np.array([len(rest)]))

    def contents(self) -> Iterator[str]:
        """The ids and the mask of each; the first id is no target."""
        if self.mask is None:
            return iter(self)
        masks = (
            self.mask[start + 1 : end].tobytes().hex() for start, end in pairwise(self.sequences.offsets)
        )
        return (f"{ids} {mask}" for ids, mask in zip(self, masks, strict=True))

    @property
    def splits_itself(self) -> bool:
        return self.held_out is not None

    def own_split(self) -> tuple[IdDocuments, IdDocuments] | None:
        """(training, validation) as the data say; None if they do not."""
        if self.held_out is None:
            return None
        return self.where(~self.held_out), self.where(self.held_out)

    def _taken(
        self, places: NDArray[np.int64], lengths: NDArray[np.int64], held_out: NDArray[np.bool_] | None = None
    ) -> IdDocuments:
        """The tokens at some places, as sequences of these lengths."""
        import numpy as np

        mask = None if self.mask is None else np.asarray(self.mask)[places]
        sequences = sequences_of(np.asarray(self.sequences.tokens)[places], lengths, mask)
        return IdDocuments(
            sequences, self.vocab_size, is_stream=self.is_stream, held_out=held_out, optimum=self.optimum
        )


def sequences_of(
    tokens: NDArray[Any], lengths: NDArray[np.integer[Any]], mask: NDArray[Any] | None
) -> TokenSequences:
    """Sequences of these lengths in flat ids; mask: a weight per id, None for all 1."""
    import numpy as np

    offsets = array("q")
    offsets.frombytes(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64).tobytes())
    flat = None if mask is None else np.ascontiguousarray(mask).data.toreadonly()
    return TokenSequences(np.ascontiguousarray(tokens).data.toreadonly(), offsets, mask=flat)


def text_of(ids: Iterable[int]) -> str:
    """The ids as a text: 3 17 4"""
    return " ".join(map(str, ids))
