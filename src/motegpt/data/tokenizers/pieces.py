"""Tokens of several characters: the most frequent pieces of the data.

A piece is a match of a pattern (config/patterns.py). A piece that is not in the vocabulary is spelled by its
characters, as far as the data have spelled them too: an l that only occurs in Cl is no token.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

from motegpt.config.patterns import MAX_PIECE, WORDS, compiled, pieces
from motegpt.config.sections.data import DEFAULT_VOCABULARY
from motegpt.config.text import concise_repr, has_surrogate, shortened
from motegpt.data.documents import flat
from motegpt.data.tokenizers.base import FRAMINGS, Tokenizer, recorded_growth
from motegpt.errors import DataError, RunFolderError

MIN_COUNT = 2  # of a token of several characters: one seen once teaches nothing
MAX_KEPT = 2**16  # pieces whose ids are kept in memory


class TextTokenizer(Tokenizer):
    """Every token is a text; the first ones are characters, sorted.

    pattern: of the pieces that are encoded each by itself; tokens: in the order of ids.
    """

    pattern: str
    tokens: Sequence[str]

    @abstractmethod
    def _spell(self, piece: str) -> list[int]:
        """The ids of a piece; KeyError for an unknown character."""

    @cached_property
    def _ids(self) -> dict[str, int]:
        """Token -> id."""
        return dict(zip(self.tokens, self.text_ids, strict=True))

    @cached_property
    def symbols(self) -> Sequence[bytes]:
        return [token.encode() for token in self.tokens]

    @cached_property
    def _alphabet(self) -> str:
        return "".join(token for token in self.tokens if len(token) == 1)

    @property
    def alphabet(self) -> str:
        return self._alphabet

    def unknown(self, text: str) -> str:
        return "".join(sorted({character for character in text if character not in self._ids}))

    def encode(self, text: str) -> list[int]:
        ids, kept = [], self._kept
        for piece in pieces(self.pattern, text):
            found = kept.get(piece)
            if found is None:
                try:
                    found = self._spell(piece)
                except KeyError:
                    raise self.unknown_error(text) from None
                if len(kept) < MAX_KEPT:
                    kept[piece] = found
            ids += found
        return ids

    @cached_property
    def _kept(self) -> dict[str, list[int]]:
        """The ids of pieces that were encoded before."""
        return {}


def alphabet_of(documents: Sequence[str]) -> str:
    """The characters of the data, sorted; DataError if there is only one."""
    characters = flat(documents).alphabet()
    if len(characters) < 2:
        raise DataError(
            f"vocabulary: expected at least 2 distinct characters, got {len(characters)} "
            f"({characters!r}); with one there is nothing to learn"
        )
    return characters


def room_for_tokens(alphabet: str, framing: str, max_vocab_size: int | None) -> int:
    """How many tokens of several characters fit beside the characters and the special tokens."""
    specials = sum(map(len, FRAMINGS[framing]))
    return max(0, (max_vocab_size or DEFAULT_VOCABULARY) - len(alphabet) - specials)


def count_pieces(pattern: str, documents: Sequence[str]) -> Counter[str]:
    """How often each piece occurs."""
    return Counter(piece for document in documents for piece in pieces(pattern, document))


def checked_pattern(values: Mapping[str, Any]) -> str:
    """The recorded pattern; RunFolderError if it is none."""
    pattern = values.get("pattern")
    try:
        if isinstance(pattern, str):
            compiled(pattern)
            return pattern
    except ValueError as error:
        raise RunFolderError(f"tokenizer: expected a pattern, got {error}") from None
    raise RunFolderError(f"tokenizer: expected a pattern, got {shortened(pattern)}")


def checked_tokens(tokens: Sequence[Any]) -> tuple[str, ...]:
    """Recorded tokens; RunFolderError unless they are distinct texts of at most MAX_PIECE characters."""
    for token in tokens:
        if not isinstance(token, str) or not 0 < len(token) <= MAX_PIECE or has_surrogate(token):
            raise RunFolderError(
                f"tokenizer: expected tokens of 1 to {MAX_PIECE} characters, got {shortened(token)}"
            )
    if len(set(tokens)) != len(tokens) or len(tokens) < 2:
        raise RunFolderError("tokenizer: expected at least two tokens, all different, got others")
    return tuple(tokens)


@dataclass(frozen=True)
class RegexTokenizer(TextTokenizer):
    """A token is a match of a pattern that the user gives: an atom of a molecule, a move, a chord."""

    kind = "regex"
    tokens: tuple[str, ...]
    pattern: str
    framing: str
    appended: int = 0

    __repr__ = concise_repr

    @classmethod
    def learn(
        cls,
        documents: Sequence[str],
        framing: str,
        *,
        token_pattern: str | None = None,
        max_vocab_size: int | None = None,
    ) -> Self:
        """The most frequent matches, ties in alphabetical order, and the characters that spell the others."""
        characters, pattern = alphabet_of(documents), token_pattern or WORDS
        counts = count_pieces(pattern, documents)
        found = [piece for piece, n in counts.items() if len(piece) > 1 and n >= MIN_COUNT]
        found.sort(key=lambda piece: (-counts[piece], piece))
        found = found[: room_for_tokens(characters, framing, max_vocab_size)]
        spelled = sorted(set().union(*(counts.keys() - set(found))))
        return cls(
            (*spelled, *found) if len(spelled) + len(found) > 1 else tuple(characters), pattern, framing
        )

    @classmethod
    def restore(cls, values: Mapping[str, Any]) -> Self:
        tokens, framing = values.get("tokens"), values.get("framing")
        if not isinstance(tokens, list) or not isinstance(framing, str):
            raise RunFolderError("tokenizer: expected tokens and framing")
        growth = recorded_growth(values, tokens)
        return cls(checked_tokens(tokens), checked_pattern(values), framing, growth)

    def extended(self, characters: str) -> Self:
        return replace(self, tokens=(*self.tokens, *characters), appended=self.appended + len(characters))

    def values(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "tokens": list(self.tokens),
            "pattern": self.pattern,
            "framing": self.framing,
            **self.growth(),
        }

    @property
    def alphabet(self) -> str:
        return "".join(sorted(set("".join(self.tokens))))

    def unknown(self, text: str) -> str:
        spelled = {one for piece in pieces(self.pattern, text) if piece not in self._ids for one in piece}
        return "".join(sorted(spelled - self._ids.keys()))

    def _spell(self, piece: str) -> list[int]:
        whole = self._ids.get(piece)
        return [self._ids[character] for character in piece] if whole is None else [whole]


@dataclass(frozen=True)
class WordTokenizer(RegexTokenizer):
    """A token is a word with the space before it, or punctuation."""

    kind: ClassVar[str] = "words"
