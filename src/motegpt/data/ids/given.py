"""What a caller gives as data: documents, or token ids."""

from __future__ import annotations

from typing import Any

from motegpt.errors import SettingError, UsageError


def source_of(docs: Any, ids: Any, mask: Any, vocab_size: Any) -> Any:
    """The documents, or the ids as documents; an error if both are given, or a mask without ids."""
    if ids is None:
        if mask is not None:
            raise UsageError("mask: expected ids as well, got none; pass them, or leave it out")
        if vocab_size is not None:
            raise SettingError("vocab_size is determined by the data and cannot be set, except of ids")
        return docs
    if docs is not None:
        raise UsageError("ids: expected documents or ids, got both; leave one out")
    from motegpt.data.ids.memory import ids_in_memory

    return ids_in_memory(ids, mask, vocab_size)
