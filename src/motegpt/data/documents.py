"""Documents in flat memory, and the normalization of texts.

A list of documents needs little more memory than its file: one buffer holds the UTF-8 of all documents, one
array their lengths. Standard library only.
"""

from __future__ import annotations

import codecs
import unicodedata
from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain, compress, pairwise
from typing import TYPE_CHECKING, Any, ClassVar, Literal, overload

from motegpt.config.sections import ReadConfig, SampleConfig
from motegpt.config.text import has_surrogate, shortened
from motegpt.data.formats.base import rechunk, with_newlines
from motegpt.errors import DataError

if TYPE_CHECKING:
    from motegpt.data.sequences import Mask

FORMS: dict[str, Literal["NFC", "NFKC"]] = {"nfc": "NFC", "nfkc": "NFKC"}
FRAGMENTS = ("prefix", "suffix", "stop", "allow", "forbid")  # sampling settings that are parts of texts
PIECE = 2**20  # bytes decoded at a time
ASCII = 128  # number of its characters
END = "\0"  # terminates each document; documents do not contain it


class Documents(Sequence[str]):
    """A sequence of texts in flat memory.

    data: their UTF-8, each followed by END; lengths: their numbers of characters.

    >>> documents = Documents.of([["anna", "zoë"], ["ida"]])
    >>> documents[1], len(documents), list(documents.lengths)
    ('zoë', 3, [4, 3, 3])

    unit: what `lengths` counts, for messages; optimum: the lowest possible loss in nats per target, None if
    it is not known.
    """

    unit: ClassVar[str] = "characters"
    optimum: float | None = None

    def __init__(self, data: bytes | bytearray, lengths: array[int]) -> None:
        self.data, self.lengths = data, lengths

    @classmethod
    def of(cls, groups: Iterable[Sequence[str]]) -> Documents:
        """The texts of groups; DataError if one contains END or a lone surrogate."""
        parts = (Documents(_encoded(texts), array("I", map(len, texts))) for texts in groups if texts)
        return cls.joined(parts)

    @classmethod
    def joined(cls, parts: Iterable[Documents]) -> Documents:
        """The documents of all parts, in order."""
        data, lengths = bytearray(), array("I")
        for part in parts:
            data += part.data
            lengths.extend(part.lengths)
        return cls(data, lengths)

    @property
    def mask(self) -> Mask | None:
        """The weight of each token of data that are ids as a target; None if all are 1."""
        return None

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that these data decide: none, for text."""
        return {}

    @classmethod
    def of_stream(cls, parts: Iterable[str]) -> Documents:
        """One text, the concatenation of parts; no documents if it is empty. Raises DataError like `of`."""
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
        """The texts in lists."""
        for part in rechunk(self.pieces(), END):
            yield part[: -len(END)].split(END)

    def pieces(self, encoding: str = "utf-8") -> Iterator[str]:
        """The texts, each followed by END, in pieces of any length. As latin-1: one character per byte."""
        decoder = codecs.getincrementaldecoder(encoding)()
        for start in range(0, len(self.data), PIECE):
            yield decoder.decode(self.data[start : start + PIECE])

    def where(self, mask: Iterable[bool]) -> Documents:
        """The documents for which `mask` is true, in order."""
        selectors = iter(mask)
        return Documents.of(list(compress(texts, selectors)) for texts in self.groups())

    def contents(self) -> Iterator[str]:
        """All that makes two documents differ, as a text each."""
        return iter(self)

    @property
    def splits_itself(self) -> bool:
        """Whether the data say what is held out, as `own_split` gives it."""
        return False

    def own_split(self) -> tuple[Documents, Documents] | None:
        """(training, validation) as the data themselves say; None if they do not, as texts never do."""
        return None

    def split_at(self, length: int) -> tuple[Documents, Documents]:
        """The first `length` units of a stream, and the rest."""
        offset, left = 0, length
        for piece in self.pieces():
            part = piece[:left]
            offset, left = offset + len(part.encode()), left - len(part)
            if not left:
                break
        rest = sum(self.lengths) - length
        return (
            Documents(self.data[:offset] + END.encode(), array("Q", [length])),
            Documents(self.data[offset:], array("Q", [rest])),
        )

    @property
    def is_ascii(self) -> bool:
        """Whether each byte of `data` is a character."""
        return self.data.isascii()

    def alphabet(self) -> str:
        """The distinct characters, sorted."""
        if self.is_ascii:
            return "".join(chr(code) for code in range(1, ASCII) if code in self.data)
        return "".join(sorted(set().union(*self.pieces()) - {END}))

    @cached_property
    def _ends(self) -> array[int]:
        """Offset of the END of each text."""
        ends, offset = array("Q"), -1
        while (offset := self.data.find(END.encode(), offset + 1)) >= 0:
            ends.append(offset)
        return ends

    def byte_lengths(self) -> Iterator[int]:
        """The number of UTF-8 bytes of each text."""
        return (end - start - 1 for start, end in pairwise(chain([-1], self._ends)))


def flat(texts: Sequence[str]) -> Documents:
    """The texts as Documents."""
    return texts if isinstance(texts, Documents) else Documents.of([texts])


def documents_of(texts: Iterable[str], reading: ReadConfig) -> list[str]:
    """The texts of a file as documents: normalized and stripped, without empty ones."""
    return [stripped for text in normalized(texts, reading) if (stripped := text.strip())]


def normalized(texts: Iterable[str], reading: ReadConfig) -> Iterable[str]:
    """The texts in the Unicode form of the setting `normalize`."""
    if reading.normalize is None:
        return texts
    form = FORMS[reading.normalize]
    return (unicodedata.normalize(form, text) for text in texts)


def normalize_sample_texts(sample: SampleConfig, reading: ReadConfig) -> SampleConfig:
    """The sampling settings with their texts normalized like the training data."""
    found = {name: normalize_fragment(text, reading) for name in FRAGMENTS if (text := getattr(sample, name))}
    changes = {name: text for name, text in found.items() if text != getattr(sample, name)}
    return sample.replace(**changes) if changes else sample


def normalize_fragment(text: str, reading: ReadConfig) -> str:
    """A part of a text, such as a prefix, normalized like the training data; not stripped."""
    (fragment,) = normalized([with_newlines(text)], reading)
    return fragment


def normalize_document(text: str, reading: ReadConfig) -> str:
    """A whole text normalized like the training data; stripped unless it is a stream."""
    fragment = normalize_fragment(text, reading)
    return fragment if reading.is_stream else fragment.strip()


def _encoded(texts: Sequence[str]) -> bytes:
    """The UTF-8 of texts, each followed by END."""
    joined = END.join(texts) + END
    if joined.count(END) == len(texts):
        try:
            return joined.encode()
        except UnicodeEncodeError:
            pass
    invalid = next(text for text in texts if END in text or has_surrogate(text))
    found = "half of a surrogate pair" if END not in invalid else "a zero character"
    raise DataError(f"documents: expected Unicode characters, got {found} in {shortened(invalid)}")
