"""Read documents from files, from the built-in names, or from texts in memory."""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
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
from motegpt.data.ids.documents import IdDocuments
from motegpt.data.repeats import drop_repeats
from motegpt.errors import DataError
from motegpt.system.files import nearest_name
from motegpt.system.runs import is_archive, is_run_folder, ways_to_train

BUILT_IN, IN_MEMORY = "built-in names", "documents in memory"
NOT_TEXT = {  # suffixes of binary formats -> name; repair
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "a spreadsheet; save it as CSV"),
    **dict.fromkeys((".docx", ".odt", ".pdf"), "a document with a layout; save it as plain text"),
    **dict.fromkeys((".zip", ".7z", ".tar", ".tgz", ".xz", ".bz2", ".zst"), "an archive; unpack it first"),
    **dict.fromkeys((".parquet", ".feather", ".arrow", ".sqlite", ".db"), "a database; export it as CSV"),
}

URL = re.compile("^([a-z][a-z0-9]+):/+(?=[^/])")  # pathlib collapses its double slash
LONGEST_NAME = 1024  # characters of a path in a message

# Files and folders; None: the built-in names.
Data = str | PathLike[str] | list[Path] | None
Observer = Callable[[Reader, Texts], None]
OpenFile = Callable[[Path], AbstractContextManager[IO[bytes]]]


@dataclass(frozen=True)
class Corpus:
    """Documents in order; a stream is a single one. Of ids, IdDocuments.

    kind: BUILT_IN, IN_MEMORY or "file"; paths: the files, absolute; sha256: of their concatenated bytes;
    assumed: assumptions about them that no setting confirms, as sentences.
    """

    documents: Documents
    kind: str
    paths: tuple[str, ...]
    sha256: str
    assumed: tuple[str, ...] = ()

    @property
    def found(self) -> dict[str, Any]:
        """The settings that the documents themselves decide."""
        return self.documents.settings

    @property
    def name(self) -> str:
        """The name in messages."""
        return name_of(self.paths) or self.kind


def name_of(paths: Sequence[str | Path]) -> str:
    """The name of files in messages: names.txt and 3 more."""
    return f"{paths[0]} and {len(paths) - 1} more" if len(paths) > 1 else "".join(map(str, paths))


def built_in_names() -> bytes:
    """The contents of the file of names that comes with the package."""
    return Path(__file__).with_name("names.txt").read_bytes()


def paths_of(data: Any) -> list[Path] | None:
    """The paths of a single path or a list of os.PathLike; None for anything else.

    Raises DataError for a string that is not a valid file name.
    """
    if is_path(data):
        return [path_of("documents", data, DataError)]
    is_list = isinstance(data, list | tuple) and len(data) > 0
    return list(map(Path, data)) if is_list and all(isinstance(one, PathLike) for one in data) else None


def read_corpus(data: Data, reading: ReadConfig | None = None, observer: Observer | None = None) -> Corpus:
    """Read files, all files of folders, or the built-in names if data is None.

    reading: default is one document per line. observer: called with each reader and the raw texts it found.
    Raises DataError if a file is missing or does not match `reading`, or if there are no documents.
    """
    paths = paths_of(data)
    if paths is None:
        return corpus_in({Path(BUILT_IN): built_in_names()}, reading, observer)
    return _read(list(_files_of(paths)), reading or ReadConfig(), _open_file, observer)


def corpus_in(
    contents: Mapping[Path, bytes], reading: ReadConfig | None = None, observer: Observer | None = None
) -> Corpus:
    """read_corpus for files whose contents are in memory."""

    @contextmanager
    def open_bytes(path: Path) -> Iterator[IO[bytes]]:
        yield io.BytesIO(contents[path])

    return _read(list(contents), reading or ReadConfig(), open_bytes, observer)


def corpus_of(texts: Iterable[str], reading: ReadConfig | None = None) -> Corpus:
    """The corpus of texts in memory; a stream is the texts joined by newlines."""
    reading = reading or ReadConfig()
    lines = list(map(with_newlines, strings("documents", texts, "strings, or the name of a file")))
    if reading.format == "stream":
        documents = Documents.of_stream(normalized(["\n".join(lines)], reading))
    else:
        documents = Documents.of([documents_of(lines, reading)])
    if not documents:
        raise DataError("documents: expected at least one that is not empty, got none")
    digest = hashlib.sha256(documents.data[:-1].replace(b"\0", b"\n")).hexdigest()
    documents = drop_repeats(documents) if reading.deduplicate else documents
    return Corpus(documents, IN_MEMORY, (), digest)


