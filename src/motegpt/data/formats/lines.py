"""Text formats: one document per line or between delimiters, or one long text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

from motegpt.data.formats.base import Reader, Texts, rechunk


class TextReader(Reader):
    """One document per line, or documents separated by the setting `delimiter`."""

    format = "text"

    def __iter__(self) -> Iterator[Texts]:
        delimiter = self._reading.delimiter or "\n"
        for piece in rechunk(self._lines_of_text(), delimiter):
            texts = piece.removesuffix(delimiter).split(delimiter)
            starts = self._starts(texts, delimiter)
            yield Texts(texts, starts[:-1])
            self.lines = starts[-1] - 1

    def _starts(self, texts: list[str], delimiter: str) -> Sequence[int]:
        """Line number of the start of each text, and of the next one."""
        first = self.lines + 1
        if delimiter == "\n":
            return range(first, first + len(texts) + 1)
        return list(accumulate(((text + delimiter).count("\n") for text in texts), initial=first))


class StreamReader(Reader):
    """One long text, in parts of whole lines."""

    format = "stream"

    def __iter__(self) -> Iterator[Texts]:
        for part in rechunk(self._pieces, "\n"):
            yield Texts([part], [self.lines + 1])
            self.lines += part.count("\n") + (not part.endswith("\n"))
