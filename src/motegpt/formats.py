"""The bytes of a file -> the texts in it: gzip, UTF-8, and lines, CSV rows, JSONL objects or one long text.

What a file is, its setting `format` says, or else its name: .csv and .tsv, .jsonl and .ndjson, with or
without .gz, and everything else a document a line. Each error names the file and the line.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from motegpt.config import ReadConfig
from motegpt.errors import DataError
from motegpt.settings import has_surrogate, shortened

LARGEST_FILE = 2**32  # bytes, packed and unpacked: 4 GiB
PIECE = 2**20  # bytes read at a time
LARGEST_CELL = 2**31 - 1  # characters of a CSV cell: no bound of its own
GZIP = b"\x1f\x8b"
BYTE_ORDER_MARKS = {
    b"\xff\xfe\0\0": "UTF-32",
    b"\0\0\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
BY_NAME = {".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


@dataclass(frozen=True)
class Content:
    """The texts of a file, not yet stripped, empty ones among them; lines[i] is where texts[i] begins.

    length: lines of the file; format and column: what they were read as.
    """

    texts: list[str]
    lines: Sequence[int]
    length: int
    format: str
    column: str | None = None


def content_of(data: bytes, name: str, reading: ReadConfig) -> Content:
    """The texts in the bytes of the file called `name`; DataError says in which line something is wrong."""
    unpacked = gunzip(data, name) if data.startswith(GZIP) else data
    form = reading.format or format_by_name(name)
    if reading.column is not None and form == "text":
        raise DataError(
            f"{name}: read as lines of text, which have no column; try `format='csv'` or `format='jsonl'`"
        )
    return READERS[form](_decode(unpacked, name), name, reading.column)


def format_by_name(name: str) -> str:
    """What a file holds, by its name."""
    return BY_NAME.get(_suffix(name), "text")


def _suffix(name: str) -> str:
    """.csv of names.CSV.gz"""
    path = Path(name.lower())
    return Path(path.stem).suffix if path.suffix == ".gz" else path.suffix


def read_bounded(read: Callable[[int], bytes], name: str) -> Iterator[bytes]:
    """The pieces that read(size) gives until it gives none; DataError past LARGEST_FILE bytes."""
    size = 0
    while piece := read(PIECE):
        size += len(piece)
        if size > LARGEST_FILE:
            raise DataError(
                f"{name}: expected at most {LARGEST_FILE:,} bytes of text, got more; give a part of it"
            )
        yield piece


def gunzip(data: bytes, name: str) -> bytes:
    """What was packed. It is unpacked once only to be measured, so that a bomb never fills the memory."""
    try:
        with gzip.open(io.BytesIO(data)) as file:
            for _ in read_bounded(file.read, name):
                pass
        return gzip.decompress(data)
    except EOFError:
        raise DataError(f"{name}: expected a whole gzip file, got one cut short; fetch it again") from None
    except (OSError, zlib.error) as error:
        raise DataError(
            f"{name}: expected a gzip file, got a damaged one ({error}); fetch it again"
        ) from None


def _decode(data: bytes, name: str) -> str:
    """The text of the bytes, a byte order mark removed, lines ended by newlines alone."""
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if data.startswith(mark):
            raise DataError(
                f"{name}: expected UTF-8, got {encoding} (its byte order mark); convert the file: "
                f"iconv -f {encoding.lower()} -t utf-8 {name} > utf8-{Path(name).name}"
            )
    if b"\0" in data:
        line = data[: data.index(b"\0")].count(b"\n") + 1
        raise DataError(f"{name}: expected text, got binary data (a zero byte in line {line})")
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        raise DataError(
            f"{name}: expected UTF-8, got byte 0x{data[error.start]:02x} in line {line}, byte {column} of "
            f"the line; convert the file, for instance with iconv -f latin1 -t utf-8"
        ) from None


def _lines(text: str) -> list[str]:
    """The lines of a text; what follows the last newline is one too, unless it is empty."""
    lines = text.split("\n")
    return lines if lines[-1] else lines[:-1]


def read_text(text: str, name: str, column: str | None) -> Content:
    """A document a line."""
    lines = _lines(text)
    return Content(lines, range(1, len(lines) + 1), len(lines), "text")


def read_stream(text: str, name: str, column: str | None) -> Content:
    """The whole text, as it stands."""
    return Content([text], [1], len(_lines(text)), "stream")


def read_csv(text: str, name: str, column: str | None) -> Content:
    """A document a row, under a header; a newline inside a quoted cell stays a character of the document."""
    texts, lines, before = [], [], 0
    rows = csv.reader(io.StringIO(text), delimiter=_delimiter(text, name), strict=True)
    old_limit = csv.field_size_limit(LARGEST_CELL)
    try:
        header = [cell.strip() for cell in next((row for row in rows if row), [])]
        if not header:
            return Content([], [], len(_lines(text)), "csv")
        before = rows.line_num
        at = _place(header, column, f"{name}: line {before}", "column")
        for row in rows:
            if row:
                if len(row) != len(header):
                    raise DataError(
                        f"{name}: line {rows.line_num}: expected {len(header)} cells as in the header, got "
                        f"{len(row)}; a cell with the delimiter in it must stand in double quotes"
                    )
                texts.append(row[at])
                lines.append(before + 1)
            before = rows.line_num
    except csv.Error as error:
        raise DataError(
            f"{name}: line {before + 1}: expected CSV, got {error}; `format='text'` reads lines as they are"
        ) from None
    finally:
        csv.field_size_limit(old_limit)
    return Content(texts, lines, len(_lines(text)), "csv", header[at])


def _delimiter(text: str, name: str) -> str:
    """A tab in a .tsv; else that of comma, semicolon and tab which the header has most of."""
    header = text.partition("\n")[0]
    return "\t" if _suffix(name) == ".tsv" else max(",;\t", key=header.count)


def read_jsonl(text: str, name: str, column: str | None) -> Content:
    """A document a line: the text under a key of its object, or a line that is itself a JSON string."""
    texts, numbers, lines = [], [], _lines(text)
    for number, line in enumerate(lines, 1):
        if line.strip():
            where = f"{name}: line {number}"
            value = _json(line, where)
            if isinstance(value, dict):
                column = list(value)[_place(list(value), column, where, "key")]
                value = "" if value[column] is None else value[column]
            elif column is not None:
                raise DataError(
                    f"{where}: expected an object with the key {shortened(column)}, got {shortened(value)}"
                )
            texts.append(_checked(value, where))
            numbers.append(number)
    return Content(texts, numbers, len(lines), "jsonl", column)


def _json(line: str, where: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: expected a JSON object, got {shortened(line)} ({error.msg})") from None
    except (ValueError, RecursionError):  # thousands of digits, or of brackets
        raise DataError(f"{where}: expected a JSON object, got {shortened(line)}") from None


def _checked(value: Any, where: str) -> str:
    """A value that is a text of Unicode characters."""
    if not isinstance(value, str):
        raise DataError(f"{where}: expected a text, got {shortened(value)}; `column` names another key")
    if has_surrogate(value):
        raise DataError(
            f"{where}: expected Unicode characters, got half of a surrogate pair in {shortened(value)}"
        )
    return value


def _place(names: list[str], wanted: str | None, where: str, what: str) -> int:
    """Where `wanted` stands among the names; where it is not said, there must be only one."""
    listed = ", ".join(map(_named, names[:20]))
    listed = listed + ", …" * (len(names) > 20) or "none"
    if wanted is None and len(names) == 1:
        return 0
    if wanted is None:
        raise DataError(
            f"{where}: expected one {what}, got {len(names)}; choose with `column` from: {listed}"
        )
    if names.count(wanted) != 1:
        found = "none" if wanted not in names else f"{names.count(wanted)} of that name"
        raise DataError(f"{where}: expected a {what} {shortened(wanted)}, got {found}; there are: {listed}")
    return names.index(wanted)


def _named(name: str) -> str:
    """A name in a message: as it is, unless it is long or cannot be seen."""
    return name if name.isprintable() and len(name) <= 40 else shortened(name)


READERS: dict[str, Callable[[str, str, str | None], Content]] = {
    "text": read_text,
    "csv": read_csv,
    "jsonl": read_jsonl,
    "stream": read_stream,
}
