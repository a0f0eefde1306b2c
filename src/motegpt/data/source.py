"""The data a run learned from, read again from where they were."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from motegpt.config.fields import Settings, setting
from motegpt.config.sections import DataConfig
from motegpt.config.text import shortened
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


@dataclass(frozen=True, kw_only=True)
class Source(Settings):
    """The data of a run."""

    kind: str = setting("Where the data came from: corpus.py has the kinds.")
    path: str | None = setting("The file, if it was one.", default=None)
    others: tuple[str, ...] = setting("Further files, read after it.", default=())
    sha256: str = setting("Digest of the bytes.")
    documents: int = setting("Number of documents.", at_least=1)

    @property
    def paths(self) -> tuple[str, ...]:
        """The files, in their order."""
        return () if self.path is None else (self.path, *self.others)


def reload_corpus(source: Source, config: DataConfig, data: Data = None, repair: str = REPAIR) -> Corpus:
    """The data of a run, read from the recorded files, or from the files `data`.

    Raises DataError if they are gone or have changed; `repair` ends its message.
    """
    if data is None and source.kind == IN_MEMORY:
        raise DataError(f"data: the run learned from documents in memory; {repair}")
    if data is None and source.path is not None:
        corpus = corpus_in(_recorded(source, repair), config)
    else:
        corpus = read_corpus(data, config)
    if source.kind == IN_MEMORY:
        corpus = corpus_of(corpus.documents, config)
    check_unchanged(corpus, source, repair)
    return corpus


def _recorded(source: Source, repair: str) -> dict[Path, bytes]:
    """The bytes of the files that a run names, which a stranger may have named.

    They must be regular files, and nothing is made of them, not even an error about what is in them, unless
    their digest is the one that the run has.
    """
    contents, digest = dict[Path, bytes](), hashlib.sha256()
    for path in source.paths:
        what = f"data: {_shown(path)}, which the run learned from,"
        try:
            contents[Path(path)] = data = read_bounded_file(Path(path), LARGEST_FILE)
        except FileNotFoundError:
            raise DataError(f"{what} is gone; {repair}") from None
        except (OSError, ValueError) as error:  # ValueError: a name that no file can have
            why = getattr(error, "strerror", None) or error
            raise DataError(f"{what} cannot be read ({why}); {repair}") from None
        digest.update(data)
    if digest.hexdigest() != source.sha256:
        raise _not_the_same(name_of([_shown(path) for path in source.paths]), repair)
    return contents


def _shown(path: str) -> str:
    """A path that a run names, in a message."""
    return path if path.isprintable() and len(path) < LONGEST_NAME else shortened(path)


def reload_split(
    source: Source, config: DataConfig, seed: int, data: Data = None, repair: str = REPAIR
) -> tuple[Documents, Documents]:
    """(training, validation) documents of a run, read again; seed: that of its training."""
    return split(reload_corpus(source, config, data, repair).documents, config, seed)


def training_documents(source: Source, config: DataConfig, data: Data = None) -> Documents:
    """The documents of a run, held-out ones included, read again; or those of the file `data`, unchecked.

    DataError if they are gone or have changed.
    """
    if data is not None:
        return read_corpus(data, config).documents
    return reload_corpus(source, config, repair="give it as `data`").documents


def check_unchanged(corpus: Corpus, source: Source, repair: str) -> None:
    """DataError unless the corpus matches the recorded training data."""
    if corpus.sha256 != source.sha256:
        raise _not_the_same(corpus.name, repair)
    if len(corpus.documents) != source.documents:
        raise DataError(
            f"data: {corpus.name} is read as {len(corpus.documents):,} documents by this version, and was as "
            f"{source.documents:,} when the run began; start a new run"
        )


def _not_the_same(name: str, repair: str) -> DataError:
    return DataError(f"data: {name} is not what the run began with, or has changed since; {repair}")
