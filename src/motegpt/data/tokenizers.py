"""Tokenizers: text <-> token ids, with the special tokens of each framing.

A tokenizer maps texts to ids, and each id to bytes; nothing outside this file assumes that a token is a
character. A new tokenizer is a subclass of Tokenizer, an entry in TOKENIZERS and a choice of the setting
`tokenizer`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, chain
from typing import Any, ClassVar, NamedTuple, Self

from motegpt.config.text import concise_repr, has_surrogate, is_surrogate, shortened
from motegpt.data.documents import END, Documents, flat
from motegpt.data.sequences import TokenSequences, packed_ids
from motegpt.errors import DataError, PrefixError, RunFolderError

BYTES = 256
MAX_CODE_POINTS = 3  # in a message


class Framing(NamedTuple):
    """The special tokens whose ids precede those of text tokens, and those whose ids follow.

    The first of all starts every document, the last ends it.
    """

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


FRAMINGS = {
    "bos": Framing(after=("<BOS>",)),  # at both ends of a document (microgpt, oxidized)
    "bos_eos": Framing(before=("<BOS>", "<EOS>")),  # (zeroclaw)
    "none": Framing(),  # streams have no document boundaries
}

# How tokens that are invisible, or not characters, are drawn.
SYMBOLS = {"<BOS>": "⊢", "<EOS>": "⊣", " ": "␣", "\t": "⇥", "\n": "↵"}


class Tokenizer(ABC):
    """kind: value of the setting `tokenizer`; unit: name of one token in messages; is_fixed: whether the
    vocabulary is independent of the data; framing: a key of FRAMINGS.
    """

    kind: ClassVar[str]
    unit: ClassVar[str] = "token"
    is_fixed: ClassVar[bool] = False
    framing: str

    @classmethod
    @abstractmethod
    def learn(cls, documents: Sequence[str], framing: str) -> Self:
        """A tokenizer fit to a corpus; DataError if a model could learn nothing from it."""

    @classmethod
    @abstractmethod
    def restore(cls, values: Mapping[str, Any]) -> Self:
        """The tokenizer with these `values()`; RunFolderError if they are invalid."""

    @abstractmethod
    def values(self) -> dict[str, Any]:
        """The JSON values recorded in a run folder, including `kind`."""

    @property
    @abstractmethod
    def symbols(self) -> Sequence[bytes]:
        """The UTF-8 of each text token, at least one byte, in the order of ids."""

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """The ids of a text, without special tokens; PrefixError for a character without an id."""

    @abstractmethod
    def unknown(self, text: str) -> str:
        """The distinct characters of a text that cannot be encoded."""

    @property
    def alphabet(self) -> str:
        """The characters that texts may contain, in the order of ids; empty if unrestricted."""
        return ""

    @staticmethod
    def of(documents: Sequence[str], framing: str, kind: str = "characters") -> Tokenizer:
        """A tokenizer fit to a corpus. kind: a key of TOKENIZERS."""
        return TOKENIZERS[kind].learn(documents, framing)

    @staticmethod
    def from_values(values: Mapping[str, Any]) -> Tokenizer:
        """The tokenizer recorded in a run folder; RunFolderError if the values are invalid."""
        kind = values.get("kind", CharacterTokenizer.kind)
        if not isinstance(kind, str) or kind not in TOKENIZERS:
            raise RunFolderError(f"tokenizer: expected a kind in {tuple(TOKENIZERS)}, got {shortened(kind)}")
        return TOKENIZERS[kind].restore(values)

    def __post_init__(self) -> None:
        if self.framing not in FRAMINGS:
            raise RunFolderError(
                f"tokenizer: expected a framing in {tuple(FRAMINGS)}, got {shortened(self.framing)}"
            )

    @property
    def text_ids(self) -> range:
        """The ids of text tokens."""
        first = len(FRAMINGS[self.framing].before)
        return range(first, first + len(self.symbols))

    @property
    def vocab_size(self) -> int:
        """Number of ids, including special tokens."""
        return self.text_ids.stop + len(FRAMINGS[self.framing].after)

    @property
    def bos(self) -> int | None:
        """The id that starts every document; None in a stream."""
        return next(iter(self._specials), None)

    @property
    def stop(self) -> int | None:
        """The id that ends every document: BOS again, or EOS; None in a stream."""
        return next(reversed(self._specials), None)

    @property
    def _specials(self) -> list[int]:
        return [*range(self.text_ids.start), *range(self.text_ids.stop, self.vocab_size)]

    def token_bytes(self, token: int) -> bytes:
        """The UTF-8 of an id, possibly a part of a character; empty for special tokens."""
        text = self.text_ids
        return self.symbols[token - text.start] if token in text else b""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of the ids; special tokens appear as <BOS> and <EOS>, invalid UTF-8 as \ufffd."""
        return b"".join(map(self._shown.__getitem__, ids)).decode("utf-8", "replace")

    @cached_property
    def _shown(self) -> list[bytes]:
        """The bytes that `decode` shows for each id."""
        before, after = FRAMINGS[self.framing]
        return [*(name.encode() for name in before), *self.symbols, *(name.encode() for name in after)]

    def lengths(self, documents: Documents) -> array[int]:
        """Number of tokens of each document, without special tokens."""
        return array("q", (len(self._encode_known(document)) for document in documents))

    def encode_documents(self, documents: Sequence[str]) -> TokenSequences:
        """The documents framed by special tokens; DataError names a character without an id."""
        begin, end = ([] if one is None else [one] for one in (self.bos, self.stop))
        return TokenSequences.of([*begin, *self._encode_known(document), *end] for document in documents)

    def encode_stream(self, documents: Sequence[str]) -> memoryview[int]:
        """The ids of a stream; DataError names a character without an id."""
        ids = array("I", chain.from_iterable(map(self._encode_known, documents)))
        return memoryview(ids).toreadonly()

    def _encode_known(self, document: str) -> list[int]:
        try:
            return self.encode(document)
        except PrefixError:
            raise _unknown_in_data(self.unknown(document)) from None

    def unknown_error(self, text: str) -> PrefixError:
        """The error for a text that cannot be encoded."""
        return PrefixError(
            f"text {shortened(text)}: expected only characters of the training data, got "
            f"{with_code_points(self.unknown(text))}; known characters: {shortened(self.alphabet)}"
        )


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
        offsets = array("q", accumulate((n + specials for n in self.lengths(documents)), initial=0))
        begin, end = ("", "") if self.bos is None else (chr(self.bos), chr(self.stop or 0) + chr(self.bos))
        tokens = packed_ids(chain([begin], self._ids_of(documents, end)), self.vocab_size)
        return TokenSequences(tokens[: offsets[-1]], offsets)  # without the BOS after the last document

    def encode_stream(self, documents: Sequence[str]) -> memoryview[int]:
        return packed_ids(self._ids_of(flat(documents), ""), self.vocab_size)

    def _ids_of(self, documents: Documents, end: str) -> Iterator[str]:
        """The ids of the documents as code points; end: follows each document."""
        for piece in documents.pieces(self.encoding):
            yield piece.translate(self._table).replace(chr(self._end_id), end)

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
        raise _unknown_in_data(chr(code))


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
        return cls(characters, framing)

    def values(self) -> dict[str, Any]:
        """Without `kind`, which the first run folders did not record."""
        return {"characters": self.characters, "framing": self.framing}

    @property
    def alphabet(self) -> str:
        return self.characters

    @cached_property
    def symbols(self) -> Sequence[bytes]:
        return [character.encode() for character in self.characters]

    def unknown(self, text: str) -> str:
        return "".join(sorted({character for character in text if character not in self._ids}))

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


TOKENIZERS: dict[str, type[Tokenizer]] = {one.kind: one for one in (CharacterTokenizer, ByteTokenizer)}


def _unknown_in_data(characters: str) -> DataError:
    return DataError(
        f"data: expected only characters of the tokenizer, got {with_code_points(characters)}; the data "
        "differ from the training data"
    )


def with_code_points(characters: str) -> str:
    """Characters for a message, with the first code points: 'ñ́' (U+00F1, U+0301)."""
    points = ", ".join(f"U+{ord(character):04X}" for character in characters[:MAX_CODE_POINTS])
    return f"{shortened(characters)} ({points}{', …' * (len(characters) > MAX_CODE_POINTS)})"
