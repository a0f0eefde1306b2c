"""The training texts, to reject generated texts that repeat one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from motegpt.data.tokenizers import Tokenizer


class TrainingTexts:
    """The texts of the data: `text in training_texts`.

    Where the data are one long text (framing "none"), it contains every part of that.
    """

    def __init__(self, documents: Iterable[str], tokenizer: Tokenizer) -> None:
        self._documents = frozenset(documents)
        self._in_parts = tokenizer.framing == "none"

    def __contains__(self, text: object) -> bool:
        if self._in_parts and isinstance(text, str):
            return any(text in document for document in self._documents)
        return text in self._documents
