"""The data a run learned from, read again from where they were."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from motegpt.documents import IN_MEMORY, Corpus, corpus_in, corpus_of, read_corpus
from motegpt.errors import DataError
from motegpt.files import read_regular
from motegpt.formats import LARGEST_FILE
from motegpt.settings import shortened
from motegpt.split import split

if TYPE_CHECKING:
    from motegpt.state import RunConfig, Source

LONGEST_NAME = 1024  # characters
REPAIR = "give the data again"


def corpus_of_run(config: RunConfig, data: str | Path | None = None, repair: str = REPAIR) -> Corpus:
    """What a run was made from: where it was, or in the file `data`.

    Raises DataError if it is gone or not the same; `repair` ends its message.
    """
    source = config.source
    if data is None and source.kind == IN_MEMORY:
        raise DataError(f"data: the run learned from documents in memory; {repair}")
    if data is None and source.path is not None:
        return corpus_in(_recorded(source, repair), source.path, config.data)
    corpus = read_corpus(data, config.data)
    if source.kind == IN_MEMORY:
        corpus = corpus_of(corpus.documents, config.data)
    check_same(corpus, source, repair)
    return corpus


def _recorded(source: Source, repair: str) -> bytes:
    """The bytes of the file that a run names, which a stranger may have named.

    It must be a regular file, and nothing is made of it, not even an error about what is in it, unless its
    digest is the one that the run has.
    """
    name = source.path or ""
    name = name if name.isprintable() and len(name) < LONGEST_NAME else shortened(name)
    what = f"data: {name}, which the run learned from,"
    try:
        data = read_regular(Path(source.path or ""), LARGEST_FILE)
    except FileNotFoundError:
        raise DataError(f"{what} is gone; {repair}") from None
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        why = getattr(error, "strerror", None) or error
        raise DataError(f"{what} cannot be read ({why}); {repair}") from None
    if hashlib.sha256(data).hexdigest() != source.sha256:
        raise _not_the_same(name, repair)
    return data


def sides_of_run(
    config: RunConfig, data: str | Path | None = None, repair: str = REPAIR
) -> tuple[list[str], list[str]]:
    """(training, validation): what a run learned from, and what was held out."""
    return split(corpus_of_run(config, data, repair).documents, config.data, config.train.seed)


def check_same(corpus: Corpus, source: Source, repair: str) -> None:
    """DataError unless the corpus is what a run began with."""
    if corpus.sha256 != source.sha256:
        raise _not_the_same(corpus.path or corpus.kind, repair)


def _not_the_same(name: str, repair: str) -> DataError:
    return DataError(f"data: {name} is not what the run began with, or has changed since; {repair}")
