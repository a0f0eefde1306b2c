"""Documents in flat memory; and the rules by which texts become documents.

A long list takes little more memory than its file: one array holds the UTF-8 of all documents, another their
lengths. Standard library only.
"""

from __future__ import annotations

import codecs
import unicodedata
from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain, compress, pairwise
from typing import Literal, overload

from motegpt.config.sections import ReadConfig, SampleConfig
from motegpt.config.text import has_surrogate, shortened
from motegpt.data.formats.base import whole, with_newlines
from motegpt.errors import DataError

FORMS: dict[str, Literal["NFC", "NFKC"]] = {"nfc": "NFC", "nfkc": "NFKC"}
FRAGMENTS = ("prefix", "suffix", "stop", "allow", "forbid")  # settings of sampling that are parts of texts
PIECE = 2**20  # bytes that are decoded at a time
END = "\0"  # follows each document; none contains it


class Documents(Sequence[str]):
    """Texts, one after the other.

    data: their UTF-8, an END behind each; lengths: their characters, without it.

    >>> documents = Documents.of([["anna", "zoë"], ["ida"]])
    >>> documents[1], len(documents), list(documents.lengths)
    ('zoë', 3, [4, 3, 3])
    """

    def __init__(self, data: bytes | bytearray, lengths: array[int]) -> None:
        self.data, self.lengths = data, lengths

    @classmethod
    def of(cls, groups: Iterable[Sequence[str]]) -> Documents:
        """The texts of some groups; DataError if one has an END in it, or what is no Unicode character."""
        data, lengths = bytearray(), array("I")
        for texts in groups:
            if texts:
                data += _encoded(texts)
                lengths.extend(map(len, texts))
        return cls(data, lengths)

    @classmethod
    def of_stream(cls, parts: Iterable[str]) -> Documents:
        """One text, put together from its parts; none if it is empty. DataError as `of`."""
        data, length = bytearray(), 0
        for part in parts:
            data += _encoded([part])[: -len(END)]
            length += len(part)
        return cls(data + END.encode(), array("Q", [length])) if length else cls(b"", array("I"))

    def __len__(self) -> int:
        return len(self.lengths)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> list[str]: ...
    def __getitem__(self, at: int | slice) -> str | list[str]:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        at = range(len(self))[at]
        start = self._ends[at - 1] + 1 if at else 0
        return self.data[start : self._ends[at]].decode()

    def __iter__(self) -> Iterator[str]:
        for texts in self.groups():
            yield from texts

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Documents):
            return self.data == other.data
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # compares equal to lists

    def __repr__(self) -> str:
        return f"Documents({len(self):,}: {shortened(', '.join(self[:3]))})"

    def groups(self) -> Iterator[list[str]]:
        """The texts, many at a time."""
        for part in whole(self.pieces(), END):
            yield part[: -len(END)].split(END)

    def pieces(self, encoding: str = "utf-8") -> Iterator[str]:
        """The texts, an END behind each, in pieces that end anywhere. As latin-1: a character per byte."""
        decoder = codecs.getincrementaldecoder(encoding)()
        for start in range(0, len(self.data), PIECE):
            yield decoder.decode(self.data[start : start + PIECE])

    def where(self, chosen: Iterable[bool]) -> Documents:
        """Those documents, in their order, for which `chosen` is true."""
        answers = iter(chosen)
        return Documents.of(list(compress(texts, answers)) for texts in self.groups())

    def cut_at(self, length: int) -> tuple[Documents, Documents]:
        """The first `length` characters of a stream, and the rest."""
        place, left = 0, length
        for piece in self.pieces():
            part = piece[:left]
            place, left = place + len(part.encode()), left - len(part)
            if not left:
                break
        rest = sum(self.lengths) - length
        return (
            Documents(self.data[:place] + END.encode(), array("Q", [length])),
            Documents(self.data[place:], array("Q", [rest])),
        )

    def alphabet(self) -> str:
        """The different characters, sorted."""
        return "".join(sorted(set().union(*self.pieces()) - {END}))

    @cached_property
    def _ends(self) -> array[int]:
        """Where the END of each text is in the data."""
        ends, place = array("Q"), -1
        while (place := self.data.find(END.encode(), place + 1)) >= 0:
            ends.append(place)
        return ends

    def byte_lengths(self) -> Iterator[int]:
        """The bytes of each text's UTF-8."""
        return (end - start - 1 for start, end in pairwise(chain([-1], self._ends)))


def flat(texts: Sequence[str]) -> Documents:
    """Texts as Documents, if they are not already."""
    return texts if isinstance(texts, Documents) else Documents.of([texts])


def documents_of(texts: Iterable[str], reading: ReadConfig) -> list[str]:
    """The texts of a file as documents: in the Unicode form asked for, stripped, empty ones left out."""
    return [stripped for text in normalized(texts, reading) if (stripped := text.strip())]


def normalized(texts: Iterable[str], reading: ReadConfig) -> Iterable[str]:
    """The texts in the Unicode form that was asked for, if one was."""
    if reading.normalize is None:
        return texts
    form = FORMS[reading.normalize]
    return (unicodedata.normalize(form, text) for text in texts)


def normalize_sample_texts(sample: SampleConfig, reading: ReadConfig) -> SampleConfig:
    """The settings of sampling with their texts by the rules of the training texts."""
    return sample.replace(**{name: normalize_fragment(getattr(sample, name), reading) for name in FRAGMENTS})


def normalize_fragment(text: str, reading: ReadConfig) -> str:
    """A part of a text, such as a prefix, by the rules of the training texts; it is not stripped."""
    (fragment,) = normalized([with_newlines(text)], reading)
    return fragment


def normalize_document(text: str, reading: ReadConfig) -> str:
    """A whole text by the rules of the training texts; a stream's is not stripped."""
    fragment = normalize_fragment(text, reading)
    return fragment if reading.format == "stream" else fragment.strip()


def _encoded(texts: Sequence[str]) -> bytes:
    """The UTF-8 of texts, an END behind each."""
    joined = END.join(texts) + END
    if joined.count(END) == len(texts):
        try:
            return joined.encode()
        except UnicodeEncodeError:
            pass
    wrong = next(text for text in texts if END in text or has_surrogate(text))
    what = "half of a surrogate pair" if END not in wrong else "a zero character"
    raise DataError(f"documents: expected Unicode characters, got {what} in {shortened(wrong)}")
