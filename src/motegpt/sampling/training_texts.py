"""The training texts, to reject generated texts that repeat one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from motegpt.data.tokenizers import Tokenizer


class TrainingTexts:
    """A container of the training documents; of a stream (framing "none"), it contains every substring."""

    def __init__(self, documents: Iterable[str], tokenizer: Tokenizer) -> None:
        self._documents = frozenset(documents)
        self._is_stream = tokenizer.framing == "none"

    def __contains__(self, text: object) -> bool:
        if self._is_stream and isinstance(text, str):
            return any(text in document for document in self._documents)
        return text in self._documents
