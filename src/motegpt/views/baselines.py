"""The losses of n-gram baselines on the data of a run."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from statistics import fmean
from typing import TYPE_CHECKING

from motegpt.data.plan import validation_sequences
from motegpt.data.source import reload_split
from motegpt.errors import DataError
from motegpt.evaluation.nll import evaluation_sequences, never_target
from motegpt.ngrams.counts import baselines

if TYPE_CHECKING:
    from motegpt.views.runs import Run

MAX_SPLITS = 10  # of the data into training and held-out documents, whose baselines are averaged


def baselines_of(run: Run) -> dict[str, float]:
    """Name -> loss in nats per token, of baselines trained on the run's training data.

    Evaluated on the validation set, if there is one, as by `motegpt eval`; else on the training data,
    averaged as in training. DataError if the recorded data cannot be read.
    """
    config, tokenizer = run.config, run.tokenizer
    training, held_out = reload_split(
        config.source, config.data, config.train.seed, repair="--no-baselines leaves them out"
    )
    vocab_size, never = tokenizer.vocab_size, never_target(tokenizer)
    if held_out:
        training_ids = evaluation_sequences(training, tokenizer)
        evaluated = evaluation_sequences(held_out, tokenizer)
        return baselines(training_ids, evaluated, vocab_size, never=never)
    evaluated = validation_sequences(training, tokenizer, config.data, config.model.block_size)
    if config.data.format == "stream":
        stream = [tokenizer.encode_stream(training)]
        return baselines(stream, evaluated, vocab_size, config.train.loss_mean, never)
    return baselines(evaluated, evaluated, vocab_size, config.train.loss_mean, never)


def common_baselines(runs: Sequence[Run]) -> dict[str, float]:
    """The baselines of runs on the same data; DataError if they differ.

    Runs may differ in the documents that a seed holds out: then the means over the first MAX_SPLITS splits,
    as their curves are means over seeds.
    """
    if len({_dependencies(run) for run in runs}) > 1:
        raise DataError("expected runs on the same data and truncation, got different data")
    splits = {_held_out(run): run for run in reversed(runs)}
    found = [baselines_of(run) for run in islice(reversed(splits.values()), MAX_SPLITS)]
    shared = [name for name in found[0] if all(name in losses for losses in found)]
    return {name: fmean(losses[name] for losses in found) for name in shared}


def _dependencies(run: Run) -> tuple[object, ...]:
    """All settings that the baselines of a run depend on, but for the seed of its split."""
    config = run.config
    data = config.data.replace(shuffle=False, split_seed=None)
    return config.source.sha256, data, config.model.block_size, config.train.loss_mean


def _held_out(run: Run) -> int | None:
    """The seed that chooses the held-out documents of a run; None if there are none."""
    data = run.config.data
    seed = run.config.train.seed if data.split_seed is None else data.split_seed
    return seed if data.val_fraction else None
