"""Table formats: one document per row, from one of the columns."""

from __future__ import annotations

import csv
import io
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any, ClassVar

from motegpt.config.text import shortened
from motegpt.data.formats.base import Reader, Texts, column_index, grouped, rechunk
from motegpt.errors import DataError

LARGEST_CELL = 2**31 - 1  # characters, the maximum of the csv module
CELL_DELIMITERS = ",;\t"  # spreadsheets write semicolons in locales with decimal commas
# A first row that contains one of these words is a header unless the setting `header` decides.
HEADER_WORDS = {
    "name", "names", "text", "texts", "word", "words", "title", "titles", "label", "labels",
    "document", "documents", "sentence", "sentences", "sequence", "smiles",
}  # fmt: skip


class TableReader(Reader):
    """A table with or without a header.

    Unless the setting `header` decides, the first row is a header if it contains the name in `column` or one
    of HEADER_WORDS, or if there are several columns and `column` is not a number.
    """

    repair: ClassVar[str]  # for a row with too many or too few cells

    @abstractmethod
    def _rows(self, lines: Iterator[str]) -> Any:
        """A csv.reader of the lines."""

    def __iter__(self) -> Iterator[Texts]:
        with _unlimited_cells():
            yield from grouped(self._cells())

    def _cells(self) -> Iterator[tuple[int, str]]:
        """Line number and cell of each nonempty row except the header."""
        rows = self._numbered_rows()
        first = next(rows, None)
        if first is None:
            return
        at, is_header = self._begin([cell.strip() for cell in first[1]], self._where(first[0]))
        for line, row in rows if is_header else chain([first], rows):
            if len(row) != len(first[1]):
                raise DataError(
                    f"{self._where(line)}: expected {len(first[1])} cells as in the first row, got "
                    f"{len(row)}; {self.repair}"
                )
            yield line, row[at]

    def _numbered_rows(self) -> Iterator[tuple[int, list[str]]]:
        """Line number and cells of each row."""
        lines = (line for piece in rechunk(self._lines_of_text(), "\n") for line in io.StringIO(piece, "\n"))
        rows = self._rows(lines)
        try:
            for row in rows:
                line, self.lines = self.lines + 1, rows.line_num
                if row:
                    yield line, row
        except csv.Error as error:
            raise DataError(
                f"{self._where(self.lines + 1)}: expected {self.format.upper()}, got {error}; "
                "`format='text'` reads lines unchanged"
            ) from None

    def _begin(self, cells: list[str], where: str) -> tuple[int, bool]:
        """Index of the column to read, and whether the first row, `cells`, is a header."""
        column, is_header = self._reading.column, self._reading.header
        by_number = column is not None and column.isdecimal() and column not in cells
        if is_header is None:
            is_header = self._is_header(cells, by_number)
        if by_number:
            at = int(column or 0) - 1
            if not 0 <= at < len(cells):
                raise DataError(f"{where}: expected a column from 1 to {len(cells)}, got {column}")
        elif is_header:
            at = column_index(column, cells, where, "column")
        else:
            numbers = [str(number + 1) for number in range(len(cells))]
            at = column_index(column, numbers, f"{where}, no header", "column")
        if is_header or len(cells) > 1:
            self.column = cells[at] if is_header else str(at + 1)
        return at, is_header

    def _is_header(self, cells: list[str], by_number: bool) -> bool:
        """Whether the first row is a header, if the setting `header` does not decide."""
        if self._reading.column in cells:
            return True
        is_header = (len(cells) > 1 and not by_number) or any(cell.lower() in HEADER_WORDS for cell in cells)
        first = shortened(", ".join(cells))
        if is_header:
            self.assumed = f"its first row, {first}, is a header; `header=False` if it is not"
        else:
            self.assumed = f"its first row, {first}, is not a header; `header=True` if it is"
        return is_header


class CsvReader(TableReader):
    """Cells separated by commas, or by semicolons or tabs if the first line has more of those.

    Cells in double quotes may contain newlines, which are kept.
    """

    format = "csv"
    repair = "put cells that contain the delimiter into double quotes"

    def _rows(self, lines: Iterator[str]) -> Any:
        head: list[str] = []  # up to the first line that is not blank
        while (not head or head[-1].isspace()) and (line := next(lines, None)):
            head.append(line)
        delimiter = self._reading.delimiter or max(CELL_DELIMITERS, key="".join(head).count)
        try:
            return csv.reader(chain(head, lines), delimiter=delimiter, strict=True)
        except (TypeError, ValueError):
            raise DataError(
                f"{self._name}: expected a CSV delimiter of one character, got {shortened(delimiter)}"
            ) from None


class TsvReader(TableReader):
    """Cells separated by tabs; quotes are ordinary characters."""

    format = "tsv"
    repair = "`format='csv'` reads cells in double quotes"

    def _rows(self, lines: Iterator[str]) -> Any:
        return csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)


@contextmanager
def _unlimited_cells() -> Iterator[None]:
    """The csv module without its default limit on the length of a cell."""
    before = csv.field_size_limit(LARGEST_CELL)
    try:
        yield
    finally:
        csv.field_size_limit(before)
