"""Documents to learn from, and documents to be judged by."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from motegpt.data.documents import Documents, flat
from motegpt.errors import DataError

if TYPE_CHECKING:
    from motegpt.config.sections import DataConfig


def split(documents: Sequence[str], data: DataConfig, seed: int) -> tuple[Documents, Documents]:
    """(training, validation): data.val_fraction of the data is held out.

    Raises DataError unless both sides get something.
    """
    if data.val_fraction == 0.0:
        return flat(documents), Documents.of([])
    if data.format == "stream":
        return split_text(documents, data.val_fraction)
    return split_documents(documents, data.val_fraction, seed)


def split_documents(documents: Sequence[str], fraction: float, seed: int) -> tuple[Documents, Documents]:
    """`fraction` of the distinct documents is held out, with all duplicates of each.

    A plain split leaks: of the 32,033 public names 2,539 repeat another, so a model would be judged by
    names it has learned. Which are held out depends on the seed and the documents' text alone, not on
    their order; a list that grows keeps most of its held-out documents.
    """
    import numpy as np

    places = np.fromiter((_place(document, seed) for document in documents), np.uint64, len(documents))
    distinct = np.unique(places)
    if len(distinct) < 2:
        raise DataError(f"val_fraction: expected at least 2 different documents, got {len(distinct)}")
    count = min(max(1, round(fraction * len(distinct))), len(distinct) - 1)
    is_held_out = places <= distinct[count - 1]
    return flat(documents).where(~is_held_out), flat(documents).where(is_held_out)


def split_text(documents: Sequence[str], fraction: float) -> tuple[Documents, Documents]:
    """The end of one long text is held out: windows of the rest never reach into it."""
    length = sum(map(len, documents))
    count = max(2, round(fraction * length))
    if length - count < 2:
        raise DataError(f"val_fraction: expected a longer text to hold some out of, got {length} characters")
    return flat(documents).cut_at(length - count)


def _place(document: str, seed: int) -> int:
    """Where a document is in the order by which they are held out: the first 64 bits of a SHA-256."""
    digest = hashlib.sha256(f"{seed}\n{document}".encode()).digest()
    return int.from_bytes(digest[:8], "big")
