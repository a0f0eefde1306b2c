"""Repeated documents.

Documents, of ids with their masks, are equal if two 64-bit hashes of each agree. This takes 24 bytes per
document, where a set of texts takes a hundred, and is wrong for one in 2^128 pairs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from motegpt.data.documents import Documents

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Repeats(NamedTuple):
    """firsts: index of the first occurrence of each distinct text; counts: its number of occurrences."""

    firsts: NDArray[np.int64]
    counts: NDArray[np.int64]


def find_repeats(documents: Documents) -> Repeats:
    """The distinct texts among the documents, in no particular order."""
    import numpy as np

    hashes = _hashes(documents)
    order = np.argsort(hashes)  # groups equal texts
    is_new = _differs_from_previous(hashes[order])
    del hashes
    is_new |= _differs_from_previous(_hashes(documents, "+")[order])
    starts = np.flatnonzero(is_new)
    return Repeats(np.minimum.reduceat(order, starts), np.diff(starts, append=len(documents)))


def _hashes(documents: Documents, prefix: str = "") -> NDArray[np.int64]:
    """Python's hash of prefix + contents, for each document."""
    import numpy as np

    return np.fromiter((hash(prefix + text) for text in documents.contents()), np.int64, len(documents))


def _differs_from_previous(numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each number differs from its predecessor; True for the first."""
    import numpy as np

    differs = np.ones(len(numbers), bool)
    np.not_equal(numbers[1:], numbers[:-1], out=differs[1:])
    return differs


def drop_repeats(documents: Documents) -> Documents:
    """The first occurrence of each distinct text, in order."""
    import numpy as np

    is_first = np.zeros(len(documents), bool)
    is_first[find_repeats(documents).firsts] = True
    return documents.where(is_first)


def all_equal(documents: Documents) -> bool:
    """Whether all documents are equal."""
    lengths = documents.lengths
    if any(length != lengths[0] for length in lengths):
        return False
    first = next(iter(documents))  # finding one by its index would look for the ends of all
    return all(document == first for document in documents)
