"""Text that is probably not as its owner thinks: invisible characters, wrong encodings, other formats.

Nothing here changes a text. A Lint is shown a file group by group and keeps counts, not texts.
"""

from __future__ import annotations

import csv
import html
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from statistics import fmean
from typing import NamedTuple

from motegpt.config.sections import ReadConfig
from motegpt.data.documents import normalized
from motegpt.data.formats import Reader, Texts

BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
INVISIBLE = frozenset("\u00ad\u180e\u200b\u2060\ufeff")
JOINER = re.compile("[\u200c\u200d]")  # at home in emoji and in the scripts of India and Persia
LOOK_ALIKE = {"LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC"}  # alphabets that share shapes
WORD = re.compile(r"[^\W\d_]+")
JSON_LINE = re.compile(r'\s*(\{\s*"|\[\s*[{"])')
BROKEN_PAIR = re.compile("[\u00c2-\u00f4\u0420\u0421][^\x00-\x7f]")  # UTF-8 decoded byte by byte
ENTITY = re.compile(r"&(?:#\d+|#[xX][0-9a-fA-F]+|[A-Za-z]\w*);")
DELIMITERS = ",;\t"
NAMED = 3  # characters that a finding names
SAMPLE = 1000  # texts that a format is guessed from
LONG_LINE = 256  # characters: longer than the blocks of small models
# Running text: so many words per line, and so large a part of the lines blank, or of the characters in long
# lines, or of the lines in the middle of a sentence, but not all.
PROSE_WORDS, PARAGRAPHS, IN_LONG_LINES, WRAPPED = 5, 0.05, 0.5, (0.3, 0.95)
# Dialogues and verse have shorter lines, and more blank ones, but not one between any two.
SHORT_WORDS, SHORT_PARAGRAPHS = 3, (0.1, 0.4)
WORD = re.compile(r"[\u2e80-\uffef]{1,2}|[^\s\u2e80-\uffef]+")  # Chinese and Japanese have no spaces


@dataclass(frozen=True)
class Finding:
    """what is odd, in how many lines, the first of them with an excerpt, and what to do about it."""

    what: str
    count: int
    line: int
    example: str
    repair: str


class Check(NamedTuple):
    """Something that can be odd in a text.

    may_be: whether any text of these characters can be so, asked first as it is quick. raw: it is looked
    for in the text as it is in the file, not as it is learned. of_documents: a stream does not have it.
    """

    what: str
    repair: str
    is_odd: Callable[[str], object]
    may_be: Callable[[frozenset[str]], object]
    raw: bool = False
    of_documents: bool = False


@cache
def alphabet_of(character: str) -> str:
    """LATIN of é, CYRILLIC of ж; the first word of the name."""
    return unicodedata.name(character, "").partition(" ")[0] if character.isalpha() else ""


def odd_characters(what: str, repair: str, is_odd: Callable[[str], bool]) -> Check:
    """A check for characters that are odd wherever they are; they are named."""
    known = cache(is_odd)

    def find(text: str) -> list[str]:
        return list(filter(known, text))

    return Check(what, repair, find, lambda alphabet: any(map(known, alphabet)))


def _is_control(character: str) -> bool:
    return unicodedata.category(character) == "Cc" and character != "\n"


def _is_odd_space(character: str) -> bool:
    return unicodedata.category(character) in ("Zs", "Zl", "Zp") and character != " "


def _is_unassigned(character: str) -> bool:
    return unicodedata.category(character) in ("Cn", "Co")


def _is_joined_alone(text: str) -> bool:
    """Whether a joiner is behind a letter of an alphabet that does not join."""
    before = (text[found.start() - 1 : found.start()] for found in JOINER.finditer(text))
    return any(not character or alphabet_of(character) in LOOK_ALIKE for character in before)


def _mixes_alphabets(text: str) -> bool:
    """Whether a word has letters of two alphabets that look alike, as a Cyrillic а in a Latin word."""
    return any(len(set(map(alphabet_of, word)) & LOOK_ALIKE) > 1 for word in WORD.findall(text))


