"""Samples as lines of text, as CSV or as JSON lines.

CSV has the columns text and logprob, every text in quotes; JSON lines are objects with the same names.
The csv and json modules read them back as they were, whatever is in the texts. A log-probability is in
nats; where the model could not have written the text it is -inf, in JSON null.
"""

from __future__ import annotations

import csv
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, TextIO

NAMES = ("text", "logprob")


class Writer(ABC):
    """What the sample command writes with. A group comes at a time, and is flushed."""

    wants_scores: ClassVar[bool]

    def __init__(self, file: TextIO) -> None:
        self._file = file

    @abstractmethod
    def write(self, texts: Sequence[str], log_probabilities: Sequence[float] = ()) -> None:
        """Some texts, each with its log-probability if the writer wants them."""


class TextWriter(Writer):
    """A line a text."""

    wants_scores = False

    def write(self, texts: Sequence[str], log_probabilities: Sequence[float] = ()) -> None:
        self._file.writelines(f"{text}\n" for text in texts)
        self._file.flush()


class CsvWriter(Writer):
    """A header and a row a text."""

    wants_scores = True

    def __init__(self, file: TextIO) -> None:
        super().__init__(file)
        self._rows = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
        file.write(",".join(NAMES) + "\n")

    def write(self, texts: Sequence[str], log_probabilities: Sequence[float] = ()) -> None:
        self._rows.writerows(zip(texts, log_probabilities, strict=True))
        self._file.flush()


class JsonLinesWriter(Writer):
    """An object a text."""

    wants_scores = True

    def write(self, texts: Sequence[str], log_probabilities: Sequence[float] = ()) -> None:
        for text, value in zip(texts, log_probabilities, strict=True):
            row = dict(zip(NAMES, (text, value if math.isfinite(value) else None), strict=True))
            self._file.write(json.dumps(row, ensure_ascii=False) + "\n")
        self._file.flush()


WRITERS: dict[str, type[Writer]] = {"text": TextWriter, "csv": CsvWriter, "jsonl": JsonLinesWriter}


def format_of(path: str | None) -> str:
    """The format that a file's name asks for; text if none."""
    ending = "" if path is None else path.rpartition(".")[2].lower()
    return ending if ending in WRITERS else "text"
