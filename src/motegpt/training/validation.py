"""Watching the loss on held-out documents while a model learns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import compress
from typing import TYPE_CHECKING

from motegpt.evaluation.nll import Window, mean_nll, windows_in
from motegpt.model.rng import splitmix64
from motegpt.training.state import Best

if TYPE_CHECKING:
    from motegpt.engines.base import Arrays, Engine

# Targets that an evaluation during training looks at. Their losses have a standard deviation of some 1.2
# nats, so that the mean is known to two hundredths of a nat; it takes as long as some 300 steps of a name.
SAMPLE = 4096


@dataclass
class Validation:
    """Held-out sequences, the best evaluation so far, and its parameters if this process made it.

    sequences: whole documents, as `motegpt eval` takes them; block_size: of the model; unsaved: the
    parameters are not in the run's folder yet.
    """

    sequences: Sequence[Sequence[int]]
    block_size: int
    patience: int | None = None
    best: Best | None = None
    parameters: Arrays | None = None
    unsaved: bool = False

    def loss(self, engine: Engine) -> float:
        """The loss of the engine's present parameters on the sample, in nats per token."""
        return mean_nll(engine, self.sequences, self.sample)

    def full_loss(self, engine: Engine) -> float:
        """The same on all of the held-out sequences."""
        return mean_nll(engine, self.sequences)

    @cached_property
    def sample(self) -> list[Window]:
        """What every evaluation during training looks at: windows with at most SAMPLE targets, or one."""
        return select_windows(self.sequences, self.block_size)

    @property
    def sampled_targets(self) -> int:
        """How many targets the sample has."""
        return sum(window.targets for window in self.sample)

    @property
    def targets(self) -> int:
        """How many there are in all."""
        return sum(map(len, self.sequences)) - len(self.sequences)

    @property
    def is_sampled(self) -> bool:
        """Whether the sample is not all there is."""
        return self.sampled_targets < self.targets

    def update(self, loss: float, engine: Engine, step: int) -> None:
        """Record the loss after `step` steps, and the parameters if it is the lowest so far."""
        if self.best is None or loss < self.best.loss:
            self.best = Best(step=step, loss=loss, evaluations_since_best=0)
            self.parameters, self.unsaved = engine.export().parameters, True
        else:
            self.best = self.best.replace(evaluations_since_best=self.best.evaluations_since_best + 1)

    @property
    def out_of_patience(self) -> bool:
        """Whether `patience` evaluations in a row brought no improvement."""
        return self.best is not None and self.best.is_out_of_patience(self.patience)


def select_windows(sequences: Sequence[Sequence[int]], block_size: int) -> list[Window]:
    """Some windows of the sequences, in their order: those whose numbers have the lowest hashes.

    Which they are depends on the sequences alone, so that evaluations can be compared, and a run that is
    resumed goes on with the same. One in every few would meet only the first, or only the second, of two
    windows a document.
    """
    import numpy as np

    targets = np.fromiter((window.targets for window in windows_in(sequences, block_size)), np.int64)
    order = np.argsort(splitmix64(0, np.arange(len(targets), dtype=np.uint64)), kind="stable")
    count = np.searchsorted(np.cumsum(targets[order]), SAMPLE, side="right")
    chosen = np.zeros(len(targets), bool)
    chosen[order[: max(1, count)]] = True
    return list(compress(windows_in(sequences, block_size), chosen))
