"""The baselines of a run: what predictors that only count would have reached on the same data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from motegpt.batches import cut_sequences
from motegpt.documents import BUILT_IN, read_corpus
from motegpt.errors import DataError
from motegpt.ngrams import baselines
from motegpt.split import split

if TYPE_CHECKING:
    from motegpt.views.runs import Run


def baselines_of(run: Run) -> dict[str, float]:
    """Name -> loss in nats a token: learned from the run's training data, judged on its validation data if
    it has any, else on the training data itself.

    DataError if the data the run began with cannot be read any more.
    """
    data, train = run.config.data, run.config.train
    training, held_out = split(documents_of(run), data.val_fraction, train.seed)
    size = len(run.tokenizer.characters) + 1  # a character, or the end
    judged = _sequences(run, held_out or training)
    return baselines(_sequences(run, training), judged, size, train.loss_mean)


def documents_of(run: Run) -> list[str]:
    """The documents the run began with, those it holds out too."""
    source, data = run.config.source, run.config.data
    if source.path is None and source.kind != BUILT_IN:
        raise DataError(f"{run.name}: its data were {source.kind}")
    corpus = read_corpus(source.path, data.deduplicate)
    if corpus.sha256 != source.sha256:
        raise DataError(f"{source.path or source.kind}: is not what {run.name} began with")
    return corpus.documents


def _sequences(run: Run, documents: Sequence[str]) -> list[list[int]]:
    sequences = run.tokenizer.encode_all(documents)
    return cut_sequences(sequences, run.config.model.block_size, run.config.data.cut)


def common_baselines(runs: Sequence[Run]) -> dict[str, float]:
    """The baselines of runs that share their data; DataError if they do not."""
    if len({_what_decides(run) for run in runs}) > 1:
        raise DataError("the runs learned from different data, or cut or judge them differently")
    return baselines_of(runs[0])


def _what_decides(run: Run) -> tuple[object, ...]:
    """All that the baselines of a run depend on."""
    config, data = run.config, run.config.data
    held_out = (data.val_fraction, config.train.seed) if data.val_fraction else None
    return (
        config.source.sha256, data.framing, data.cut, data.deduplicate, held_out, config.model.block_size,
        config.train.loss_mean,
    )  # fmt: skip
