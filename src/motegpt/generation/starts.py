"""The tokenizations that a text with a prefix can begin with.

A token may straddle the end of the prefix: texts that begin with "jo" may have a token "joh". Each start ends
with the first token that reaches the end of the prefix; the characters beyond it are the tail. Only starts
that are the tokenization of their own text are considered, as training knows no others. A token that ends
within a character starts no text here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from motegpt.errors import PrefixError

if TYPE_CHECKING:
    from motegpt.data.tokenizers import Tokenizer


class Start(NamedTuple):
    """ids: of the prefix and the tail; tail: characters beyond the prefix."""

    ids: tuple[int, ...]
    tail: str = ""


def starts_of(prefix: str, tokenizer: Tokenizer) -> list[Start]:
    """The starts of texts with this prefix, the one without a tail first; PrefixError if there are none."""
    first = first_start(prefix, tokenizer)
    if tokenizer.is_ids:
        return [first]
    return [first, *(start for start in _straddling(prefix, tokenizer) if start != first)]


def first_start(prefix: str, tokenizer: Tokenizer) -> Start:
    """The tokenization of the prefix, or of a longer text where it has none, as "C" of "Cl" alone.

    Sequences of ids begin with the id that most of the data begin with where no prefix is given.
    """
    if tokenizer.is_ids:
        return Start(tuple(tokenizer.encode(prefix)) or (tokenizer.first,))
    try:
        return Start(tuple(tokenizer.encode(prefix)))
    except PrefixError:
        start = next(_straddling(prefix, tokenizer), None)
        if start is None:
            raise
        return start


def _straddling(prefix: str, tokenizer: Tokenizer) -> Iterator[Start]:
    """The starts whose last token begins before the end of the prefix and ends after it."""
    tokens = [(i, text) for i in tokenizer.text_ids if len(text := text_of(tokenizer.token_bytes(i))) > 1]
    longest = max((len(text) for _, text in tokens), default=1)
    for at in range(max(0, len(prefix) - longest + 1), len(prefix)):
        rest, found = prefix[at:], [one for one in tokens if one[1].startswith(prefix[at:])]
        before = _encoded(prefix[:at], tokenizer) if found else None
        for token, text in found:
            if before is None or len(text) == len(rest):
                continue
            ids = (*before, token)
            if _encoded(prefix[:at] + text, tokenizer) == list(ids):
                yield Start(ids, text[len(rest) :])


def _encoded(text: str, tokenizer: Tokenizer) -> Sequence[int] | None:
    """The ids of a text; None if it has none."""
    try:
        return tokenizer.encode(text)
    except PrefixError:
        return None


def text_of(encoded: bytes) -> str:
    """The characters of a token; empty if it is not valid UTF-8 by itself."""
    try:
        return encoded.decode()
    except UnicodeDecodeError:
        return ""
