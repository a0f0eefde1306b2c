"""What a caller gives as data: documents, or token ids."""

from __future__ import annotations

from typing import Any

from motegpt.errors import UsageError


def source_of(docs: Any, ids: Any, mask: Any, vocab_size: Any) -> Any:
    """The documents, or the ids as documents; UsageError if both are given, or a mask without ids."""
    if ids is None:
        for name, value in (("mask", mask), ("vocab_size", vocab_size)):
            if value is not None:
                raise UsageError(f"{name}: expected ids as well, got none; pass them, or leave it out")
        return docs
    if docs is not None:
        raise UsageError("ids: expected documents or ids, got both; leave one out")
    from motegpt.data.ids.memory import ids_in_memory

    return ids_in_memory(ids, mask, vocab_size)
