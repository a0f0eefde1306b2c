"""Documents to learn from, and documents to be judged by."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from motegpt.errors import DataError

if TYPE_CHECKING:
    from motegpt.config import DataConfig


def split(documents: Sequence[str], data: DataConfig, seed: int) -> tuple[list[str], list[str]]:
    """(training, validation): data.val_fraction of the data is held out.

    Raises DataError unless both sides get something.
    """
    if data.val_fraction == 0.0:
        return list(documents), []
    if data.format == "stream":
        return split_text("\n".join(documents), data.val_fraction)
    return split_documents(documents, data.val_fraction, seed)


def split_documents(documents: Sequence[str], fraction: float, seed: int) -> tuple[list[str], list[str]]:
    """`fraction` of the distinct documents is held out, with all duplicates of each.

    A plain split leaks: of the 32,033 public names 2,539 repeat another, so a model would be judged by
    names it has learned. Which are held out depends on the seed and the documents' text alone, not on
    their order; a list that grows keeps most of its held-out documents.
    """
    distinct = sorted(set(documents), key=lambda document: _place(document, seed))
    if len(distinct) < 2:
        raise DataError(f"val_fraction: expected at least 2 different documents, got {len(distinct)}")
    count = min(max(1, round(fraction * len(distinct))), len(distinct) - 1)
    held = set(distinct[:count])
    return [d for d in documents if d not in held], [d for d in documents if d in held]


def split_text(text: str, fraction: float) -> tuple[list[str], list[str]]:
    """The end of one long text is held out: windows of the rest never reach into it."""
    count = max(2, round(fraction * len(text)))
    if len(text) - count < 2:
        raise DataError(
            f"val_fraction: expected a longer text to hold some out of, got {len(text)} characters"
        )
    return [text[:-count]], [text[-count:]]


def _place(document: str, seed: int) -> bytes:
    """Where a document stands in the order by which they are held out."""
    return hashlib.sha256(f"{seed}\n{document}".encode()).digest()
