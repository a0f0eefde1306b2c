"""Tokens of fixed size: characters or bytes."""

from __future__ import annotations

from abc import abstractmethod
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any, ClassVar, Self

from motegpt.config.text import concise_repr, has_surrogate, is_surrogate
from motegpt.data.documents import END, PIECE, Documents, flat
from motegpt.data.sequences import TokenSequences, packed_ids, running_offsets
from motegpt.data.tokenizers.base import Tokenizer, recorded_growth, unknown_in_data
from motegpt.errors import DataError, RunFolderError

BYTES = 256
UNKNOWN = 255  # in place of an id, where the vocabulary is smaller


class UnitTokenizer(Tokenizer):
    """Tokens are units of fixed size: characters or bytes. Documents are encoded a megabyte at a time.

    encoding: decodes the UTF-8 of documents to one character per unit.
    """

    encoding: ClassVar[str]

    @abstractmethod
    def _units(self, text: str) -> Sequence[Any]:
        """The units of a text."""

    @property
    @abstractmethod
    def _vocabulary(self) -> Sequence[Any]:
        """All units, in the order of ids."""

    @cached_property
    def _ids(self) -> dict[Any, int]:
        """Unit -> id."""
        return dict(zip(self._vocabulary, self.text_ids, strict=True))

    def encode(self, text: str) -> list[int]:
        try:
            return [self._ids[unit] for unit in self._units(text)]
        except (KeyError, UnicodeEncodeError):
            raise self.unknown_error(text) from None

    def encode_documents(self, documents: Sequence[str]) -> TokenSequences:
        documents, specials = flat(documents), 0 if self.bos is None else 2
        offsets = running_offsets(self.lengths(documents), specials)
        begin, end = ("", "") if self.bos is None else (chr(self.bos), chr(self.stop or 0) + chr(self.bos))
        tokens = self._packed(documents, begin, end)
        return TokenSequences(tokens[: offsets[-1]], offsets)  # without the BOS after the last document

    def encode_stream(self, documents: Sequence[str]) -> memoryview[int]:
        return self._packed(flat(documents), "", "")

    def _packed(self, documents: Documents, begin: str, end: str) -> memoryview[int]:
        """`begin` and the ids of the documents, each followed by `end`; both are ids as code points."""
        if documents.is_ascii and self.vocab_size < UNKNOWN:
            return self._packed_ascii(documents.data, begin.encode("latin-1"), end.encode("latin-1"))
        return packed_ids(chain([begin], self._ids_of(documents, end)), self.vocab_size)

    def _ids_of(self, documents: Documents, end: str) -> Iterator[str]:
        """The ids of the documents as code points; end: follows each document."""
        for piece in documents.pieces(self.encoding):
            yield piece.translate(self._table).replace(chr(self._end_id), end)

    def _packed_ascii(self, data: bytes | bytearray, begin: bytes, end: bytes) -> memoryview[int]:
        """The same in bytes: ten times as fast as with a string for each piece."""
        table = bytes(self._table.get(code, UNKNOWN) for code in range(BYTES))
        packed = bytearray(begin)
        for start in range(0, len(data), PIECE):
            ids = data[start : start + PIECE].translate(table)
            if UNKNOWN in ids:
                raise unknown_in_data(chr(data[start + ids.index(UNKNOWN)]))
            packed += ids.replace(bytes([self._end_id]), end)
        return memoryview(packed).toreadonly()

    @property
    def _end_id(self) -> int:
        """The id that END is translated to: `stop`, or in a stream an unused id."""
        return self.vocab_size if self.stop is None else self.stop

    @cached_property
    def _table(self) -> dict[int, int]:
        """Code point of a unit -> its id; of END -> self._end_id."""
        units = {unit if isinstance(unit, int) else ord(unit): token for unit, token in self._ids.items()}
        return _Table({**units, ord(END): self._end_id})


class _Table(dict[int, int]):
    """A table for str.translate that refuses unknown code points."""

    def __missing__(self, code: int) -> int:
        raise unknown_in_data(chr(code))


@dataclass(frozen=True)
class CharacterTokenizer(UnitTokenizer):
    """A token is a character of the training data: a Unicode code point.

    characters: the alphabet, in the order of ids.
    """

    kind = "characters"
    unit = "character"
    encoding = "utf-8"
    characters: str
    framing: str
    appended: int = 0

    __repr__ = concise_repr

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(set(self.characters)) != len(self.characters) or not self.characters:
            raise RunFolderError("tokenizer: expected distinct characters, got none or a repeated one")
        if has_surrogate(self.characters):
            raise RunFolderError("tokenizer: expected Unicode characters, got half of a surrogate pair")

    @classmethod
    def learn(cls, documents: Sequence[str], framing: str) -> Self:
        """The characters of the documents, sorted."""
        characters = flat(documents).alphabet()
        if len(characters) < 2:
            raise DataError(
                f"vocabulary: expected at least 2 distinct characters, got {len(characters)} "
                f"({characters!r}); with one there is nothing to learn"
            )
        return cls(characters, framing)

    @classmethod
    def restore(cls, values: Mapping[str, Any]) -> Self:
        characters, framing = values.get("characters"), values.get("framing")
        if not isinstance(characters, str) or not isinstance(framing, str):
            raise RunFolderError("tokenizer: expected characters and framing")
        return cls(characters, framing, recorded_growth(values, characters))

    def values(self) -> dict[str, Any]:
        """Without `kind`, which the first run folders did not record."""
        return {"characters": self.characters, "framing": self.framing, **self.growth()}

    def extended(self, characters: str) -> Self:
        return replace(
            self, characters=self.characters + characters, appended=self.appended + len(characters)
        )

    @property
    def alphabet(self) -> str:
        return self.characters

    @cached_property
    def symbols(self) -> Sequence[bytes]:
        return [character.encode() for character in self.characters]

    def unknown(self, text: str) -> str:
        return "".join(sorted({character for character in text if character not in self._ids}))

    def unknown_in(self, documents: Sequence[str]) -> str:
        return self.unknown(flat(documents).alphabet())

    def lengths(self, documents: Documents) -> array[int]:
        return documents.lengths

    def _units(self, text: str) -> Sequence[Any]:
        return text

    @property
    def _vocabulary(self) -> Sequence[Any]:
        return self.characters


@dataclass(frozen=True)
class ByteTokenizer(UnitTokenizer):
    """A token is a byte of the text's UTF-8."""

    kind = "bytes"
    unit = "byte"
    is_fixed = True
    encoding = "latin-1"
    framing: str

    __repr__ = concise_repr

    @classmethod
    def learn(cls, documents: Sequence[str], framing: str) -> Self:
        """All 256 bytes, independent of the documents."""
        return cls(framing)

    @classmethod
    def restore(cls, values: Mapping[str, Any]) -> Self:
        if not isinstance(framing := values.get("framing"), str):
            raise RunFolderError("tokenizer: expected a framing")
        return cls(framing)

    def values(self) -> dict[str, Any]:
        return {"kind": self.kind, "framing": self.framing}

    @cached_property
    def symbols(self) -> Sequence[bytes]:
        return [bytes([byte]) for byte in range(BYTES)]

    def unknown(self, text: str) -> str:
        """Lone surrogates, which have no UTF-8."""
        return "".join(sorted(set(filter(is_surrogate, text))))

    def lengths(self, documents: Documents) -> array[int]:
        return array("q", documents.byte_lengths())

    def _units(self, text: str) -> Sequence[Any]:
        return text.encode()

    @property
    def _vocabulary(self) -> Sequence[Any]:
        return range(BYTES)
