"""What a run was trained on, to draw nothing from it again."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from motegpt.documents import IN_MEMORY, read_corpus
from motegpt.errors import DataError

if TYPE_CHECKING:
    from motegpt.checkpoint import RunConfig
    from motegpt.tokenizer import Tokenizer

REPAIR = "give the training data with --data FILE"


class Known:
    """The texts of the training data: `text in known`.

    Where the data are one long text (framing "none"), every part of it is known.
    """

    def __init__(self, documents: Iterable[str], tokenizer: Tokenizer) -> None:
        self._documents = frozenset(documents)
        self._in_parts = tokenizer.framing == "none"

    def __contains__(self, text: object) -> bool:
        if self._in_parts and isinstance(text, str):
            return any(text in document for document in self._documents)
        return text in self._documents


def training_documents(config: RunConfig, data: str | Path | None = None) -> list[str]:
    """The documents a run learned from, read again from where they were, or from the file `data`.

    DataError if they are gone, or no longer the same; a file given as `data` is taken as it is.
    """
    if data is not None:
        return read_corpus(data, config.data).documents
    source = config.source
    if source.kind == IN_MEMORY:
        raise DataError(f"novel: the run was trained on documents in memory; {REPAIR}")
    if source.path is not None and not Path(source.path).exists():
        raise DataError(f"novel: {source.path}, which the run was trained on, is gone; {REPAIR}")
    corpus = read_corpus(source.path, config.data)
    if corpus.sha256 != source.sha256:
        raise DataError(f"novel: {source.path or source.kind} has changed since the run began; {REPAIR}")
    return corpus.documents
