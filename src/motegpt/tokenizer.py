"""Text <-> token ids, with the special tokens of each framing.

A token is a character of the training data, which is a Unicode code point, or a byte of the text's UTF-8.
"bos": the characters take ids 0 … n-1 and BOS is n, used at both ends of a document (microgpt, oxidized).
"bos_eos": BOS is 0, EOS is 1, and the characters follow (zeroclaw). "none": the characters alone, for a
stream, which has no ends.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, chain
from typing import Any

from motegpt.concise import concise_repr
from motegpt.documents import END, Documents, flat
from motegpt.errors import DataError, PrefixError, RunFolderError
from motegpt.sequences import TokenSequences, packed_ids
from motegpt.settings import has_surrogate, is_surrogate, shortened

FRAMINGS = ("bos", "bos_eos", "none")
TOKENIZERS = ("characters", "bytes")
BYTES = 256
NAMED = 3  # code points in a message


@dataclass(frozen=True)
class Tokenizer:
    """characters: the alphabet, each character once, in the order of their ids; none with "bytes"."""

    characters: str
    framing: str
    kind: str = "characters"

    __repr__ = concise_repr

    def __post_init__(self) -> None:
        if self.framing not in FRAMINGS:
            raise RunFolderError(
                f"tokenizer: expected a framing in {FRAMINGS}, got {shortened(self.framing)}"
            )
        if self.kind not in TOKENIZERS:
            raise RunFolderError(f"tokenizer: expected a kind in {TOKENIZERS}, got {shortened(self.kind)}")
        if self.kind == "bytes" and self.characters:
            raise RunFolderError("tokenizer: expected no characters where tokens are bytes")
        repeated = len(set(self.characters)) != len(self.characters)
        if self.kind == "characters" and (repeated or not self.characters):
            raise RunFolderError("tokenizer: expected characters that are all different, got a repeated one")
        if has_surrogate(self.characters):
            raise RunFolderError("tokenizer: expected Unicode characters, got half of a surrogate pair")

    @classmethod
    def of(cls, documents: Sequence[str], framing: str, kind: str = "characters") -> Tokenizer:
        """The tokenizer of a corpus: its characters, sorted; or all 256 bytes, whatever the corpus."""
        if kind == "bytes":
            return cls("", framing, kind)
        characters = flat(documents).alphabet()
        if len(characters) < 2:
            raise DataError(
                f"vocabulary: expected at least 2 different characters, got {len(characters)} "
                f"({characters!r}); a model of one character has nothing to learn"
            )
        return cls(characters, framing, kind)

    @classmethod
    def from_values(cls, values: Any) -> Tokenizer:
        """The tokenizer that `values` gave; RunFolderError if it gave something else."""
        kind, framing = values.get("kind", "characters"), values.get("framing")
        characters = "" if kind == "bytes" else values.get("characters")
        if not all(isinstance(value, str) for value in (characters, framing, kind)):
            raise RunFolderError("tokenizer: expected characters and framing")
        return cls(characters, framing, kind)

    def values(self) -> dict[str, str]:
        """What a run folder records."""
        if self.kind == "bytes":
            return {"kind": self.kind, "framing": self.framing}
        return {"characters": self.characters, "framing": self.framing}

    @property
    def bos(self) -> int | None:
        """The id that begins every document; None in a stream."""
        return {"bos": self._size, "bos_eos": 0, "none": None}[self.framing]

    @property
    def stop(self) -> int | None:
        """The id that ends every document: BOS again, or EOS; None in a stream."""
        return {"bos": self._size, "bos_eos": 1, "none": None}[self.framing]

    @property
    def vocab_size(self) -> int:
        return self._size + len({self.bos, self.stop} - {None})

    @property
    def _size(self) -> int:
        """How many tokens are not special."""
        return {"bytes": BYTES, "characters": len(self.characters)}[self.kind]

    @cached_property
    def _ids(self) -> dict[Any, int]:
        """Character or byte -> id."""
        first = {"bos": 0, "bos_eos": 2, "none": 0}[self.framing]
        return {unit: i for i, unit in enumerate(self._units(self.characters) or range(BYTES), first)}

    def _units(self, text: str) -> str | bytes:
        """What the text's tokens stand for, one after the other."""
        match self.kind:
            case "bytes":
                return text.encode()
            case "characters":
                return text
        raise AssertionError(f"a kind in {TOKENIZERS}, not {self.kind!r}")

    def unknown(self, text: str) -> str:
        """The characters of a text that have no ids, each once."""
        if self.kind == "bytes":
            return "".join(sorted(set(filter(is_surrogate, text))))
        return "".join(sorted({unit for unit in text if unit not in self._ids}))

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without special tokens; PrefixError names a character it never saw."""
        try:
            return [self._ids[unit] for unit in self._units(text)]
        except (KeyError, UnicodeEncodeError):
            raise PrefixError(
                f"text {shortened(text)}: expected only characters of the training data, got "
                f"{named(self.unknown(text))}; known are {shortened(self.characters)}"
            ) from None

    def encode_documents(self, documents: Sequence[str]) -> TokenSequences:
        """Each document between its special tokens; DataError names a character that has no id."""
        documents, specials = flat(documents), 0 if self.bos is None else 2
        lengths = documents.byte_lengths() if self.kind == "bytes" else documents.lengths
        offsets = array("q", accumulate((length + specials for length in lengths), initial=0))
        begin, end = ("", "") if self.bos is None else (chr(self.bos), chr(self.stop or 0) + chr(self.bos))
        tokens = packed_ids(chain([begin], self._ids_of(documents, end)), self.vocab_size)
        return TokenSequences(tokens[: offsets[-1]], offsets)  # without the BOS behind the last document

    def encode_stream(self, documents: Sequence[str]) -> memoryview[int]:
        """The ids of a long text, all of it in one document; DataError names a character that has none."""
        return packed_ids(self._ids_of(flat(documents), ""), self.vocab_size)

    def _ids_of(self, documents: Documents, end: str) -> Iterator[str]:
        """The ids of the documents as code points; end: what follows each of them."""
        for piece in documents.pieces(self._encoding):
            yield piece.translate(self._table).replace(chr(self._ended), end)

    @property
    def _encoding(self) -> str:
        """What makes a character of each unit in the UTF-8 of documents."""
        return "latin-1" if self.kind == "bytes" else "utf-8"

    @property
    def _ended(self) -> int:
        """An id that no unit has: the one that ends a document, or in a stream one beyond all."""
        return self.vocab_size if self.stop is None else self.stop

    @cached_property
    def _table(self) -> dict[int, int]:
        """Code point of a unit -> its id; that of an END -> self._ended."""
        units = {unit if isinstance(unit, int) else ord(unit): token for unit, token in self._ids.items()}
        return _Table({**units, ord(END): self._ended})

    def decode(self, ids: Sequence[int]) -> str:
        """The text of the ids; special tokens show as <BOS> and <EOS>, bytes that are no UTF-8 as \ufffd."""
        return b"".join(map(self._symbols.__getitem__, ids)).decode("utf-8", "replace")

    @cached_property
    def _symbols(self) -> list[bytes]:
        """What each id shows as."""
        symbols = {
            "bytes": [bytes([byte]) for byte in range(BYTES)],
            "characters": [character.encode() for character in self.characters],
        }[self.kind]
        specials = {"bos": ([], [b"<BOS>"]), "bos_eos": ([b"<BOS>", b"<EOS>"], []), "none": ([], [])}
        before, after = specials[self.framing]
        return [*before, *symbols, *after]


class _Table(dict[int, int]):
    """What str.translate looks code points up in."""

    def __missing__(self, code: int) -> int:
        got = named(chr(code))
        raise DataError(f"data: expected only characters of the tokenizer, got {got}; the data are others")


def named(characters: str) -> str:
    """Characters for a message, with the code points of the first ones: 'ñ́' (U+00F1, U+0301)."""
    points = ", ".join(f"U+{ord(character):04X}" for character in characters[:NAMED])
    return f"{shortened(characters)} ({points}{', …' * (len(characters) > NAMED)})"
