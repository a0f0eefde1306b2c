"""The interface of readers, and functions that they share."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain
from typing import Any, ClassVar, NamedTuple, overload

from motegpt.config.sections import ReadConfig
from motegpt.config.text import shortened
from motegpt.errors import DataError

NEWLINE = ord("\n")
GROUP = 2**14  # texts per group, in formats that find them one by one
OPENINGS = ("[", "{", "[{", "[[")  # a first line of indented JSON


class Lines(Sequence[str]):
    """The lines of a text, split when one is asked for. text: without line ends other than newlines."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __len__(self) -> int:
        return len(self._lines)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> list[str]: ...
    def __getitem__(self, at: int | slice) -> str | list[str]:
        return self._lines[at]

    def __iter__(self) -> Iterator[str]:
        return iter(self._lines)

    @cached_property
    def _lines(self) -> list[str]:
        return self.text.removesuffix("\n").split("\n")


class Texts(NamedTuple):
    """A group of texts of a file, not stripped, possibly empty.

    lines: number of the line where each starts, counted from 1.
    """

    texts: Sequence[str]
    lines: Sequence[int]


class Reader(ABC):
    """An iterable, once, over the groups of texts of a file.

    lines: number of lines read so far. column: the column or key that is read. assumed: an assumption that no
    setting confirms, as a clause.
    """

    format: ClassVar[str]

    def __init__(self, pieces: Iterable[str], name: str, reading: ReadConfig) -> None:
        """pieces: the text of the file; name: of the file, for errors."""
        self._pieces, self._name, self._reading = pieces, name, reading
        self.lines = 0
        self.column: str | None = None
        self.assumed: str | None = None

    @abstractmethod
    def __iter__(self) -> Iterator[Texts]:
        """Raises DataError if the file is not of this format."""

    def _where(self, line: int) -> str:
        return f"{self._name}: line {line}"

    def _lines_of_text(self) -> Iterable[str]:
        """The pieces; DataError if they look like JSON and the format was not set explicitly.

        JSON is a single value, the beginning of an indented value, or a first line that is an object.
        """
        if self._reading.format:
            return self._pieces
        pieces = iter(self._pieces)
        first = next(pieces, "")
        opening, _, rest = (part.strip() for part in first.lstrip().partition("\n"))
        if not opening.startswith(("[", "{")):
            return chain([first], pieces)
        all_pieces = [first, *pieces]
        is_indented = opening in OPENINGS and rest.startswith(('"', "[", "{"))
        if is_indented or isinstance(_json(opening), dict) or _json("".join(all_pieces)) is not None:
            raise DataError(
                f"{self._name}: expected one document per line, got JSON; `format='json'` reads an array, "
                "`format='jsonl'` a value on each line, `format='text'` the lines unchanged"
            )
        return all_pieces


def _json(text: str) -> Any:
    """The value of a JSON text; None if it is not valid JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def grouped(numbered: Iterable[tuple[int, str]]) -> Iterator[Texts]:
    """Pairs of line number and text, in groups."""
    texts, lines = list[str](), list[int]()
    for line, text in numbered:
        texts.append(text)
        lines.append(line)
        if len(texts) == GROUP:
            yield Texts(texts, lines)
            texts, lines = [], []
    yield Texts(texts, lines)


def rechunk(pieces: Iterable[str], separator: str) -> Iterator[str]:
    """The same text in pieces that end with the separator, except perhaps the last."""
    buffer: list[str] = []
    overlap = len(separator) - 1  # characters of a separator that may be in the previous piece
    for piece in pieces:
        if buffer and len(buffer[-1]) < overlap:
            piece = buffer.pop() + piece
        before = buffer[-1][-overlap:] if buffer and overlap else ""
        rest = _after_last(separator, before + piece)
        if rest is not None:
            yield "".join([*buffer, piece[: len(piece) - len(rest)]])
            buffer, piece = [], rest
        if piece:
            buffer.append(piece)
    if buffer:
        yield "".join(buffer)


def newlines_in(text: str) -> int:
    """The number of newlines, faster than str.count."""
    import numpy as np

    return int(np.count_nonzero(np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8) == NEWLINE))


def with_newlines(text: str) -> str:
    """Convert line ends to newlines. The text of a decoded file is already converted."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _after_last(separator: str, text: str) -> str | None:
    """The text after the last separator, searched from the left like str.split; None without a separator."""
    if separator not in text:
        return None
    return text.rpartition(separator)[2] if len(separator) == 1 else text.split(separator)[-1]


def column_index(column: str | None, names: list[str], where: str, what: str) -> int:
    """The index of a column (or key) among the names; without a column there must be a single name."""
    available = ", ".join(map(_shown, names[:20])) + ", …" * (len(names) > 20) or "none"
    if column is None and len(names) == 1:
        return 0
    if column is None:
        raise DataError(
            f"{where}: expected one {what}, got {len(names)}; choose with `column` from: {available}"
        )
    if names.count(column) != 1:
        found = f"{names.count(column)} of that name" if column in names else "none"
        raise DataError(
            f"{where}: expected a {what} {shortened(column)}, got {found}; available: {available}"
        )
    return names.index(column)


def _shown(name: str) -> str:
    """A name in a message, shortened if it is long or not printable."""
    return name if name.isprintable() and len(name) <= 40 else shortened(name)
