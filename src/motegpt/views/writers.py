"""Samples as lines of text, as CSV or as JSON lines.

CSV has the columns text and logprob, every text in quotes; JSON lines are objects with the same names.
The csv and json modules read them back as they were, whatever is in the texts. A log-probability is in
nats; where the model could not have written the text it is -inf, in JSON null. Of marked texts there is a
third column, cut, which says whether the end of the block cut the text off: 1 or 0, in JSON true or false.
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
    """What the sample command writes with. A group comes at a time, and is flushed.

    marked: every text is a MarkedText, and its mark is written if the format has columns. in_lines: a writer
    of lines keeps each text in one of its own.
    """

    wants_scores: ClassVar[bool]

    def __init__(self, file: TextIO, marked: bool = False, in_lines: bool = True) -> None:
        self._file, self._marked, self._in_lines = file, marked, in_lines
        self._names = ("text", "logprob", *(["cut"] if marked else []))

    @abstractmethod
    def write(self, texts: Sequence[str], log_probabilities: Sequence[float] = ()) -> None:
        """Some texts, each with its log-probability if the writer wants them."""

    def _rows(self, texts: Sequence[str], log_probabilities: Sequence[float]) -> Iterator[tuple[Any, ...]]:
        """What is known of each text, in the order of the names."""
        for text, value in zip(texts, log_probabilities, strict=True):
            yield (text, value, cast(MarkedText, text).cut) if self._marked else (text, value)


class TextWriter(Writer):
    """One line per text; of a stream's texts the lines that they have."""

    wants_scores = False

    def write(self, texts: Sequence[str], log_probabilities: Sequence[float] = ()) -> None:
        lines = map(one_line, texts) if self._in_lines else texts
        self._file.writelines(f"{line}\n" for line in lines)
        self._file.flush()


class CsvWriter(Writer):
    """A header and a row a text."""

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
    """An object a text."""

    wants_scores = True

    def write(self, texts: Sequence[str], log_probabilities: Sequence[float] = ()) -> None:
        for text, value, *cut in self._rows(texts, log_probabilities):
            row = zip(self._names, (text, value if math.isfinite(value) else None, *cut), strict=True)
            self._file.write(json.dumps(dict(row), ensure_ascii=False) + "\n")
        self._file.flush()


WRITERS: dict[str, type[Writer]] = {"text": TextWriter, "csv": CsvWriter, "jsonl": JsonLinesWriter}


def format_of(path: str | None) -> str:
    """The format that a file's name asks for; text if none."""
    ending = "" if path is None else path.rpartition(".")[2].lower()
    return ending if ending in WRITERS else "text"
