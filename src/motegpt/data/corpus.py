"""Where documents come from: files, the built-in names, or texts in memory."""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.resources import files
from os import PathLike
from pathlib import Path
from typing import IO, Any

from motegpt.config.arguments import columns_of, is_path, path_of, strings
from motegpt.config.sections import ReadConfig
from motegpt.config.text import shortened
from motegpt.data.decoding import HashingReader, text_pieces
from motegpt.data.documents import Documents, documents_of, normalized
from motegpt.data.fetch import DOWNLOADS
from motegpt.data.formats import Reader, Texts, reader_of
from motegpt.data.formats.base import with_newlines
from motegpt.data.formats.tables import TableReader
from motegpt.data.repeats import drop_repeats
from motegpt.errors import DataError
from motegpt.system.files import nearest_name

BUILT_IN, IN_MEMORY = "built-in names", "documents in memory"
NOT_TEXT = {  # what is no text whatever is in it, and what to do
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "a spreadsheet; save it as CSV"),
    **dict.fromkeys((".docx", ".odt", ".pdf"), "a document with a layout; save it as plain text"),
    **dict.fromkeys((".zip", ".7z", ".tar", ".tgz", ".xz", ".bz2", ".zst"), "an archive; unpack it first"),
    **dict.fromkeys((".parquet", ".feather", ".arrow", ".sqlite", ".db"), "a database; export it as CSV"),
}

ADDRESS = re.compile("^([a-z][a-z0-9]+):/+(?=[^/])")  # pathlib takes a slash from it
LONGEST_NAME = 1024  # characters of a path in a message

# Files and folders; None: the built-in names.
Data = str | PathLike[str] | list[Path] | None
Watch = Callable[[Reader, Texts], None]
OpenFile = Callable[[Path], AbstractContextManager[IO[bytes]]]


@dataclass(frozen=True)
class Corpus:
    """documents in their order, a stream as a single one.

    kind: BUILT_IN, IN_MEMORY or "file"; paths: the files, absolute; sha256: of their bytes, one after the
    other; assumed: what was taken for granted about them because no setting says it, in words.
    """

    documents: Documents
    kind: str
    paths: tuple[str, ...]
    sha256: str
    assumed: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What messages call it."""
        return name_of(self.paths) or self.kind


def name_of(paths: Sequence[str | Path]) -> str:
    """What messages call some files: names.txt and 3 more."""
    return f"{paths[0]} and {len(paths) - 1} more" if len(paths) > 1 else "".join(map(str, paths))


def built_in_names() -> bytes:
    """The names that come with the package, as the bytes of their file."""
    return files("motegpt").joinpath("data/names.txt").read_bytes()


def paths_of(data: Any) -> list[Path] | None:
    """The files and folders that a user names: one, or a list of os.PathLike; None if it is something else.

    DataError for a text that can be no name.
    """
    if is_path(data):
        return [path_of("documents", data, DataError)]
    several = isinstance(data, list | tuple) and len(data) > 0
    return list(map(Path, data)) if several and all(isinstance(one, PathLike) for one in data) else None


def read_corpus(data: Data, reading: ReadConfig | None = None, watch: Watch | None = None) -> Corpus:
    """Read files, all files of folders, or the built-in names if data is None.

    reading: what the files hold, one document per line if None. watch: is shown the texts as they are in
    the files, with the reader that found them. Raises DataError if there is no such file, it is not what
    `reading` says, or all of them hold no document.
    """
    paths = paths_of(data)
    if paths is None:
        return corpus_in({Path(BUILT_IN): built_in_names()}, reading, watch)
    return _read(list(_files_of(paths)), reading or ReadConfig(), _open_file, watch)


def corpus_in(
    contents: Mapping[Path, bytes], reading: ReadConfig | None = None, watch: Watch | None = None
) -> Corpus:
    """The same for files whose bytes are at hand."""

    @contextmanager
    def opened(path: Path) -> Iterator[IO[bytes]]:
        yield io.BytesIO(contents[path])

    return _read(list(contents), reading or ReadConfig(), opened, watch)


def corpus_of(texts: Iterable[str], reading: ReadConfig | None = None) -> Corpus:
    """Texts in memory; as a stream they are one text, joined by newlines."""
    reading = reading or ReadConfig()
    found = list(map(with_newlines, strings("documents", texts, "strings, or the name of a file")))
    if reading.format == "stream":
        documents = Documents.of_stream(normalized(["\n".join(found)], reading))
    else:
        documents = Documents.of([documents_of(found, reading)])
    if not documents:
        raise DataError("documents: expected at least one that is not empty, got none")
    digest = hashlib.sha256(documents.data[:-1].replace(b"\0", b"\n")).hexdigest()
    documents = drop_repeats(documents) if reading.deduplicate else documents
    return Corpus(documents, IN_MEMORY, (), digest)


def corpus_from(source: Any, reading: ReadConfig) -> Corpus:
    """What a Python user gives: strings, the name of a file or a folder, several paths, or None.

    DataError for everything else, tables among it, whose columns it names.
    """
    if source is None or paths_of(source) is not None:
        return read_corpus(source, reading)
    columns = columns_of(source)
    if columns is not None:
        raise DataError(
            f"documents: expected strings, got a {type(source).__name__} with the columns "
            f"{shortened(columns)}; give one of them, as table['name']"
        )
    return corpus_of(source, reading)


def _files_of(paths: Iterable[Path]) -> Iterator[Path]:
    """The files, and for a folder all that are in it or its folders, hidden ones left out, by name."""
    for path in paths:
        if not os.path.isdir(path):  # which, unlike Path.is_dir, takes any text
            yield path
            continue
        found = sorted(one for one in path.rglob("*") if one.is_file())
        found = [one for one in found if not any(p.startswith(".") for p in one.relative_to(path).parts)]
        if not found:
            raise DataError(f"{path}: expected a folder with files of text in it, got an empty one")
        yield from found


def _read(paths: Sequence[Path], reading: ReadConfig, open_file: OpenFile, watch: Watch | None) -> Corpus:
    found = _Files(paths, reading, open_file, watch)
    if reading.format == "stream":
        documents = Documents.of_stream(normalized(found.parts(), reading))
    else:
        documents = Documents.of(documents_of(group.texts, reading) for group in found)
    if not documents:
        raise found.nothing()
    documents = drop_repeats(documents) if reading.deduplicate else documents
    if paths == [Path(BUILT_IN)]:
        return Corpus(documents, BUILT_IN, (), found.sha256.hexdigest())
    absolute = tuple(str(path.absolute()) for path in paths)
    return Corpus(documents, "file", absolute, found.sha256.hexdigest(), tuple(found.assumed))


class _Files:
    """The texts of some files: iterate once. Then sha256 and assumed are as in Corpus."""

    def __init__(
        self, paths: Sequence[Path], reading: ReadConfig, open_file: OpenFile, watch: Watch | None
    ) -> None:
        self._paths, self._reading, self._open_file, self._watch = paths, reading, open_file, watch
        self._last: Reader | None = None
        self.sha256, self.assumed = hashlib.sha256(), list[str]()

    def __iter__(self) -> Iterator[Texts]:
        for path in self._paths:
            with self._open_file(path) as file:
                name = str(path)
                pieces = text_pieces(HashingReader(file, name, self.sha256), name, self._reading.encoding)
                self._last = reader = reader_of(pieces, name, self._reading)
                for group in reader:
                    if self._watch is not None:
                        self._watch(reader, group)
                    yield group
            if reader.assumed is not None:
                self.assumed.append(f"{path}: {reader.assumed}")

    def parts(self) -> Iterator[str]:
        """The texts as parts of one; a file's last line ends before the next file begins."""
        before = ""
        for group in self:
            if group.lines[0] == 1 and before and not before.endswith("\n"):
                yield "\n"
            yield from group.texts
            before = group.texts[-1]

    def nothing(self) -> DataError:
        """The error for files that hold no document."""
        reader, what = self._last, "an empty file"
        if isinstance(reader, TableReader) and reader.column is not None:
            what = f"no text in column {shortened(reader.column)}"
        elif reader is not None and reader.lines:
            what = "an empty file (nothing but blank lines)"
        return DataError(f"{name_of(self._paths)}: expected at least one document, got {what}")


