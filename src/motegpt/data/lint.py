"""Data that are probably not as intended: invisible characters, wrong encodings, other file formats.

Nothing here changes a text. A Lint is shown a file group by group and keeps counts, not texts.
"""

from __future__ import annotations

import csv
import html
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import NamedTuple

from motegpt.config.sections import ReadConfig
from motegpt.data.documents import normalized
from motegpt.data.formats import Reader, Texts

LATIN = "A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff"
# Greek, Cyrillic, Armenian, Cherokee and Coptic, whose letters look like Latin ones.
LIKE_LATIN = "\u0370-\u058f\u13a0-\u13ff\u1f00-\u1fff\u2c80-\u2cff"
JSON_LINE = re.compile(r'\s*(\{\s*"|\[\s*[{"])')
BROKEN_PAIR = re.compile("[\u00c2-\u00f4\u0420\u0421][^\x00-\x7f]")  # UTF-8 decoded byte by byte
ENTITY = re.compile(r"&(?:#\d+|#[xX][0-9a-fA-F]+|[A-Za-z]\w*);")
DELIMITERS = ",;\t"
NAMED = 3  # characters that a finding names
SAMPLE = 1000  # texts from which a format is guessed
LONG_LINE = 256  # characters: longer than the blocks of small models
# Running text: words per line, and as fractions of all: blank lines, characters in long lines, and lines that
# begin in the middle of a sentence.
PROSE_WORDS, PARAGRAPHS, IN_LONG_LINES, WRAPPED = 5, 0.05, 0.5, (0.3, 0.95)
SHORT_WORDS, SHORT_PARAGRAPHS = 3, (0.1, 0.4)  # dialogues and verse: shorter lines, more blank ones
WORD = re.compile(r"[\u2e80-\uffef]{1,2}|[^\s\u2e80-\uffef]+")  # Chinese and Japanese have no spaces


@dataclass(frozen=True)
class Finding:
    """A kind of suspicious line: description, number of lines, first line with an excerpt, likely repair."""

    what: str
    count: int
    line: int
    example: str
    repair: str


class Check(NamedTuple):
    """Something that can be odd in a text.

    find: the odd characters of a text, to be named, or whether it is odd. may_be: whether a text of these
    characters can be odd, which is asked first because it is fast. raw: applies to the text as it is in the
    file, not as it is learned. of_documents: does not apply to a stream.
    """

    what: str
    repair: str
    find: Callable[[str], object]
    may_be: Callable[[str], object]
    raw: bool = False
    of_documents: bool = False


def odd_characters(what: str, repair: str, pattern: str) -> Check:
    """A check for characters that are odd wherever they are."""
    find = re.compile(pattern).findall
    return Check(what, repair, find, find)


def _unassigned(text: str) -> list[str]:
    return [character for character in text if unicodedata.category(character) in ("Cn", "Co")]


def _is_broken(text: str) -> bool:
    """Whether it is UTF-8 that was decoded as something else: Ã© for é."""
    if not BROKEN_PAIR.search(text):
        return False
    from ftfy import fix_encoding

    return fix_encoding(text) != text


def _not_ascii(alphabet: str) -> bool:
    return not alphabet.isascii()


