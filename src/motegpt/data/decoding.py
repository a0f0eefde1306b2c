"""Decode the bytes of a file piece by piece: unpack gzip, decode, normalize line ends.

Holds one piece of the file at a time. Encodings are never guessed: text that is not UTF-8 is refused, with
advice on its likely encodings (encodings.py).
"""

from __future__ import annotations

import codecs
import io
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import BinaryIO, Protocol

from motegpt.data.encodings import advice, marked_encoding
from motegpt.data.formats.base import newlines_in, with_newlines
from motegpt.errors import DataError

PIECE = 2**20  # bytes read at a time
LARGEST_FILE = 2**32  # bytes, 4 GiB
# Bounds on the unpacked size of a gzip file, in bytes and as a ratio to the packed size; the larger one
# applies. Text has ratios of 3 to 20, a decompression bomb 1,000.
LARGEST_EXPANSION, LARGEST_RATIO = 2**28, 100
GZIP = b"\x1f\x8b"


class Readable(Protocol):
    """A source of bytes."""

    def read(self, size: int, /) -> bytes: ...


class Digest(Protocol):
    """A hash object of hashlib."""

    def update(self, data: bytes, /) -> None: ...


class HashingReader(io.RawIOBase):
    """A reader that counts and hashes the bytes read; DataError beyond LARGEST_FILE bytes."""

    def __init__(self, file: Readable, name: str, sha256: Digest) -> None:
        self._file, self._name, self._sha256 = file, name, sha256
        self.size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        self.size += len(data)
        self._sha256.update(data)
        if self.size > LARGEST_FILE:
            raise DataError(
                f"{self._name}: expected at most {LARGEST_FILE:,} bytes of text, got more; give a part of it"
            )
        return len(data)


def text_pieces(file: HashingReader, name: str, encoding: str | None) -> Iterator[str]:
    """The text of a file in pieces that may end within a line; DataError names an undecodable line.

    encoding: a name known to Python; None means UTF-8. Removes a byte order mark and converts line ends to
    newlines.
    """
    buffered = io.BufferedReader(file, PIECE)
    is_packed = buffered.peek(len(GZIP)).startswith(GZIP)
    pieces = _unpacked(buffered, file, name) if is_packed else iter(lambda: buffered.read(PIECE), b"")
    return _with_newlines(_decoded(pieces, name, encoding))


def _unpacked(packed: BinaryIO, file: HashingReader, name: str) -> Iterator[bytes]:
    """Unpacked pieces of a gzip file."""
    import gzip

    size = 0
    try:
        with gzip.open(packed) as unpacked:
            while piece := unpacked.read(PIECE):
                size += len(piece)
                max_size = min(LARGEST_FILE, max(LARGEST_EXPANSION, LARGEST_RATIO * file.size))
                if size > max_size:
                    raise DataError(
                        f"{name}: expected gzip that unpacks to at most {max_size:,} bytes, got more; if it "
                        "is text, unpack it first"
                    )
                yield piece
    except EOFError:
        raise DataError(
            f"{name}: expected a complete gzip file, got a truncated one; download it again"
        ) from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"{name}: expected a gzip file, got a damaged one ({error}); download it again"
        ) from None


def _decoded(pieces: Iterable[bytes], name: str, encoding: str | None) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(_with_mark(encoding or "utf-8"))()
    lines = 0
    for number, piece in enumerate(chain(pieces, [b""])):
        if encoding is None:
            _check_not_wide(piece, number, lines, name)
        try:
            text = decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            raise _undecodable(error, lines, name, encoding) from None
        except UnicodeError as error:  # UTF-16 without a byte order mark
            raise DataError(
                f"{name}: expected {encoding}, got other bytes ({error}); try another `encoding`"
            ) from None
        if "\0" in text:
            line = lines + text[: text.index("\0")].count("\n") + 1
            raise DataError(
                f"{name}: expected text, got a zero character in line {line}; try another `encoding`"
            )
        lines += newlines_in(text)
        if text:
            yield text


def _check_not_wide(piece: bytes, number: int, lines: int, name: str) -> None:
    """DataError for UTF-16, UTF-32 and binary data. number: index of the piece."""
    if number == 0 and (marked := marked_encoding(piece)):
        raise DataError(f"{name}: expected UTF-8, got {marked.upper()}; {advice(piece)}")
    if b"\0" in piece:
        line = lines + piece[: piece.index(b"\0")].count(b"\n") + 1
        raise DataError(
            f"{name}: expected text, got binary data (a zero byte in line {line}); {advice(piece)}"
        )


def _with_mark(encoding: str) -> str:
    """The encoding; for UTF-8 its variant that removes a byte order mark."""
    return "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding


def _undecodable(error: UnicodeDecodeError, lines: int, name: str, encoding: str | None) -> DataError:
    """The error for bytes that cannot be decoded. lines: number of lines before this piece."""
    before = error.object[: error.start]
    line, column = lines + before.count(b"\n") + 1, error.start - (before.rfind(b"\n") + 1) + 1
    where = f"byte 0x{error.object[error.start]:02x} in line {line}, byte {column} of the line"
    if encoding is not None:
        return DataError(f"{name}: expected {encoding}, got {where}; try another `encoding`")
    return DataError(f"{name}: expected UTF-8, got {where}; {advice(error.object)}")


def _with_newlines(pieces: Iterable[str]) -> Iterator[str]:
    """Convert line ends to newlines, also those that span two pieces."""
    held = ""
    for piece in pieces:
        text = held + piece
        held = "\r" if text.endswith("\r") else ""
        yield with_newlines(text.removesuffix("\r"))
    if held:
        yield "\n"