def corpus_from(source: Any, reading: ReadConfig) -> Corpus:
    """The corpus of an argument of the Python API: strings, a path or a list of paths, or None.

    Also of ids in memory. Raises DataError for anything else; for a table the message lists the columns.
    """
    if isinstance(source, IdDocuments):
        return corpus_of_ids(source, reading)
    if source is None or paths_of(source) is not None:
        return read_corpus(source, reading)
    columns = columns_of(source)
    if columns is not None:
        raise DataError(
            f"documents: expected strings, got a {type(source).__name__} with the columns "
            f"{shortened(columns)}; give one column, as in table['name']"
        )
    if _looks_like_ids(source):
        raise DataError(
            f"documents: expected strings, or the name of a file, got {shortened(source)}; pass token ids as "
            "ids=…, with mask=… if some do not count"
        )
    return corpus_of(source, reading)


def _looks_like_ids(source: Any) -> bool:
    """Whether an argument is an array of integers, or a list of these or of lists of them."""
    first = source[0] if isinstance(source, list | tuple) and source else source
    is_list = isinstance(first, list | tuple) and bool(first) and type(first[0]) is int
    return is_list or getattr(getattr(first, "dtype", None), "kind", "") in ("i", "u")


def corpus_of_ids(documents: IdDocuments, reading: ReadConfig) -> Corpus:
    """The corpus of ids in memory."""
    from motegpt.data.ids.memory import digest_of

    for name in reading.inapplicable("ids"):
        raise DataError(f"{name}: expected none for token ids, which are not text; leave it out")
    if reading.is_stream and not documents.is_stream:
        raise DataError("ids: expected one flat list for `format='id_stream'`, got sequences")
    kept = drop_repeats(documents) if reading.deduplicate else documents
    return Corpus(kept, IN_MEMORY, (), digest_of(documents))


def _files_of(paths: Iterable[Path]) -> Iterator[Path]:
    """The files, folders expanded recursively in order of names, without hidden files."""
    for path in paths:
        if is_archive(path) or is_run_folder(path):
            raise DataError(f"{path}: expected documents, got a run; {ways_to_train(path)}")
        if not os.path.isdir(path):  # unlike Path.is_dir, accepts any string
            yield path
            continue
        found = sorted(one for one in path.rglob("*") if one.is_file())
        found = [one for one in found if not any(p.startswith(".") for p in one.relative_to(path).parts)]
        if not found:
            raise DataError(f"{path}: expected a folder of text files, got an empty one")
        yield from found


def _read(
    paths: Sequence[Path], reading: ReadConfig, open_file: OpenFile, observer: Observer | None
) -> Corpus:
    if _are_ids(paths, reading, open_file):
        return _read_ids(paths, reading, open_file)
    texts = _FileTexts(paths, reading, open_file, observer)
    if reading.format == "stream":
        documents = Documents.of_stream(normalized(texts.parts(), reading))
    else:
        from motegpt.data.bulk import read_documents

        documents = read_documents((group.texts for group in texts), reading)
    if not documents:
        raise texts.empty_error()
    documents = drop_repeats(documents) if reading.deduplicate else documents
    if paths == [Path(BUILT_IN)]:
        return Corpus(documents, BUILT_IN, (), texts.sha256.hexdigest())
    absolute = tuple(str(path.absolute()) for path in paths)
    return Corpus(documents, "file", absolute, texts.sha256.hexdigest(), tuple(texts.assumed))


def are_ids(data: Data, reading: ReadConfig) -> bool:
    """Whether read_corpus would read token ids; DataError if only some of the files have ids."""
    paths = paths_of(data)
    return paths is not None and _are_ids(list(_files_of(paths)), reading, _open_file)


