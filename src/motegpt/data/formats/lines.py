"""Text formats: one document per line or between delimiters, or one long text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

from motegpt.data.formats.base import Lines, Reader, Texts, newlines_in, rechunk


class TextReader(Reader):
    """One document per line, or documents separated by the setting `delimiter`."""

    format = "text"

    def __iter__(self) -> Iterator[Texts]:
        delimiter = self._reading.delimiter or "\n"
        for piece in rechunk(self._lines_of_text(), delimiter):
            if delimiter == "\n":
                texts, starts = self._lines(piece)
            else:
                texts, starts = self._delimited(piece, delimiter)
            yield Texts(texts, starts[:-1])
            self.lines = starts[-1] - 1

    def _lines(self, piece: str) -> tuple[Sequence[str], Sequence[int]]:
        """The lines of a piece, and the number of each and of the next one."""
        first = self.lines + 1
        return Lines(piece), range(first, first + line_count(piece) + 1)

    def _delimited(self, piece: str, delimiter: str) -> tuple[Sequence[str], Sequence[int]]:
        """The texts of a piece, and the line where each and the next one starts."""
        texts = piece.removesuffix(delimiter).split(delimiter)
        counts = ((text + delimiter).count("\n") for text in texts)
        return texts, list(accumulate(counts, initial=self.lines + 1))


def line_count(text: str) -> int:
    """The number of lines; the last one may end without a newline."""
    return newlines_in(text) + (not text.endswith("\n"))


class StreamReader(Reader):
    """One long text, in parts of whole lines."""

    format = "stream"

    def __iter__(self) -> Iterator[Texts]:
        for part in rechunk(self._pieces, "\n"):
            yield Texts([part], [self.lines + 1])
            self.lines += line_count(part)
