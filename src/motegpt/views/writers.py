"""Samples as lines of text, CSV or JSON lines.

CSV has the columns text and logprob, with texts in quotes; JSON lines are objects with the same keys. The
csv and json modules read any text back unchanged. Log-probabilities are in nats: -inf, or null in JSON, for a
text that the model cannot generate. Marked texts have a third column, cut: whether the end of the block cut
the text off, as 1 or 0, or true or false in JSON.
"""

from __future__ import annotations

import csv
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, TextIO, cast

from motegpt.sampling.texts import MarkedText
from motegpt.views.text import one_line


class Writer(ABC):
    """Writes groups of samples and flushes after each.

    marked: texts are MarkedText, and formats with columns write the mark. in_lines: the plain format escapes
    newlines, so that each text is one line.
    """

    wants_scores: ClassVar[bool]

    def __init__(self, file: TextIO, marked: bool = False, in_lines: bool = True) -> None:
        self._file, self._marked, self._in_lines = file, marked, in_lines
        self._names = ("text", "logprob", *(["cut"] if marked else []))

    @abstractmethod
    def write(self, texts: Sequence[str], log_probabilities: Sequence[float] = ()) -> None:
        """Write texts, with log-probabilities if `wants_scores`."""

    def _rows(self, texts: Sequence[str], log_probabilities: Sequence[float]) -> Iterator[tuple[Any, ...]]:
        """The values of each text, in the order of the columns."""
        for text, value in zip(texts, log_probabilities, strict=True):
            yield (text, value, cast(MarkedText, text).cut) if self._marked else (text, value)


class TextWriter(Writer):
    """One line per text; texts of a stream keep their own lines."""

    wants_scores = False

    def write(self, texts: Sequence[str], log_probabilities: Sequence[float] = ()) -> None:
        lines = map(one_line, texts) if self._in_lines else texts
        self._file.writelines(f"{line}\n" for line in lines)
        self._file.flush()


class CsvWriter(Writer):
    """A header and one row per text."""

    wants_scores = True

    def __init__(self, file: TextIO, marked: bool = False, in_lines: bool = True) -> None:
        super().__init__(file, marked, in_lines)
        self._csv = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
        file.write(",".join(self._names) + "\n")

    def write(self, texts: Sequence[str], log_probabilities: Sequence[float] = ()) -> None:
        for text, value, *cut in self._rows(texts, log_probabilities):
            self._csv.writerow((text, value, *map(int, cut)))
        self._file.flush()


class JsonLinesWriter(Writer):
    """One object per text."""

    wants_scores = True

    def write(self, texts: Sequence[str], log_probabilities: Sequence[float] = ()) -> None:
        for text, value, *cut in self._rows(texts, log_probabilities):
            row = zip(self._names, (text, value if math.isfinite(value) else None, *cut), strict=True)
            self._file.write(json.dumps(dict(row), ensure_ascii=False) + "\n")
        self._file.flush()


WRITERS: dict[str, type[Writer]] = {"text": TextWriter, "csv": CsvWriter, "jsonl": JsonLinesWriter}


def format_of(path: str | None) -> str:
    """The format for a file name; text by default."""
    ending = "" if path is None else path.rpartition(".")[2].lower()
    return ending if ending in WRITERS else "text"
