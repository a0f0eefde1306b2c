"""File -> documents: one document a line, stripped, empty lines dropped, duplicates kept."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from motegpt.errors import DataError

BUILT_IN, IN_MEMORY = "built-in names", "documents in memory"
NAMES_URL = "https://raw.githubusercontent.com/karpathy/makemore/master/names.txt"


@dataclass(frozen=True)
class Corpus:
    """documents in their order; kind and path: where they came from; sha256 of the bytes read."""

    documents: list[str]
    kind: str
    path: str | None
    sha256: str


def read_corpus(path: str | Path | None, deduplicate: bool = False) -> Corpus:
    """Read a UTF-8 text file, or the built-in names if path is None.

    With `deduplicate`, a repeated document is kept once, where it first stands. Raises DataError if there is
    no such file, or it is no text, or holds no document.
    """
    data = built_in_names() if path is None else _read(Path(path))
    name = BUILT_IN if path is None else str(path)
    documents = [line.strip() for line in _decode(data, name).split("\n")]
    documents = [document for document in documents if document]
    if not documents:
        raise DataError(f"{name}: expected one document a line, got an empty file")
    if deduplicate:
        documents = list(dict.fromkeys(documents))
    digest = hashlib.sha256(data).hexdigest()
    if path is None:
        return Corpus(documents, BUILT_IN, None, digest)
    return Corpus(documents, "file", str(Path(path).absolute()), digest)


def corpus_of(documents: Sequence[str], deduplicate: bool = False) -> Corpus:
    """A corpus of documents already in memory."""
    for document in documents:
        if not isinstance(document, str) or any("\ud800" <= c <= "\udfff" for c in document):
            raise DataError(f"documents: expected strings of Unicode characters, got {document!r}")
    kept = [document.strip() for document in documents if document.strip()]
    if not kept:
        raise DataError("documents: expected at least one that is not empty, got none")
    digest = hashlib.sha256("\n".join(kept).encode()).hexdigest()
    return Corpus(list(dict.fromkeys(kept)) if deduplicate else kept, IN_MEMORY, None, digest)


def built_in_names() -> bytes:
    """The names that come with the package, as the bytes of their file."""
    return files("motegpt").joinpath("data/names.txt").read_bytes()


def _read(path: Path) -> bytes:
    try:
        if stat.S_ISCHR(path.stat().st_mode):
            raise DataError(f"{path}: expected a text file, got a device")
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(
            f"{path}: no such file; expected a UTF-8 text file with one document a line; for 32,033 names: "
            f"curl -O {NAMES_URL}; without DATA the built-in names are used"
        ) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); expected a UTF-8 text file") from None


def _decode(data: bytes, name: str) -> str:
    """The text of the bytes, a byte order mark removed, lines ended by newlines alone."""
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