def _is_broken(text: str) -> bool:
    """Whether it is UTF-8 that was decoded as something else: Ã© for é."""
    if not BROKEN_PAIR.search(text):
        return False
    from ftfy import fix_encoding

    return fix_encoding(text) != text


NOT_NFC = Check(
    "letters and accents apart (not NFC)",
    "--normalize nfc makes one character of them",
    lambda text: not unicodedata.is_normalized("NFC", text),
    lambda alphabet: not "".join(alphabet).isascii(),
)
CHECKS = (
    odd_characters(
        "control characters, tabs among them", "take them out, or put spaces in their place", _is_control
    ),
    odd_characters("invisible characters", "take them out", INVISIBLE.__contains__),
    odd_characters("marks of text direction", "take them out", BIDI.__contains__),
    odd_characters(
        "spaces that are not the usual one", "--normalize nfkc turns most into spaces", _is_odd_space
    ),
    odd_characters(
        "replacement characters", "the text was damaged before: convert it again", "\ufffd".__eq__
    ),
    odd_characters(
        "characters of private or no meaning", "take them out, if they are not meant", _is_unassigned
    ),
    Check(
        "joiners where nothing joins",
        "take them out",
        _is_joined_alone,
        lambda alphabet: JOINER.search("".join(alphabet)),
    ),
    NOT_NFC,
    Check(
        "words that mix look-alike alphabets",
        "type those letters again",
        _mixes_alphabets,
        lambda alphabet: len(set(map(alphabet_of, alphabet)) & LOOK_ALIKE) > 1,
    ),
    Check(
        "UTF-8 that was read in another encoding",
        "convert it again from the original, or mend it with ftfy",
        _is_broken,
        lambda alphabet: not "".join(alphabet).isascii(),
    ),
    Check(
        "HTML entities",
        "html.unescape of Python makes characters of them",
        lambda text: ENTITY.search(text) and html.unescape(text) != text,
        lambda alphabet: "&" in alphabet,
    ),
    Check(
        "line breaks inside a document",
        "the model will learn and generate them",
        lambda text: "\n" in text.strip(),
        lambda alphabet: "\n" in alphabet,
        raw=True,
        of_documents=True,
    ),
    Check(
        "spaces at the ends",
        "nothing to do: training leaves them out",
        lambda text: bool(text.strip()) and text != text.strip(),
        lambda alphabet: True,
        raw=True,
        of_documents=True,
    ),
)


@dataclass
class _Tally:
    """How many texts a check found, the first of them, and the characters it is about."""

    line: int
    example: str
    count: int = 0
    characters: set[str] = field(default_factory=set)


