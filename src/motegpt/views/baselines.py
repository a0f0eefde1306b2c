"""The baselines of a run: what predictors that only count would have reached on the same data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from motegpt.batches import cut_sequences
from motegpt.documents import BUILT_IN, read_corpus
from motegpt.errors import DataError
from motegpt.ngrams import baselines

if TYPE_CHECKING:
    from motegpt.views.runs import Run


def baselines_of(run: Run) -> dict[str, float]:
    """Name -> loss in nats a token: learned from the run's training data, judged on its validation data if
    it has any, else on the training data itself.

    DataError if the data the run began with cannot be read any more.
    """
    training = _sequences(run, training_documents(run))
    size = len(run.tokenizer.characters) + 1  # a character, or the end
    return baselines(training, training, size, run.config.train.loss_mean)


def training_documents(run: Run) -> list[str]:
    """The documents the run began with."""
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
    found = {str((r.config.source.sha256, r.config.data, r.config.model.block_size)) for r in runs}
    if len(found) > 1:
        raise DataError("the runs learned from different data, or cut it differently")
    return baselines_of(runs[0])
