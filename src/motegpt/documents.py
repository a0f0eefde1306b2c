"""File -> documents, stripped, empty ones dropped, duplicates kept; or one long text, left as it is."""

from __future__ import annotations

import hashlib
import stat
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

from motegpt.config import ReadConfig
from motegpt.errors import DataError
from motegpt.files import nearest_name
from motegpt.formats import Content, content_of, read_bounded
from motegpt.settings import has_surrogate, shortened

BUILT_IN, IN_MEMORY = "built-in names", "documents in memory"
FORMS: dict[str, Literal["NFC", "NFKC"]] = {"nfc": "NFC", "nfkc": "NFKC"}


@dataclass(frozen=True)
class Corpus:
    """documents in their order; a stream is one. kind, path: where from; sha256 of the bytes of the file."""

    documents: list[str]
    kind: str
    path: str | None
    sha256: str


def read_corpus(path: str | Path | None, reading: ReadConfig | None = None) -> Corpus:
    """Read a file, or the built-in names if path is None; a DataConfig says how, a document a line if None.

    Raises DataError if there is no such file, or it is not what `reading` says, or holds no document.
    """
    return corpus_in(_bytes_of(path), path, reading)


def corpus_in(data: bytes, path: str | Path | None, reading: ReadConfig | None = None) -> Corpus:
    """The corpus that the bytes of a file hold; path: where they are from, None for the built-in names."""
    reading, name = reading or ReadConfig(), BUILT_IN if path is None else str(path)
    content, digest = content_of(data, name, reading), hashlib.sha256(data).hexdigest()
    documents = documents_of(content.texts, reading)
    if not documents:
        raise nothing_in(content, name)
    if path is None:
        return Corpus(documents, BUILT_IN, None, digest)
    return Corpus(documents, "file", str(Path(path).absolute()), digest)


def read_content(path: str | Path | None, reading: ReadConfig) -> Content:
    """What stands in a file, or in the built-in names."""
    return content_of(_bytes_of(path), BUILT_IN if path is None else str(path), reading)


def documents_of(texts: Sequence[str], reading: ReadConfig) -> list[str]:
    """What is learned of the texts of a file.

    Texts are normalised if asked, stripped, and dropped if empty; with `deduplicate`, a repeated one is kept
    once, where it first stands. A stream is only normalised.
    """
    texts = normalised(texts, reading)
    if reading.format == "stream":
        return [text for text in texts if text]
    documents = [stripped for text in texts if (stripped := text.strip())]
    return list(dict.fromkeys(documents)) if reading.deduplicate else documents


def normalised(texts: Sequence[str], reading: ReadConfig) -> Sequence[str]:
    """The texts in the Unicode form that was asked for."""
    if reading.normalise is None:
        return texts
    return [unicodedata.normalize(FORMS[reading.normalise], text) for text in texts]


def corpus_of(documents: Sequence[str], reading: ReadConfig | None = None) -> Corpus:
    """A corpus of documents already in memory; as a stream they are one text, joined by newlines."""
    reading = reading or ReadConfig()
    for document in documents:
        if not isinstance(document, str) or has_surrogate(document):
            raise DataError(f"documents: expected strings of Unicode characters, got {shortened(document)}")
    texts = ["\n".join(documents)] if reading.format == "stream" else documents
    kept = documents_of(texts, reading.replace(deduplicate=False))
    if not kept:
        raise DataError("documents: expected at least one that is not empty, got none")
    digest = hashlib.sha256("\n".join(kept).encode()).hexdigest()
    return Corpus(list(dict.fromkeys(kept)) if reading.deduplicate else kept, IN_MEMORY, None, digest)


def built_in_names() -> bytes:
    """The names that come with the package, as the bytes of their file."""
    return files("motegpt").joinpath("data/names.txt").read_bytes()


def _bytes_of(path: str | Path | None) -> bytes:
    return built_in_names() if path is None else _read(Path(path))


def _read(path: Path) -> bytes:
    try:
        if stat.S_ISCHR(path.stat().st_mode):
            raise DataError(f"{path}: expected a text file, got a device")
        with path.open("rb") as file:
            return b"".join(read_bounded(file.read, str(path)))
    except FileNotFoundError:
        near = nearest_name(path)
        repair = f"did you mean {near}?" if near else "motegpt data fetch names prints where one is"
        repair = "/dev/stdin is what is piped in" if str(path) == "-" else repair
        raise DataError(
            f"{path}: no such file; expected a UTF-8 text file with one document a line; {repair}"
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        why = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: cannot be read ({why}); expected a UTF-8 text file") from None


def nothing_in(content: Content, name: str) -> DataError:
    """The error for a file that holds no document."""
    what = "an empty file" if content.length == 0 else "an empty file (nothing but blank lines)"
    if content.column is not None and content.format == "csv":
        what = f"no text in column {shortened(content.column)} under the header"
    return DataError(f"{name}: expected at least one document, got {what}")