NOT_NFC = Check(
    "letters and accents apart (not NFC)", "--normalize nfc makes one character of them",
    lambda text: not unicodedata.is_normalized("NFC", text), _not_ascii,
)  # fmt: skip
CHECKS = (
    odd_characters(
        "control characters, tabs among them", "remove them, or replace them with spaces",
        r"[\x00-\x09\x0b-\x1f\x7f-\x9f]",
    ),
    odd_characters("invisible characters", "remove them", "[\u00ad\u180e\u200b\u2060\ufeff]"),
    odd_characters(
        "marks of text direction", "remove them",
        "[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]",
    ),
    odd_characters(
        "spaces that are not the usual one", "--normalize nfkc turns most into spaces",
        "[\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]",
    ),
    odd_characters("replacement characters", "the text was damaged before: convert it again", "\ufffd"),
    Check(
        "characters of private or no meaning", "remove them, if they are not intended",
        _unassigned, _unassigned,
    ),
    Check(
        "joiners where nothing joins", "remove them",  # they join emoji, and letters of India and Persia
        re.compile(f"(?:^|(?<=[{LATIN}{LIKE_LATIN}]))[\u200c\u200d]").search,
        re.compile("[\u200c\u200d]").search,
    ),
    NOT_NFC,
    Check(
        "words that mix look-alike alphabets", "type those letters again",
        re.compile(f"[{LATIN}][{LIKE_LATIN}]|[{LIKE_LATIN}][{LATIN}]").search,
        lambda alphabet: re.search(f"[{LATIN}]", alphabet) and re.search(f"[{LIKE_LATIN}]", alphabet),
    ),
    Check(
        "UTF-8 that was read in another encoding",
        "convert it again from the original, or repair it with ftfy", _is_broken, _not_ascii,
    ),
    Check(
        "HTML entities", "html.unescape of Python makes characters of them",
        lambda text: ENTITY.search(text) and html.unescape(text) != text, lambda alphabet: "&" in alphabet,
    ),
    Check(
        "line breaks inside a document", "the model will learn and generate them",
        lambda text: "\n" in text.strip(), lambda alphabet: "\n" in alphabet, raw=True, of_documents=True,
    ),
    Check(
        "spaces at the ends", "nothing to do: training leaves them out",
        lambda text: text != text.strip() != "", lambda alphabet: True, raw=True, of_documents=True,
    ),
)  # fmt: skip


@dataclass
class _Tally:
    """How many texts a check found, the first of them, and the odd characters."""

    line: int
    example: str
    count: int = 0
    characters: set[str] = field(default_factory=set)


class Lint:
    """The suspicious lines of some files. readers: of the files, in order."""

    def __init__(self, reading: ReadConfig) -> None:
        self._reading = reading
        self.readers: list[Reader] = []
        self._found: dict[Check, _Tally] = {}
        self._sample: list[tuple[int, str]] = []
        self._texts = self._filled = self._characters = self._in_long_lines = 0

    def look(self, reader: Reader, group: Texts) -> None:
        """Check the next texts of a file; a callback of `read_corpus`."""
        if reader not in self.readers:
            self.readers.append(reader)
        is_stream = reader.format == "stream"
        lines, texts = _line_by_line(group) if is_stream else (group.lines, group.texts)
        learned = [text.strip() for text in normalized(texts, self._reading)]
        self._measure(lines, learned)
        changed = learned if self._reading.normalize else []
        alphabet = "".join(set("".join([*texts, *changed])))
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
            odd = check.find(text)
            if odd:
                tally = self._found.setdefault(check, _Tally(line, text))
                tally.count += 1
                if isinstance(odd, list):
                    tally.characters.update(odd)

    def findings(self) -> list[Finding]:
        """In the order of CHECKS; the likely format of the whole file comes last."""
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
        """Lines, rows and objects without text."""
        skipped = sum(reader.lines for reader in self.readers if reader.format == "jsonl")
        return self._texts - self._filled + max(0, skipped - self._texts)

    @property
    def _is_text(self) -> bool:
        return all(reader.format == "text" for reader in self.readers)

    @property
    def is_running_text(self) -> bool:
        """Whether it is prose, not a list: long or wrapped lines, or blank lines between paragraphs."""
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
        """Other formats that lines of text look like."""
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
    """The first of some characters, in parentheses; empty if there are none."""
    known = sorted(characters)
    names = ", ".join(map(name_of, known[:NAMED])) + ", …" * (len(known) > NAMED)
    return f" ({names})" if names else ""


def name_of(character: str) -> str:
    """U+00A0 NO-BREAK SPACE"""
    return f"U+{ord(character):04X} {unicodedata.name(character, '')}".rstrip()