class Lint:
    """What is odd in the texts of some files. readers: those of the files, in their order."""

    def __init__(self, reading: ReadConfig) -> None:
        self._reading = reading
        self.readers: list[Reader] = []
        self._found: dict[Check, _Tally] = {}
        self._sample: list[tuple[int, str]] = []
        self._texts = self._filled = self._characters = self._in_long_lines = 0

    def look(self, reader: Reader, group: Texts) -> None:
        """The next texts of a file: what `read_corpus` is to be watched by."""
        if reader not in self.readers:
            self.readers.append(reader)
        is_stream = reader.format == "stream"
        lines, texts = _line_by_line(group) if is_stream else (group.lines, group.texts)
        learned = [text.strip() for text in normalized(texts, self._reading)]
        self._measure(lines, learned)
        alphabet = frozenset("".join(texts))
        if self._reading.normalize is not None:
            alphabet |= frozenset("".join(learned))
        for check in CHECKS:
            if not (is_stream and check.of_documents) and check.may_be(alphabet):
                self._count(check, lines, texts if check.raw else learned)

    def _measure(self, lines: Sequence[int], texts: list[str]) -> None:
        self._texts += len(texts)
        self._filled += sum(map(bool, texts))
        sizes = list(map(len, texts))
        self._characters += sum(sizes)
        self._in_long_lines += sum(size for size in sizes if size > LONG_LINE)
        room = SAMPLE - len(self._sample)
        if room:
            filled = (pair for pair in zip(lines, texts, strict=True) if pair[1])
            self._sample += list(filled)[:room]

    def _count(self, check: Check, lines: Sequence[int], texts: Sequence[str]) -> None:
        for line, text in zip(lines, texts, strict=True):
            odd = check.is_odd(text)
            if odd:
                tally = self._found.setdefault(check, _Tally(line, text))
                tally.count += 1
                if isinstance(odd, list):
                    tally.characters.update(odd)

    def findings(self) -> list[Finding]:
        """All that was found, in the order of CHECKS; what the file as a whole may be comes last."""
        found = []
        for check in CHECKS:
            if tally := self._found.get(check):
                what = check.what + _named(tally.characters)
                found.append(Finding(what, tally.count, tally.line, tally.example, check.repair))
        return found + list(self._other_formats())

    def has(self, check: Check) -> bool:
        """Whether a check found something."""
        return check in self._found

    @property
    def lines(self) -> int:
        """Lines of all files."""
        return sum(reader.lines for reader in self.readers)

    @property
    def empty(self) -> int:
        """Lines without text, and rows and objects without it."""
        skipped = sum(reader.lines for reader in self.readers if reader.format == "jsonl")
        return self._texts - self._filled + max(0, skipped - self._texts)

    @property
    def _is_text(self) -> bool:
        return all(reader.format == "text" for reader in self.readers)

    @property
    def is_running_text(self) -> bool:
        """Whether it is a text and no list, by long or wrapped lines or blank lines between paragraphs."""
        if not self._is_text or not self._sample:
            return False
        words = fmean(len(WORD.findall(text)) for _, text in self._sample)
        blank = 1 - self._filled / self._texts
        long = self._in_long_lines / self._characters
        wrapped = fmean(text[0].islower() for _, text in self._sample)
        if words >= PROSE_WORDS:
            return blank >= PARAGRAPHS or long >= IN_LONG_LINES or WRAPPED[0] <= wrapped <= WRAPPED[1]
        return words >= SHORT_WORDS and SHORT_PARAGRAPHS[0] <= blank <= SHORT_PARAGRAPHS[1]

    def _other_formats(self) -> Iterator[Finding]:
        """What lines of text may be instead."""
        if not self._is_text or len(self._sample) < 2:
            return
        texts = [text for _, text in self._sample]

        def of_all(what: str, repair: str) -> Finding:
            return Finding(what, self._filled, *self._sample[0], repair)

        if self.is_running_text:
            yield of_all("lines that look like running text", "--format stream learns it as one text")
        elif sum(map(bool, map(JSON_LINE.match, texts))) > len(texts) / 2:
            yield of_all("lines that look like JSON", "--format jsonl reads a key")
        elif any(_is_table(texts, delimiter) for delimiter in DELIMITERS):
            yield of_all("lines that look like CSV", "--format csv with --column reads one column")


def _line_by_line(group: Texts) -> tuple[Sequence[int], list[str]]:
    """The lines of the parts of a stream, and their numbers."""
    texts = [line for part in group.texts for line in part.removesuffix("\n").split("\n")]
    return range(group.lines[0], group.lines[0] + len(texts)), texts


def _is_table(texts: Iterable[str], delimiter: str) -> bool:
    """Whether nearly all lines have as many cells as the first, and more than one."""
    try:
        rows = [len(row) for row in csv.reader(map(html.unescape, texts), delimiter=delimiter)]
    except csv.Error:
        return False
    return bool(rows) and rows[0] > 1 and rows.count(rows[0]) > 0.95 * len(rows)


def _named(characters: Iterable[str]) -> str:
    """The first characters of a finding, in parentheses; nothing if it names none."""
    known = sorted(characters)
    names = ", ".join(map(name_of, known[:NAMED])) + ", …" * (len(known) > NAMED)
    return f" ({names})" if names else ""


def name_of(character: str) -> str:
    """U+00A0 NO-BREAK SPACE"""
    return f"U+{ord(character):04X} {unicodedata.name(character, '')}".rstrip()
