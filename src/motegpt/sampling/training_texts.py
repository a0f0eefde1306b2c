"""What a run was made from, to draw nothing from it again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from motegpt.data.corpus import read_corpus
from motegpt.data.source import corpus_of_run

if TYPE_CHECKING:
    from motegpt.data.tokenizers import Tokenizer
    from motegpt.training.state import RunConfig


class Known:
    """The texts of the data: `text in known`.

    Where the data are one long text (framing "none"), every part of it is known.
    """

    def __init__(self, documents: Iterable[str], tokenizer: Tokenizer) -> None:
        self._documents = frozenset(documents)
        self._in_parts = tokenizer.framing == "none"

    def __contains__(self, text: object) -> bool:
        if self._in_parts and isinstance(text, str):
            return any(text in document for document in self._documents)
        return text in self._documents


def known_documents(config: RunConfig, data: str | Path | None = None) -> Sequence[str]:
    """What a run was made from, read again from where it was; or the file `data`, whatever it holds.

    The documents that were held out to judge by are among them. DataError if they are gone, or changed.
    """
    if data is not None:
        return read_corpus(data, config.data).documents
    return corpus_of_run(config, repair="give it as `data`").documents
