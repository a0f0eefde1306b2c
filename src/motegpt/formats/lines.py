"""Text: one document per line, or between delimiters; or one long text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain

from motegpt.errors import DataError
from motegpt.formats.base import Reader, Texts, whole


class TextReader(Reader):
    """One document per line, or, with the setting `delimiter`, what is between two of them."""

    format = "text"

    def __iter__(self) -> Iterator[Texts]:
        pieces = self._pieces if self._reading.format else self._not_json(iter(self._pieces))
        delimiter = self._reading.delimiter or "\n"
        for piece in whole(pieces, delimiter):
            texts = piece.removesuffix(delimiter).split(delimiter)
            starts = self._starts(texts, delimiter)
            yield Texts(texts, starts[:-1])
            self.lines = starts[-1] - 1

    def _starts(self, texts: list[str], delimiter: str) -> Sequence[int]:
        """The line in which each text begins, and the next one."""
        first = self.lines + 1
        if delimiter == "\n":
            return range(first, first + len(texts) + 1)
        return list(accumulate(((text + delimiter).count("\n") for text in texts), initial=first))

    def _not_json(self, pieces: Iterator[str]) -> Iterable[str]:
        """The pieces; DataError if all of them are one JSON value, which nobody means to learn as lines."""
        first = next(pieces, "")
        if not first.lstrip().startswith(("[", "{")):
            return chain([first], pieces)
        every = [first, *pieces]
        try:
            json.loads("".join(every))
        except (ValueError, RecursionError):
            return every
        raise DataError(
            f"{self._name}: expected one document per line, got JSON; `format='json'` reads an array, "
            "`format='text'` the lines as they are"
        )


class StreamReader(Reader):
    """One long text as it is; its parts, whole lines, are the texts."""

    format = "stream"

    def __iter__(self) -> Iterator[Texts]:
        for part in whole(self._pieces, "\n"):
            yield Texts([part], [self.lines + 1])
            self.lines += part.count("\n") + (not part.endswith("\n"))
