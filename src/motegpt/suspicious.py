"""Text that is probably not as its owner thinks: invisible characters, look-alikes, wrong encodings.

Each check takes numbered texts and gives a Finding or None. Nothing here changes a text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache

Numbered = Sequence[tuple[int, str]]  # line of the file, text

BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
INVISIBLE = frozenset("\u00ad\u180e\u200b\u2060\ufeff")
JOINERS = "\u200c\u200d"  # at home in emoji and in the scripts of India and Persia, not between Latin letters
LOOK_ALIKE = {"LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC"}  # alphabets that share shapes
NOT_NFC = "letters and accents apart (not NFC)"
WORD = re.compile(r"[^\W\d_]+")
DELIMITERS = ",;\t"


@dataclass(frozen=True)
class Finding:
    """what is odd, in how many lines, the first of them with an excerpt, and what to do about it."""

    what: str
    count: int
    line: int
    example: str
    repair: str


def _is_control(character: str) -> bool:
    return unicodedata.category(character) == "Cc" and character != "\n"


def _is_odd_space(character: str) -> bool:
    return unicodedata.category(character) in ("Zs", "Zl", "Zp") and character != " "


def _is_unassigned(character: str) -> bool:
    return unicodedata.category(character) in ("Cn", "Co")


# What is odd, which characters it is about, and what to do.
ODD_CHARACTERS: list[tuple[str, Callable[[str], bool], str]] = [
    ("control characters, tabs among them", _is_control, "take them out, or put spaces in their place"),
    ("invisible characters", INVISIBLE.__contains__, "take them out"),
    ("marks of text direction", BIDI.__contains__, "take them out"),
    ("spaces that are not the usual one", _is_odd_space, "--normalise nfkc turns most into spaces"),
    ("replacement characters", "\ufffd".__eq__, "the text was damaged before: convert it again"),
    ("characters of private or no meaning", _is_unassigned, "take them out, if they are not meant"),
]


def findings_in(texts: Numbered, alphabet: Iterable[str]) -> list[Finding]:
    """Everything odd in some texts, whose characters are `alphabet`."""
    characters = sorted(alphabet)
    found = [
        odd_characters(texts, characters, what, is_odd, repair) for what, is_odd, repair in ODD_CHARACTERS
    ]
    found += [check(texts, characters) for check in (joiners, mixed_forms, mixed_alphabets, wrong_encoding)]
    return [finding for finding in found if finding is not None]


def finding_of(texts: Numbered, is_odd: Callable[[str], object], what: str, repair: str) -> Finding | None:
    """The finding that some texts are odd; None if none is."""
    odd = [(line, text) for line, text in texts if is_odd(text)]
    return Finding(what, len(odd), *odd[0], repair) if odd else None


def odd_characters(
    texts: Numbered, alphabet: Sequence[str], what: str, is_odd: Callable[[str], bool], repair: str
) -> Finding | None:
    """Texts with characters that are odd wherever they stand."""
    odd = "".join(filter(is_odd, alphabet))
    if not odd:
        return None
    some = ", ".join(map(name_of, odd[:3])) + ", …" * (len(odd) > 3)
    return finding_of(texts, re.compile(f"[{re.escape(odd)}]").search, f"{what} ({some})", repair)


def joiners(texts: Numbered, alphabet: Sequence[str]) -> Finding | None:
    """Joiners behind a letter of an alphabet that does not join."""
    if not set(JOINERS) & set(alphabet):
        return None

    def is_odd(text: str) -> bool:
        before = (text[match.start() - 1 : match.start()] for match in re.finditer(f"[{JOINERS}]", text))
        return any(not character or alphabet_of(character) in LOOK_ALIKE for character in before)

    return finding_of(texts, is_odd, "joiners where nothing joins", "take them out")


def mixed_forms(texts: Numbered, alphabet: Sequence[str]) -> Finding | None:
    """é as one character in some texts, as e and an accent in others; or the second alone."""
    if all(character.isascii() for character in alphabet):
        return None

    def is_odd(text: str) -> bool:
        return not unicodedata.is_normalized("NFC", text)

    return finding_of(texts, is_odd, NOT_NFC, "--normalise nfc makes one character of them")


def mixed_alphabets(texts: Numbered, alphabet: Sequence[str]) -> Finding | None:
    """Words with letters of two alphabets that look alike, as a Cyrillic а in a Latin word."""
    if len({alphabet_of(character) for character in alphabet} & LOOK_ALIKE) < 2:
        return None

    def is_odd(text: str) -> bool:
        return any(len(set(map(alphabet_of, word)) & LOOK_ALIKE) > 1 for word in WORD.findall(text))

    return finding_of(texts, is_odd, "words that mix look-alike alphabets", "type those letters again")


def wrong_encoding(texts: Numbered, alphabet: Sequence[str]) -> Finding | None:
    """UTF-8 that was once read as another encoding: Ã© for é."""
    if not set(alphabet) & set("ÃÂâÐÑ"):
        return None

    def is_odd(text: str) -> bool:
        for encoding in ("latin1", "cp1252"):
            try:
                return text.encode(encoding).decode() != text
            except UnicodeError:
                continue
        return False

    return finding_of(texts, is_odd, "UTF-8 that was read as Latin-1", "iconv -f utf-8 -t latin1 undoes it")


def spaces_at_ends(texts: Numbered) -> Finding | None:
    """Texts that lose something when they are stripped."""

    def is_odd(text: str) -> bool:
        return bool(text.strip()) and text != text.strip()

    return finding_of(texts, is_odd, "spaces at the ends", "nothing to do: training leaves them out")


def line_breaks(texts: Numbered) -> Finding | None:
    """Documents of more than one line, which CSV and JSONL can hold."""

    def is_odd(text: str) -> bool:
        return "\n" in text.strip()

    return finding_of(texts, is_odd, "line breaks inside a document", "the model will learn and draw them")


def table_as_text(texts: Numbered) -> Finding | None:
    """Lines that look like CSV, each with as many delimiters as the first."""
    some = [text for _, text in texts if text.strip()][:1000]
    for delimiter in DELIMITERS:
        wanted = some[0].count(delimiter) if len(some) > 1 else 0
        if wanted and sum(text.count(delimiter) == wanted for text in some) > 0.95 * len(some):
            return Finding(
                "lines that look like CSV",
                len(texts),
                *texts[0],
                "--format csv with --column reads one column",
            )
    return None


def json_as_text(texts: Numbered) -> Finding | None:
    """Lines that look like JSON."""
    found = finding_of(
        texts,
        re.compile(r'^\s*(\{\s*"|\[\s*[{"])').match,
        "lines that look like JSON",
        "--format jsonl reads a key",
    )
    return found if found is not None and 2 * found.count > len(texts) else None


@cache
def alphabet_of(character: str) -> str:
    """LATIN of é, CYRILLIC of ж; the first word of the name."""
    return unicodedata.name(character, "").partition(" ")[0] if character.isalpha() else ""


def name_of(character: str) -> str:
    """U+00A0 NO-BREAK SPACE"""
    return f"U+{ord(character):04X} {unicodedata.name(character, '')}".rstrip()
