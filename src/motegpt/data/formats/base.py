"""What a reader is; and the tools that readers share."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, ClassVar, NamedTuple

from motegpt.config.sections import ReadConfig
from motegpt.config.text import shortened
from motegpt.errors import DataError

GROUP = 2**14  # texts that are yielded together, where they are found one by one
OPENINGS = ("[", "{", "[{", "[[")  # alone on its first line: indented JSON


class Texts(NamedTuple):
    """Some texts of a file, not yet stripped, empty ones among them.

    lines: where each begins, the first line of the file being 1.
    """

    texts: list[str]
    lines: Sequence[int]


class Reader(ABC):
    """Iterate once for the texts of a file, in groups.

    lines: how many the file has, counted while it is read. column: the column or key that is read.
    assumed: what was taken for granted because no setting says it, in words.
    """

    format: ClassVar[str]

    def __init__(self, pieces: Iterable[str], name: str, reading: ReadConfig) -> None:
        """pieces: the text of the file; name: what errors call it."""
        self._pieces, self._name, self._reading = pieces, name, reading
        self.lines = 0
        self.column: str | None = None
        self.assumed: str | None = None

    @abstractmethod
    def __iter__(self) -> Iterator[Texts]:
        """DataError where the file is not of this format."""

    def _where(self, line: int) -> str:
        return f"{self._name}: line {line}"

    def _lines_of_text(self) -> Iterable[str]:
        """The pieces; unless the format was asked for, DataError if they are JSON.

        Nobody means to learn that as lines: neither one value, nor one that is indented, also where it is not
        whole, nor an object on each line.
        """
        if self._reading.format:
            return self._pieces
        pieces = iter(self._pieces)
        first = next(pieces, "")
        opening, _, rest = (part.strip() for part in first.lstrip().partition("\n"))
        if not opening.startswith(("[", "{")):
            return chain([first], pieces)
        every = [first, *pieces]
        is_indented = opening in OPENINGS and rest.startswith(('"', "[", "{"))
        if is_indented or isinstance(_json(opening), dict) or _json("".join(every)) is not None:
            raise DataError(
                f"{self._name}: expected one document per line, got JSON; `format='json'` reads an array, "
                "`format='jsonl'` a value on each line, `format='text'` the lines as they are"
            )
        return every


def _json(text: str) -> Any:
    """What a text is in JSON; None if it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def grouped(found: Iterable[tuple[int, str]]) -> Iterator[Texts]:
    """Lines and texts, found one by one, in groups."""
    texts, lines = list[str](), list[int]()
    for line, text in found:
        texts.append(text)
        lines.append(line)
        if len(texts) == GROUP:
            yield Texts(texts, lines)
            texts, lines = [], []
    yield Texts(texts, lines)


def whole(pieces: Iterable[str], separator: str) -> Iterator[str]:
    """The pieces cut anew, so that each ends with the separator; what follows the last one comes last."""
    held: list[str] = []
    overlap = len(separator) - 1  # so much of a separator may be in the piece before
    for piece in pieces:
        if held and len(held[-1]) < overlap:
            piece = held.pop() + piece
        before = held[-1][-overlap:] if held and overlap else ""
        rest = _after_last(separator, before + piece)
        if rest is not None:
            yield "".join([*held, piece[: len(piece) - len(rest)]])
            held, piece = [], rest
        if piece:
            held.append(piece)
    if held:
        yield "".join(held)


def with_newlines(text: str) -> str:
    """The line ends of every system as newlines. The text of a decoded file has no others already."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _after_last(separator: str, text: str) -> str | None:
    """What follows the last separator, found from the left as str.split does; None if there is none."""
    if separator not in text:
        return None
    return text.rpartition(separator)[2] if len(separator) == 1 else text.split(separator)[-1]


def column_index(wanted: str | None, names: list[str], where: str, what: str) -> int:
    """The place of `wanted` among the names; where it is not said, there must be only one."""
    listed = ", ".join(map(_shown, names[:20])) + ", …" * (len(names) > 20) or "none"
    if wanted is None and len(names) == 1:
        return 0
    if wanted is None:
        raise DataError(
            f"{where}: expected one {what}, got {len(names)}; choose with `column` from: {listed}"
        )
    if names.count(wanted) != 1:
        found = f"{names.count(wanted)} of that name" if wanted in names else "none"
        raise DataError(f"{where}: expected a {what} {shortened(wanted)}, got {found}; there are: {listed}")
    return names.index(wanted)


def _shown(name: str) -> str:
    """A name in a message: as it is, unless it is long or cannot be seen."""
    return name if name.isprintable() and len(name) <= 40 else shortened(name)
