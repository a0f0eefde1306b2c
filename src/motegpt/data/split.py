"""Split documents into a training set and a validation set."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from motegpt.data.documents import Documents, flat
from motegpt.errors import DataError

if TYPE_CHECKING:
    from motegpt.config.sections import DataConfig


def split(documents: Sequence[str], data: DataConfig, seed: int) -> tuple[Documents, Documents]:
    """(training, validation); data.val_fraction of the data is held out, or what the data themselves say.

    seed: of the training, used unless data.split_seed is set. Raises DataError if either would be empty.
    """
    if data.val_fraction == 0.0:
        return flat(documents), Documents.of([])
    if (own := flat(documents).own_split()) is not None:
        return own
    if data.is_stream:
        return split_text(documents, data.val_fraction)
    seed = seed if data.split_seed is None else data.split_seed
    return split_documents(documents, data.val_fraction, seed)


def split_documents(documents: Sequence[str], fraction: float, seed: int) -> tuple[Documents, Documents]:
    """Hold out `fraction` of the distinct documents, with all duplicates of each.

    A plain split leaks: 2,539 of the 32,033 public names repeat another, so the validation set would contain
    training data. The choice depends only on the seed and the text of the documents, not on their order; a
    list that grows keeps most of its held-out documents.
    """
    import numpy as np

    hashes = np.fromiter((_hash(document, seed) for document in documents), np.uint64, len(documents))
    distinct = np.unique(hashes)
    if len(distinct) < 2:
        raise DataError(f"val_fraction: expected at least 2 different documents, got {len(distinct)}")
    count = min(max(1, round(fraction * len(distinct))), len(distinct) - 1)
    is_held_out = hashes <= distinct[count - 1]
    return flat(documents).where(~is_held_out), flat(documents).where(is_held_out)


def split_text(documents: Sequence[str], fraction: float) -> tuple[Documents, Documents]:
    """Hold out the end of a stream; training windows never reach into it."""
    stream = flat(documents)
    length = sum(stream.lengths)
    count = max(2, round(fraction * length))
    if length - count < 2:
        raise DataError(f"val_fraction: expected more data to hold out a part, got {length} {stream.unit}")
    return stream.split_at(length - count)


def _hash(document: str, seed: int) -> int:
    """The first 64 bits of the SHA-256 of seed and document."""
    digest = hashlib.sha256(f"{seed}\n{document}".encode()).digest()
    return int.from_bytes(digest[:8], "big")
