"""Readers of file formats: the text of a file -> the texts in it.

The format is given by the setting `format` or by the file name: .csv, .tsv, .json, .jsonl and .ndjson, with
or without .gz; other files have one document per line. Readers yield groups of texts and hold one piece of
the file at a time. Errors name the file and the line.

    base.py      the interface of readers; splitting pieces of text at a separator
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
BY_SUFFIX = {".csv": "csv", ".tsv": "tsv", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl"}


def reader_of(pieces: Iterable[str], name: str, reading: ReadConfig) -> Reader:
    """The reader of the file called `name`, whose text is `pieces`."""
    file_format = reading.format or format_by_name(name)
    for setting in reading.inapplicable(file_format):
        raise DataError(f"{name}: read as {file_format}, which has no {setting}; try `format='csv'`")
    return READERS[file_format](pieces, name, reading)


def format_by_name(name: str) -> str:
    """The format of a file according to its name."""
    path = Path(name.lower())
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    return BY_SUFFIX.get(suffix, "text")
