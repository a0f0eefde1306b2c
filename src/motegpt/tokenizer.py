"""Characters <-> token ids, with the special tokens of either framing.

"bos": the characters take ids 0 … n-1 and BOS is n, used at both ends of a document (microgpt,
oxidized). "bos_eos": BOS is 0, EOS is 1, and the characters follow (zeroclaw). A character is a
Unicode code point.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from motegpt.errors import DataError, PrefixError, RunFolderError
from motegpt.settings import shortened

FRAMINGS = ("bos", "bos_eos")


@dataclass(frozen=True)
class Tokenizer:
    """characters: the alphabet, each character once, in the order of their ids."""

    characters: str
    framing: str

    def __post_init__(self) -> None:
        if self.framing not in FRAMINGS:
            raise RunFolderError(f"tokenizer: expected a framing in {FRAMINGS}, got {self.framing!r}")
        if not self.characters or len(set(self.characters)) != len(self.characters):
            raise RunFolderError("tokenizer: expected characters that are all different, got a repeated one")

    @classmethod
    def of(cls, documents: Iterable[str], framing: str) -> Tokenizer:
        """The tokenizer of a corpus: its characters, sorted."""
        characters = "".join(sorted(set().union(*documents)))
        if len(characters) < 2:
            raise DataError(
                f"vocabulary: expected at least 2 different characters, got {len(characters)} "
                f"({characters!r}); a model of one character has nothing to learn"
            )
        return cls(characters, framing)

    @property
    def bos(self) -> int:
        """The id that begins every document."""
        return len(self.characters) if self.framing == "bos" else 0

    @property
    def stop(self) -> int:
        """The id that ends every document: BOS again, or EOS."""
        return self.bos if self.framing == "bos" else 1

    @property
    def vocab_size(self) -> int:
        return len(self.characters) + len({self.bos, self.stop})

    @property
    def _first(self) -> int:
        """The id of the first character."""
        return 0 if self.framing == "bos" else 2

    def encode(self, text: str) -> list[int]:
        """The ids of the characters, without special tokens; PrefixError names a character it never saw."""
        ids = {character: self._first + i for i, character in enumerate(self.characters)}
        unknown = sorted(set(text) - ids.keys())
        if unknown:
            raise PrefixError(
                f"text {shortened(text)}: expected only characters of the training data, got "
                f"{shortened(''.join(unknown))}; known are {shortened(self.characters)}"
            )
        return [ids[character] for character in text]

    def encode_all(self, documents: Iterable[str]) -> list[list[int]]:
        """Each document between its special tokens."""
        ids = {character: self._first + i for i, character in enumerate(self.characters)}
        return [[self.bos, *(ids[c] for c in document), self.stop] for document in documents]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of the ids; special tokens show as <BOS> and <EOS>."""
        return "".join(map(self._symbols.__getitem__, ids))

    @cached_property
    def _symbols(self) -> list[str]:
        """What each id shows as."""
        if self.framing == "bos":
            return [*self.characters, "<BOS>"]
        return ["<BOS>", "<EOS>", *self.characters]