def _are_ids(paths: Sequence[Path], reading: ReadConfig, open_file: OpenFile) -> bool:
    """Whether files have token ids; DataError if only some have."""
    if reading.format not in (None, "jsonl", "stream"):
        return reading.is_ids
    if reading.column is not None:
        return False
    from motegpt.data.ids.detection import HEAD, is_ids_file

    def head(path: Path) -> bytes:
        with open_file(path) as file:
            return file.read(HEAD)

    found = {is_ids_file(path, partial(head, path)) for path in paths}
    if len(found) > 1:
        raise DataError(f"{name_of(paths)}: expected text in all files, or token ids in all, got both")
    return found.pop()


def _read_ids(paths: Sequence[Path], reading: ReadConfig, open_file: OpenFile) -> Corpus:
    from motegpt.data.ids.memory import joined
    from motegpt.data.ids.reading import read_ids

    for name in reading.inapplicable("ids"):
        raise DataError(f"{name_of(paths)}: has token ids, which have no {name}; leave it out")
    sha256, parts = hashlib.sha256(), list[IdDocuments]()
    form = reading.format if reading.is_ids else "id_stream" if reading.is_stream else None
    for path in paths:
        with open_file(path) as file:
            data = HashingReader(file, str(path), sha256).readall()
        parts.append(read_ids(data, str(path), form))
    documents: Documents = joined(parts, name_of(paths))
    documents = drop_repeats(documents) if reading.deduplicate else documents
    return Corpus(documents, "file", tuple(str(path.absolute()) for path in paths), sha256.hexdigest())


class _FileTexts:
    """The texts of files. After one iteration sha256 and assumed are as in Corpus."""

    def __init__(
        self, paths: Sequence[Path], reading: ReadConfig, open_file: OpenFile, observer: Observer | None
    ) -> None:
        self._paths, self._reading, self._open_file, self._observer = paths, reading, open_file, observer
        self._last: Reader | None = None
        self.sha256, self.assumed = hashlib.sha256(), list[str]()

    def __iter__(self) -> Iterator[Texts]:
        for path in self._paths:
            with self._open_file(path) as file:
                name = str(path)
                pieces = text_pieces(HashingReader(file, name, self.sha256), name, self._reading.encoding)
                self._last = reader = reader_of(pieces, name, self._reading)
                for group in reader:
                    if self._observer is not None:
                        self._observer(reader, group)
                    yield group
            if reader.assumed is not None:
                self.assumed.append(f"{path}: {reader.assumed}")

    def parts(self) -> Iterator[str]:
        """The parts of one text, with a newline between files."""
        before = ""
        for group in self:
            if group.lines[0] == 1 and before and not before.endswith("\n"):
                yield "\n"
            yield from group.texts
            before = group.texts[-1]

    def empty_error(self) -> DataError:
        """The error for files without documents."""
        reader, found = self._last, "an empty file"
        if isinstance(reader, TableReader) and reader.column is not None:
            found = f"no text in column {shortened(reader.column)}"
        elif reader is not None and reader.lines:
            found = "an empty file (only blank lines)"
        return DataError(f"{name_of(self._paths)}: expected at least one document, got {found}")


@contextmanager
def _open_file(path: Path) -> Iterator[IO[bytes]]:
    """The opened file; DataError if it is missing, unreadable or a known binary format."""
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
    except (OSError, ValueError) as error:  # ValueError: an invalid file name
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
    """A path in a message, shortened if it is very long, as a text passed for a path may be."""
    text = _as_given(path)
    return text if text.isprintable() and len(text) < LONGEST_NAME else shortened(text)


def _as_given(path: Path) -> str:
    """The path as text; a URL with the slash that pathlib removes."""
    return URL.sub(r"\1://", str(path))


def _repair(path: Path) -> str:
    """The likely repair for a missing file."""
    text = _as_given(path)
    if "\n" in text:
        return "this is a text, not a file name: pass its lines as a list, text.splitlines()"
    if URL.match(str(path)):
        how = f", curl -LO {text}" if text.startswith(("http", "ftp")) else ""
        return f"this is a URL: download it{how}, and pass the file"
    if text == "-":
        return "use /dev/stdin for standard input"
    public = next((name for name, download in DOWNLOADS.items() if download.file == path.name), None)
    if public is not None:
        return f"motegpt data fetch {public} downloads it and prints its path"
    near = nearest_name(path)
    return f"did you mean {near}?" if near else "motegpt data fetch names downloads a public one"
