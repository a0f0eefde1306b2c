"""Which documents are there more than once.

Two documents are taken for the same if two 64-bit hashes of each are: that needs 24 bytes per document,
where a set of texts takes a hundred, and errs once in 2^128 pairs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from motegpt.data.documents import Documents

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray


class Repeats(NamedTuple):
    """firsts: where each different text is for the first time; counts: how often it is there."""

    firsts: NDArray[np.int64]
    counts: NDArray[np.int64]


def find_repeats(documents: Documents) -> Repeats:
    """The different texts among the documents, in no order."""
    import numpy as np

    hashes = _hashes(documents)
    order = np.argsort(hashes)  # equal texts come together
    is_new = _differs_from_last(hashes[order])
    del hashes
    is_new |= _differs_from_last(_hashes(documents, "+")[order])
    starts = np.flatnonzero(is_new)
    return Repeats(np.minimum.reduceat(order, starts), np.diff(starts, append=len(documents)))


def _hashes(documents: Documents, prefix: str = "") -> NDArray[np.int64]:
    """Python's hash of each text behind a prefix."""
    import numpy as np

    return np.fromiter((hash(prefix + text) for text in documents), np.int64, len(documents))


def _differs_from_last(numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each number is not the one before it; the first is not."""
    import numpy as np

    differs = np.ones(len(numbers), bool)
    np.not_equal(numbers[1:], numbers[:-1], out=differs[1:])
    return differs


def drop_repeats(documents: Documents) -> Documents:
    """The documents, each text once, where it is first."""
    import numpy as np

    is_first = np.zeros(len(documents), bool)
    is_first[find_repeats(documents).firsts] = True
    return documents.where(is_first)


def all_equal(documents: Sequence[str]) -> bool:
    """Whether each is the same as the first."""
    first = documents[0]
    return all(document == first for document in documents)
