"""The text of a file -> the texts in it, by a reader for each format.

What a file holds, its setting `format` says, or else its name: .csv, .tsv, .json, .jsonl and .ndjson,
with or without .gz, and everything else one document per line. A reader yields the texts in groups, so
that no more than a piece of the file is held. Each error names the file and the line.

    base.py      what a reader is; cutting pieces of text at a separator
    lines.py     one document per line, or between delimiters; one long text
    tables.py    one document per row of a CSV or TSV
    objects.py   one document per JSON value: an array, or one on each line
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from motegpt.config.sections import ReadConfig
from motegpt.data.formats.base import Reader, Texts
from motegpt.data.formats.lines import StreamReader, TextReader
from motegpt.data.formats.objects import JsonLinesReader, JsonReader
from motegpt.data.formats.tables import CsvReader, TsvReader
from motegpt.errors import DataError

__all__ = ["READERS", "Reader", "Texts", "format_by_name", "reader_of"]

READERS: dict[str, type[Reader]] = {
    reader.format: reader
    for reader in (TextReader, CsvReader, TsvReader, JsonReader, JsonLinesReader, StreamReader)
}
BY_NAME = {".csv": "csv", ".tsv": "tsv", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl"}


def reader_of(pieces: Iterable[str], name: str, reading: ReadConfig) -> Reader:
    """The reader of the file called `name`, whose text is `pieces`."""
    form = reading.format or format_by_name(name)
    for setting in reading.inapplicable(form):
        raise DataError(f"{name}: read as {form}, which has no {setting}; try `format='csv'`")
    return READERS[form](pieces, name, reading)


def format_by_name(name: str) -> str:
    """What a file holds, by its name."""
    path = Path(name.lower())
    ending = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    return BY_NAME.get(ending, "text")
