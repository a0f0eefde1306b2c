"""The built-in lists of the page: each shows something else about what a small GPT can learn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from motegpt.data.corpus import built_in_names
from motegpt.model.rng import Stream

ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
LARGEST_NUMBER = 999
ECHOES, SYLLABLE = 400, ("bdfgklmnprst", "aeiou", "bdgklmnprst")
LARGEST_TERM = 9


class List(NamedTuple):
    """title: what it is, and what it shows; text: one document per line."""

    name: str
    title: str
    text: str


def lists() -> list[List]:
    """The built-in lists, in the order in which the page offers them."""
    numbers = map(in_words, range(1, LARGEST_NUMBER + 1))
    return [
        List("names", "first names", built_in_names().decode()),
        List("numbers", "numbers in words: rules behind a list", _lines(numbers)),
        List("echoes", "a syllable, twice: attention learns to copy", _lines(_echoes())),
        List("sums", "sums of two digits: memory, or arithmetic?", _lines(_sums())),
    ]


def in_words(number: int) -> str:
    """A number from 0 to 999 in English words."""
    hundreds, rest = divmod(number, 100)
    if hundreds:
        return f"{ONES[hundreds]} hundred" + (f" {in_words(rest)}" if rest else "")
    if rest < len(ONES):
        return ONES[rest]
    tens, ones = divmod(rest, 10)
    return TENS[tens - 2] + (f"-{ONES[ones]}" if ones else "")


def _echoes() -> Iterator[str]:
    """Random syllables, each twice: "kel kel"."""
    rng = Stream.of(seed=0, index=0)
    for _ in range(ECHOES):
        syllable = "".join(letters[int(rng.uniform() * len(letters))] for letters in SYLLABLE)
        yield f"{syllable} {syllable}"


def _sums() -> Iterator[str]:
    terms = range(LARGEST_TERM + 1)
    return (f"{a}+{b}={a + b}" for a in terms for b in terms)


def _lines(documents: Iterator[str]) -> str:
    return "".join(f"{document}\n" for document in documents)