@contextmanager
def _open_file(path: Path) -> Iterator[IO[bytes]]:
    """The file; DataError if there is none, or it is none that can be text."""
    try:
        if stat.S_ISCHR(path.stat().st_mode):
            raise DataError(f"{path}: expected a text file, got a device")
        if path.suffix.lower() in NOT_TEXT:
            raise DataError(f"{path}: expected a text file, got {NOT_TEXT[path.suffix.lower()]}")
        file = path.open("rb")
    except FileNotFoundError:
        raise DataError(
            f"{_named(path)}: no such file; expected a text file with one document per line; {_repair(path)}"
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise _unreadable(path, error) from None
    with file:
        try:
            yield file
        except OSError as error:
            raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError | ValueError) -> DataError:
    why = getattr(error, "strerror", None) or error
    return DataError(f"{_named(path)}: cannot be read ({why}); {_repair(path)}")


def _named(path: Path) -> str:
    """A path in a message; what is no name of a file may be very long."""
    text = _as_given(path)
    return text if text.isprintable() and len(text) < LONGEST_NAME else shortened(text)


def _as_given(path: Path) -> str:
    """A path, or an address with the slash that pathlib takes away."""
    return ADDRESS.sub(r"\1://", str(path))


def _repair(path: Path) -> str:
    """What the user probably meant by a file that is not there."""
    text = _as_given(path)
    if "\n" in text:
        return "this is a text and no name of a file: give its lines as a list, text.splitlines()"
    if ADDRESS.match(str(path)):
        how = f", curl -LO {text}" if text.startswith(("http", "ftp")) else ""
        return f"this is an address: download it{how}, and give the file"
    if text == "-":
        return "/dev/stdin is what is piped in"
    public = next((name for name, download in DOWNLOADS.items() if download.file == path.name), None)
    if public is not None:
        return f"motegpt data fetch {public} downloads it and prints where it is"
    near = nearest_name(path)
    return f"did you mean {near}?" if near else "motegpt data fetch names downloads a public one"
