"""Text <-> token ids, with the special tokens of each framing.

A token is a character of the training data, which is a Unicode code point, or a byte of the text's UTF-8.
"bos": the characters take ids 0 … n-1 and BOS is n, used at both ends of a document (microgpt, oxidized).
"bos_eos": BOS is 0, EOS is 1, and the characters follow (zeroclaw). "none": the characters alone, for a
stream, which has no ends.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from motegpt.errors import DataError, PrefixError, RunFolderError
from motegpt.settings import has_surrogate, is_surrogate, shortened

FRAMINGS = ("bos", "bos_eos", "none")
TOKENIZERS = ("characters", "bytes")
BYTES = 256


@dataclass(frozen=True)
class Tokenizer:
    """characters: the alphabet, each character once, in the order of their ids; none with "bytes"."""

    characters: str
    framing: str
    kind: str = "characters"

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
    def of(cls, documents: Iterable[str], framing: str, kind: str = "characters") -> Tokenizer:
        """The tokenizer of a corpus: its characters, sorted; or all 256 bytes, whatever the corpus."""
        if kind == "bytes":
            return cls("", framing, kind)
        characters = "".join(sorted(set().union(*documents)))
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
        return "".join(sorted(set(text) - self._ids.keys()))

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without special tokens; PrefixError names a character it never saw."""
        unknown = self.unknown(text)
        if unknown:
            raise PrefixError(
                f"text {shortened(text)}: expected only characters of the training data, got "
                f"{shortened(unknown)}; known are {shortened(self.characters)}"
            )
        return [self._ids[unit] for unit in self._units(text)]

    def encode_all(self, documents: Iterable[str]) -> list[list[int]]:
        """Each document between its special tokens; DataError names a character that has no id."""
        ids, begin, end = self._ids, self._special(self.bos), self._special(self.stop)
        try:
            return [[*begin, *(ids[unit] for unit in self._units(text)), *end] for text in documents]
        except KeyError as error:
            raise _not_of_these(error) from None

    def encode_stream(self, text: str) -> array[int]:
        """The ids of a long text, four bytes each; DataError names a character that has none."""
        try:
            return array("i", map(self._ids.__getitem__, self._units(text)))
        except KeyError as error:
            raise _not_of_these(error) from None

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

    @staticmethod
    def _special(token: int | None) -> list[int]:
        return [] if token is None else [token]


def _not_of_these(error: KeyError) -> DataError:
    return DataError(
        f"data: expected only characters of the tokenizer, got {error.args[0]!r}; it was made from other data"
    )
