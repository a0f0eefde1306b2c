"""Byte-pair encoding (Gage, 1994; Sennrich et al., 2016) over characters.

Training starts with the characters of each word. It merges the most frequent pair of neighboring tokens into
one token, again and again; of equally frequent pairs the one with the smallest ids. Encoding applies the
merges to each word in the order in which they were learned. No merge crosses the end of a word, which is a
match of a pattern (config/patterns.py).

The smallest tokens are the characters of the data, not bytes: a small vocabulary has no room for 256 bytes,
and every token is a text, so that prefixes, lengths and allowed characters need not look into characters.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple, Self

from motegpt.config.patterns import MAX_PIECE, WORDS
from motegpt.config.text import concise_repr, shortened
from motegpt.data.tokenizers.base import recorded_growth
from motegpt.data.tokenizers.pieces import (
    MIN_COUNT,
    TextTokenizer,
    alphabet_of,
    checked_pattern,
    checked_tokens,
    count_pieces,
    room_for_tokens,
)
from motegpt.errors import RunFolderError

Pair = tuple[int, int]


class Merges(NamedTuple):
    """tokens: characters, then merged ones, by id; pairs: the merged ids, in order."""

    tokens: list[str]
    pairs: list[Pair]


def learn_merges(words: Mapping[str, int], alphabet: str, room: int) -> Merges:
    """Merge the most frequent pairs until there are `room` more tokens. words: with their counts.

    Only the words that contain the merged pair are counted anew; an entry of the heap whose count has changed
    since is put back.
    """
    tokens, pairs, ids = list(alphabet), list[Pair](), {token: i for i, token in enumerate(alphabet)}
    spelled, times = [[ids[character] for character in word] for word in words], list(words.values())
    counts, places = Counter[Pair](), defaultdict[Pair, set[int]](set)
    for i, word in enumerate(spelled):
        for pair in pairwise(word):
            counts[pair] += times[i]
            places[pair].add(i)
    heap = [(-count, pair) for pair, count in counts.items()]
    heapq.heapify(heap)
    while heap and len(tokens) < len(alphabet) + room:
        count, pair = heapq.heappop(heap)
        if counts[pair] < MIN_COUNT or -count != counts[pair]:
            if counts[pair] >= MIN_COUNT:
                heapq.heappush(heap, (-counts[pair], pair))
            continue
        text = tokens[pair[0]] + tokens[pair[1]]
        new = ids.setdefault(text, len(tokens))  # two pairs may make the same token
        tokens += [text] * (new == len(tokens))
        pairs.append(pair)
        grown = set[Pair]()
        for i in places.pop(pair):
            for old in pairwise(spelled[i]):
                counts[old] -= times[i]
            spelled[i] = merged(spelled[i], pair, new)
            for one in pairwise(spelled[i]):
                counts[one] += times[i]
                if new in one:
                    places[one].add(i)
                    grown.add(one)
        for one in grown:
            heapq.heappush(heap, (-counts[one], one))
    return Merges(tokens, pairs)


def merged(word: list[int], pair: Pair, new: int) -> list[int]:
    """The word with each occurrence of the pair replaced by one id, from left to right."""
    result, at = [], 0
    while at < len(word):
        is_pair = word[at] == pair[0] and word[at + 1 : at + 2] == [pair[1]]
        result.append(new if is_pair else word[at])
        at += 1 + is_pair
    return result


@dataclass(frozen=True)
class BpeTokenizer(TextTokenizer):
    """A token is a character, or two tokens merged.

    characters: the alphabet, appended ones last; merges: the texts of the two tokens of each merge, in order,
    none of them of appended characters; pattern: of words.
    """

    kind = "bpe"
    characters: str
    merges: tuple[tuple[str, str], ...]
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
        """The merges of the data, as many as max_vocab_size has room for."""
        characters, pattern = alphabet_of(documents), token_pattern or WORDS
        room = room_for_tokens(characters, framing, max_vocab_size)
        tokens, pairs = learn_merges(count_pieces(pattern, documents), characters, room)
        return cls(characters, tuple((tokens[a], tokens[b]) for a, b in pairs), pattern, framing)

    @classmethod
    def restore(cls, values: Mapping[str, Any]) -> Self:
        characters, merges, framing = (values.get(name) for name in ("characters", "merges", "framing"))
        if not isinstance(characters, str) or not isinstance(merges, list) or not isinstance(framing, str):
            raise RunFolderError("tokenizer: expected characters, merges and framing")
        growth = recorded_growth(values, characters)
        return cls(
            "".join(checked_tokens(characters)),
            tuple(_checked_merges(characters[: len(characters) - growth], merges)),
            checked_pattern(values),
            framing,
            growth,
        )

    def extended(self, characters: str) -> Self:
        return replace(
            self, characters=self.characters + characters, appended=self.appended + len(characters)
        )

    def values(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "characters": self.characters,
            "merges": [list(pair) for pair in self.merges],
            "pattern": self.pattern,
            "framing": self.framing,
            **self.growth(),
        }

    @cached_property
    def tokens(self) -> Sequence[str]:  # type: ignore[override]
        first = len(self.characters) - self.appended
        merged = map("".join, self.merges)
        return list(dict.fromkeys([*self.characters[:first], *merged, *self.characters[first:]]))

    @cached_property
    def _ranks(self) -> dict[Pair, tuple[int, int]]:
        """Pair of ids -> its place among the merges, and the id that it becomes."""
        ids = self._ids
        return {(ids[a], ids[b]): (rank, ids[a + b]) for rank, (a, b) in enumerate(self.merges)}

    def _spell(self, piece: str) -> list[int]:
        """Apply the earliest merge among the pairs of the piece until none is left."""
        word, ranks = [self._ids[character] for character in piece], self._ranks
        while found := [pair for pair in pairwise(word) if pair in ranks]:
            pair = min(found, key=ranks.__getitem__)
            word = merged(word, pair, ranks[pair][1])
        return word


def _checked_merges(characters: str, merges: Sequence[Any]) -> list[tuple[str, str]]:
    """Recorded merges; RunFolderError unless each is a new pair of earlier tokens, and not too long."""
    known, found = set(characters), dict[tuple[str, str], None]()
    for pair in merges:
        is_pair = isinstance(pair, list) and len(pair) == 2 and all(isinstance(one, str) for one in pair)
        if not is_pair or not known.issuperset(pair) or (pair := tuple(pair)) in found:
            raise RunFolderError(
                f"tokenizer: expected merges of two earlier tokens, each once, got {shortened(pair)}"
            )
        if len("".join(pair)) > MAX_PIECE:
            raise RunFolderError(
                f"tokenizer: expected tokens of at most {MAX_PIECE} characters, got longer ones"
            )
        found[pair] = None
        known.add("".join(pair))
    return list(found)
