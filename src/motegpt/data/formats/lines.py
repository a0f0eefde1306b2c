"""Text: one document per line, or between delimiters; or one long text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

from motegpt.data.formats.base import Reader, Texts, whole


class TextReader(Reader):
    """One document per line, or, with the setting `delimiter`, what is between two of them."""

    format = "text"

    def __iter__(self) -> Iterator[Texts]:
        delimiter = self._reading.delimiter or "\n"
        for piece in whole(self._lines_of_text(), delimiter):
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


class StreamReader(Reader):
    """One long text as it is; its parts, whole lines, are the texts."""

    format = "stream"

    def __iter__(self) -> Iterator[Texts]:
        for part in whole(self._pieces, "\n"):
            yield Texts([part], [self.lines + 1])
            self.lines += part.count("\n") + (not part.endswith("\n"))
