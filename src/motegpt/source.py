"""The data a run learned from, read again from where they were."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from motegpt.documents import IN_MEMORY, Corpus, corpus_of, read_corpus
from motegpt.errors import DataError
from motegpt.split import split

if TYPE_CHECKING:
    from motegpt.checkpoint import RunConfig, Source

REPAIR = "give the data again"


def corpus_of_run(config: RunConfig, data: str | Path | None = None, repair: str = REPAIR) -> Corpus:
    """What a run was made from: where it was, or in the file `data`.

    Raises DataError if it is gone or not the same; `repair` ends its message.
    """
    source = config.source
    if data is None and source.kind == IN_MEMORY:
        raise DataError(f"data: the run learned from documents in memory; {repair}")
    if data is None and source.path is not None and not Path(source.path).exists():
        raise DataError(f"data: {source.path}, which the run learned from, is gone; {repair}")
    corpus = read_corpus(data or source.path, config.data)
    if source.kind == IN_MEMORY:
        corpus = corpus_of(corpus.documents, config.data)
    check_same(corpus, source, repair)
    return corpus


def sides_of_run(
    config: RunConfig, data: str | Path | None = None, repair: str = REPAIR
) -> tuple[list[str], list[str]]:
    """(training, validation): what a run learned from, and what was held out."""
    return split(corpus_of_run(config, data, repair).documents, config.data, config.train.seed)


def check_same(corpus: Corpus, source: Source, repair: str) -> None:
    """DataError unless the corpus is what a run began with."""
    if corpus.sha256 != source.sha256:
        name = corpus.path or corpus.kind
        raise DataError(f"data: {name} is not what the run began with, or has changed since; {repair}")
