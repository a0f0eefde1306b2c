"""The data a run learned from, read again from where they were."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from motegpt.config.fields import shortened
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
from motegpt.system.files import read_regular

if TYPE_CHECKING:
    from motegpt.training.state import RunConfig, Source

REPAIR = "give the data again"


def corpus_of_run(config: RunConfig, data: Data = None, repair: str = REPAIR) -> Corpus:
    """What a run was made from: where it was, or in the files `data`.

    Raises DataError if it is gone or not the same; `repair` ends its message.
    """
    source = config.source
    if data is None and source.kind == IN_MEMORY:
        raise DataError(f"data: the run learned from documents in memory; {repair}")
    if data is None and source.path is not None:
        corpus = corpus_in(_recorded(source, repair), config.data)
    else:
        corpus = read_corpus(data, config.data)
    if source.kind == IN_MEMORY:
        corpus = corpus_of(corpus.documents, config.data)
    check_same(corpus, source, repair)
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
            contents[Path(path)] = data = read_regular(Path(path), LARGEST_FILE)
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


def sides_of_run(config: RunConfig, data: Data = None, repair: str = REPAIR) -> tuple[Documents, Documents]:
    """(training, validation): what a run learned from, and what was held out."""
    return split(corpus_of_run(config, data, repair).documents, config.data, config.train.seed)


def check_same(corpus: Corpus, source: Source, repair: str) -> None:
    """DataError unless the corpus is what a run began with."""
    if corpus.sha256 != source.sha256:
        raise _not_the_same(corpus.name, repair)
    if len(corpus.documents) != source.documents:
        raise DataError(
            f"data: {corpus.name} is read as {len(corpus.documents):,} documents by this version, and was as "
            f"{source.documents:,} when the run began; start a new run"
        )


def _not_the_same(name: str, repair: str) -> DataError:
    return DataError(f"data: {name} is not what the run began with, or has changed since; {repair}")
