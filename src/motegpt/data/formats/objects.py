"""JSON formats: one document per line, or per element of an array."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from typing import Any

from motegpt.config.text import has_surrogate, shortened
from motegpt.data.formats.base import OPENINGS, Reader, Texts, column_index, grouped, rechunk, with_newlines
from motegpt.errors import DataError

DECODER, SPACE = json.JSONDecoder(), re.compile(r"[ \t\n\r]*")
SHOWN = 100  # characters of invalid JSON in messages


class JsonLinesReader(Reader):
    """Each line is a string, or an object with the text under a key."""

    format = "jsonl"

    def __iter__(self) -> Iterator[Texts]:
        return grouped((line, self._text_of(value, line)) for line, value in self._values())

    def _values(self) -> Iterator[tuple[int, Any]]:
        """Line number and value of each nonblank line."""
        for piece in rechunk(self._pieces, "\n"):
            for line in map(str.strip, io.StringIO(piece, "\n")):
                self.lines += 1
                if line:
                    if line in OPENINGS:
                        raise DataError(
                            f"{self._where(self.lines)}: expected a JSON value on each line, got a value of "
                            "several lines; `format='json'` reads an array"
                        )
                    value, end = _value_at(0, line, self._where(self.lines))
                    if end < len(line):
                        raise _extra_data(line[end:], "JSON value per line", self._where(self.lines))
                    yield self.lines, value

    def _text_of(self, value: Any, line: int) -> str:
        """The string itself, or the text under the key of the setting `column` or the only key."""
        where = self._where(line)
        if isinstance(value, dict):
            keys = list(value)
            self.column = keys[column_index(self._reading.column or self.column, keys, where, "key")]
            value = "" if value[self.column] is None else value[self.column]
        elif self._reading.column is not None:
            key = shortened(self._reading.column)
            raise DataError(f"{where}: expected an object with the key {key}, got {shortened(value)}")
        if not isinstance(value, str):
            repair = "`column` names another key" + "; token ids have the key ids" * isinstance(value, list)
            raise DataError(f"{where}: expected a string, got {shortened(value)}; {repair}")
        if has_surrogate(value) or "\0" in value:
            found = "a zero character" if "\0" in value else "half of a surrogate pair"
            raise DataError(f"{where}: expected Unicode characters, got {found} in {shortened(value)}")
        return with_newlines(value)


class JsonReader(JsonLinesReader):
    """The elements of one array, each a string or an object with the text under a key."""

    format = "json"

    def _values(self) -> Iterator[tuple[int, Any]]:
        """Line number and value of each element; holds one decoded element at a time."""
        text = "".join(self._pieces)
        self.lines = len(text.removesuffix("\n").split("\n")) if text else 0
        at = _after_space(text, 0)
        if at == len(text):
            return
        if text[at] != "[":
            raise DataError(
                f"{self._name}: expected a JSON array of strings or objects, got "
                f"{shortened(text[at : at + SHOWN])}; `format='jsonl'` reads a value on each line"
            )
        line, counted, at = 1, 0, _after_space(text, at + 1)
        is_open = not text.startswith("]", at)
        while is_open:
            line, counted = line + text.count("\n", counted, at), at
            value, end = _value_at(at, text, self._where(line))
            yield line, value
            at = _after_space(text, end)
            is_open = text.startswith(",", at)
            at = _after_space(text, at + 1) if is_open else at
        is_closed = text.startswith("]", at)
        at = _after_space(text, at + 1) if is_closed else at
        if not is_closed or at < len(text):
            line += text.count("\n", counted, at)
            raise _extra_data(text[at : at + SHOWN], "JSON array", self._where(line))


def _value_at(at: int, text: str, where: str) -> tuple[Any, int]:
    """The JSON value that starts at index `at`, and the index of its end."""
    try:
        return DECODER.raw_decode(text, at)
    except json.JSONDecodeError as error:
        reason = f" ({error.msg})"
    except (ValueError, RecursionError):  # thousands of digits or brackets
        reason = ""
    raise DataError(f"{where}: expected a JSON value, got {shortened(text[at : at + SHOWN])}{reason}")


def _extra_data(rest: str, what: str, where: str) -> DataError:
    return DataError(f"{where}: expected one {what}, got {shortened(rest[:SHOWN])} after it")


def _after_space(text: str, at: int) -> int:
    """The index of the first character from `at` that is not white space."""
    match = SPACE.match(text, at)
    return match.end() if match else at
