"""Data that are token ids: no text, but one can be written, as numbers with spaces between them."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

from motegpt.config.sections.bounds import LARGEST_SIZE
from motegpt.config.text import concise_repr, shortened
from motegpt.data.documents import Documents
from motegpt.data.ids.documents import IdDocuments, text_of
from motegpt.data.sequences import TokenSequences
from motegpt.data.tokenizers.base import Tokenizer
from motegpt.errors import DataError, PrefixError, RunFolderError

DIGITS = len(str(LARGEST_SIZE))


@dataclass(frozen=True)
class IdTokenizer(Tokenizer):
    """A token is a number below `size`; nothing is added to a sequence.

    first: the id that samples without a prefix begin with, as most sequences of the data.

    >>> tokenizer = IdTokenizer(20, "whole")
    >>> tokenizer.encode("3 17 4"), tokenizer.decode([3, 17, 4])
    ([3, 17, 4], '3 17 4')
    """

    kind = "ids"
    text_unit = Tokenizer.unit
    is_ids = True
    size: int
    framing: str
    first: int = 0

    __repr__ = concise_repr

    @classmethod
    def learn(cls, documents: Sequence[str], framing: str) -> Self:
        """The ids below the vocab_size of the data."""
        assert isinstance(documents, IdDocuments), "the settings allow this tokenizer with ids alone"
        import numpy as np

        tokens, offsets = (
            np.asarray(part) for part in (documents.sequences.tokens, documents.sequences.offsets)
        )
        return cls(documents.vocab_size, framing, int(np.bincount(tokens[offsets[:-1]]).argmax()))

    @classmethod
    def restore(cls, values: Mapping[str, Any]) -> Self:
        size, framing, first = values.get("size"), values.get("framing"), values.get("first", 0)
        if type(size) is not int or not 2 <= size <= LARGEST_SIZE or not isinstance(framing, str):
            raise RunFolderError(
                f"tokenizer: expected 2 to {LARGEST_SIZE:,} ids and a framing, got {shortened(size)}"
            )
        if type(first) is not int or not 0 <= first < size:
            raise RunFolderError(f"tokenizer: expected a first id below {size}, got {shortened(first)}")
        return cls(size, framing, first)

    def values(self) -> dict[str, Any]:
        first = {"first": self.first} if self.first else {}
        return {"kind": self.kind, "size": self.size, "framing": self.framing, **first}

    @cached_property
    def symbols(self) -> Sequence[bytes]:
        return [str(one).encode() for one in range(self.size)]

    @property
    def vocab_size(self) -> int:
        return self.size

    def encode(self, text: str) -> list[int]:
        words = text.split()
        if not all(map(self._is_known, words)):
            raise self.unknown_error(text)
        return list(map(int, words))

    def unknown(self, text: str) -> str:
        """The first word that is no id."""
        return next((word for word in text.split() if not self._is_known(word)), "")

    def unknown_in(self, documents: Sequence[str]) -> str:
        """Nothing: DataError for ids that the model does not have."""
        self.encode_documents(documents)
        return ""

    def shown_unknown(self, unknown: str) -> str:
        return shortened(unknown)

    def text_length(self, text: str) -> int:
        """The number of targets."""
        return max(1, len(text.split()) - 1)

    def decode(self, ids: Sequence[int]) -> str:
        return text_of(ids)

    def lengths(self, documents: Documents) -> array[int]:
        return documents.lengths if isinstance(documents, IdDocuments) else super().lengths(documents)

    def encode_documents(self, documents: Sequence[str]) -> TokenSequences:
        """The sequences as they are; DataError for an id that is not below `size`."""
        if not isinstance(documents, IdDocuments):
            return super().encode_documents(documents)
        if documents.vocab_size > self.size and len(documents.sequences.tokens):
            import numpy as np

            largest = int(np.asarray(documents.sequences.tokens).max())
            if largest >= self.size:
                raise DataError(
                    f"data: expected ids below the model's vocab_size = {self.size}, got {largest}; the data "
                    "differ from the training data"
                )
        return documents.sequences

    def encode_stream(self, documents: Sequence[str]) -> memoryview[int]:
        return self.encode_documents(documents).tokens

    def unknown_error(self, text: str) -> PrefixError:
        return PrefixError(
            f"text {shortened(text)}: expected ids below {self.size} with spaces between them, as in '0 1'"
        )

    def _encode_known(self, document: str) -> list[int]:
        try:
            return self.encode(document)
        except PrefixError as error:
            raise DataError(f"{error}") from None

    def _is_known(self, word: str) -> bool:
        is_number = word.isascii() and word.isdecimal() and len(word) <= DIGITS
        return is_number and int(word) < self.size
