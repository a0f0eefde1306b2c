"""The validation loss during training, and the best model so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import compress
from typing import TYPE_CHECKING

from motegpt.data.sequences import TokenSequences
from motegpt.evaluation.nll import (
    Window,
    accuracy,
    count_in,
    counted_windows,
    mean_nll,
    nll_by_window,
)
from motegpt.model.rng import splitmix64
from motegpt.training.state import Best

if TYPE_CHECKING:
    from motegpt.engines.base import Arrays, Engine, LanguageModel
    from motegpt.ngrams.kneser_ney import KneserNey

# Targets per evaluation during training. With a standard deviation of about 1.2 nats per target, the standard
# error of the mean is 0.02 nats; an evaluation takes as long as about 300 training steps on one name.
SAMPLE = 4096


@dataclass
class Validation:
    """The validation set, the best evaluation so far, and its parameters if this process computed it.

    sequences: whole documents, as in `motegpt eval`; block_size: of the model; unsaved: the parameters are
    not yet in the run folder.
    """

    sequences: Sequence[Sequence[int]]
    block_size: int
    patience: int | None = None
    best: Best | None = None
    parameters: Arrays | None = None
    unsaved: bool = False

    def loss(self, engine: Engine) -> float:
        """The loss of the current parameters on the sample, in nats per token."""
        return mean_nll(engine, self.sequences, self.sample)

    def accuracy(self, engine: LanguageModel) -> float:
        """The share of targets of the sample that are the most likely token."""
        return accuracy(engine, self.sequences, self.sample)

    def full_loss(self, engine: LanguageModel) -> float:
        """The loss on the entire validation set, in nats per token."""
        return mean_nll(engine, self.sequences)

    def fitted_weight(self, engine: Engine, n_grams: KneserNey) -> float:
        """The weight of n-grams averaged with the current parameters that fits the sample best."""
        import numpy as np

        from motegpt.ngrams.average import fitted_weight

        nll = [part for _, part in nll_by_window(engine, self.sequences, self.sample)]
        offsets = np.cumsum([0, *(len(sequence) - 1 for sequence in self.sequences)])
        p, windows = n_grams.probabilities(self.sequences), self.sample
        sampled = [p[offsets[one.sequence] + one.first : offsets[one.sequence] + one.end] for one in windows]
        return fitted_weight(np.exp(-np.concatenate(nll)), np.concatenate(sampled))

    @cached_property
    def sample(self) -> list[Window]:
        """The windows used by evaluations during training: at most SAMPLE targets, or one window."""
        return select_windows(self.sequences, self.block_size)

    @property
    def sampled_targets(self) -> int:
        """The number of targets that count in the sample."""
        return sum(count_in(self.sequences, window) for window in self.sample)

    @property
    def targets(self) -> int:
        """The number of targets that count in the validation set."""
        if isinstance(self.sequences, TokenSequences) and self.sequences.mask is not None:
            return int(self.sequences.counted().sum())
        return sum(map(len, self.sequences)) - len(self.sequences)

    @property
    def is_sampled(self) -> bool:
        """Whether the sample is smaller than the validation set."""
        return self.sampled_targets < self.targets

    def update(self, loss: float, engine: Engine, step: int) -> None:
        """Record the loss after `step` steps, and copy the parameters if it is the lowest so far."""
        if self.best is None or loss < self.best.loss:
            self.best = Best(step=step, loss=loss, evaluations_since_best=0)
            self.parameters, self.unsaved = engine.parameters(), True
        else:
            self.best = self.best.replace(evaluations_since_best=self.best.evaluations_since_best + 1)

    @property
    def out_of_patience(self) -> bool:
        """Whether there were `patience` evaluations without improvement."""
        return self.best is not None and self.best.is_out_of_patience(self.patience)


def select_windows(sequences: Sequence[Sequence[int]], block_size: int) -> list[Window]:
    """A random sample of the windows, in order: those whose indices have the lowest hashes.

    The sample depends only on the sequences, so evaluations are comparable, also after resuming. (Taking
    every nth window could select only the first window of each document.)
    """
    import numpy as np

    targets = np.fromiter((count for _, count in counted_windows(sequences, block_size)), np.int64)
    order = np.argsort(splitmix64(0, np.arange(len(targets), dtype=np.uint64)), kind="stable")
    count = np.searchsorted(np.cumsum(targets[order]), SAMPLE, side="right")
    selected = np.zeros(len(targets), bool)
    selected[order[: max(1, count)]] = True
    return list(compress((window for window, _ in counted_windows(sequences, block_size)), selected))
