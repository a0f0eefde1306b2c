"""The recorded training data of a run, and reloading them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from motegpt.config.fields import Settings, setting
from motegpt.config.sections import DataConfig
from motegpt.config.text import counted, file_name, shortened
from motegpt.data.corpus import (
    IN_MEMORY,
    LONGEST_NAME,
    Corpus,
    Data,
    corpus_in,
    corpus_of,
    name_of,
    read_corpus,
)
from motegpt.data.decoding import LARGEST_FILE
from motegpt.data.documents import Documents
from motegpt.data.split import split
from motegpt.errors import DataError
from motegpt.system.files import read_bounded_file

REPAIR = "give the data again"
IMPORTED = "imported model"  # the kind of a run that another program trained


@dataclass(frozen=True, kw_only=True)
class Source(Settings):
    """The training data of a run; none, with the folder as `path`, of a model that was imported."""

    kind: str = setting("Kind of source, as in corpus.py, or IMPORTED.")
    path: str | None = setting("The first file.", default=None)
    others: tuple[str, ...] = setting("Further files, in order.", default=())
    sha256: str = setting("SHA-256 of the bytes.")
    documents: int = setting("Number of documents; 0 if the model was imported.", at_least=0)
    optimum: float | None = setting("Lowest possible loss in nats per target, if it is known.", default=None)

    @property
    def paths(self) -> tuple[str, ...]:
        """All files, in order."""
        return () if self.path is None else (self.path, *self.others)

    @property
    def is_imported(self) -> bool:
        """Whether the model was imported, so that its training data are not known."""
        return self.kind == IMPORTED

    def described(self, noun: str) -> str:
        """The data in a line: names.txt, 32,033 documents. noun: as of their DataConfig."""
        if self.is_imported:
            return f"none, imported from {self.path}"
        return f"{self.path or self.kind}, {counted(self.documents, noun)}"

    @property
    def name(self) -> str:
        """The data in messages, as valid Unicode."""
        return (name_of(self.paths) or self.kind).encode("utf-8", "backslashreplace").decode()

    def without_folders(self) -> Source:
        """The same, with the names of the files alone."""
        return self.replace(path=file_name(self.path), others=tuple(map(file_name, self.others)))


def reload_corpus(source: Source, config: DataConfig, data: Data = None, repair: str = REPAIR) -> Corpus:
    """The training data of a run, read from the recorded files or from `data`.

    Of an imported run, which records none, they are whatever `data` has. Raises DataError if they are missing
    or have changed; `repair` ends the message.
    """
    if data is None and source.is_imported:
        raise DataError(f"data: the run was imported, and records no training data; {repair}")
    if data is None and source.kind == IN_MEMORY:
        raise DataError(f"data: the run was trained on documents in memory; {repair}")
    if data is None and source.path is not None:
        corpus = corpus_in(_recorded(source, repair), config)
    else:
        corpus = read_corpus(data, config)
    if source.kind == IN_MEMORY:
        corpus = corpus_of(corpus.documents, config)
    if not source.is_imported:
        check_unchanged(corpus, source, repair)
    return corpus


def _recorded(source: Source, repair: str) -> dict[Path, bytes]:
    """The contents of the recorded files.

    Run folders are untrusted input and may name any file. The files must be regular, and their contents are
    not parsed, or quoted in errors, unless their digest matches the recorded one.
    """
    contents, digest = dict[Path, bytes](), hashlib.sha256()
    for path in source.paths:
        what = f"data: the training file {shown_path(path)}"
        try:
            contents[Path(path)] = data = read_bounded_file(Path(path), LARGEST_FILE)
        except FileNotFoundError:
            raise DataError(f"{what} is not found here; {repair}") from None
        except (OSError, ValueError) as error:  # ValueError: an invalid file name
            why = getattr(error, "strerror", None) or error
            raise DataError(f"{what} cannot be read ({why}); {repair}") from None
        digest.update(data)
    if digest.hexdigest() != source.sha256:
        raise _mismatch(name_of([shown_path(path) for path in source.paths]), repair)
    return contents


def shown_path(path: str) -> str:
    """A recorded path, shortened for a message."""
    return path if path.isprintable() and len(path) < LONGEST_NAME else shortened(path)


def reload_split(
    source: Source, config: DataConfig, seed: int, data: Data = None, repair: str = REPAIR
) -> tuple[Documents, Documents]:
    """The (training, validation) documents of a run, reloaded. seed: of its training."""
    documents = reload_corpus(source, config, data, repair).documents
    return split(documents, config.replace(val_fraction=0.0) if source.is_imported else config, seed)


def training_documents(
    source: Source, config: DataConfig, data: Data = None, repair: str = "give it as `data`"
) -> Documents:
    """All documents of a run, held-out ones included, reloaded; or those of the file `data`, unchecked.

    Raises DataError if they are missing or have changed; `repair` ends the message.
    """
    if data is not None:
        return read_corpus(data, config).documents
    return reload_corpus(source, config, repair=repair).documents


def check_unchanged(corpus: Corpus, source: Source, repair: str) -> None:
    """DataError unless the corpus matches the recorded training data."""
    if corpus.sha256 != source.sha256:
        raise _mismatch(corpus.name, repair)
    if len(corpus.documents) != source.documents:
        raise DataError(
            f"data: expected {source.documents:,} documents in {corpus.name}, as recorded by the run, got "
            f"{len(corpus.documents):,} with this version of motegpt; start a new run"
        )


def _mismatch(name: str, repair: str) -> DataError:
    return DataError(f"data: the content of {name} does not match the recorded training data; {repair}")
