"""The validation loss during training, and the best model so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from motegpt.evaluation.nll import Means, max_positions, mean_nll, means_over, nll_by_window
from motegpt.evaluation.windows import Window, chunks_of, counted_targets, flat_sequences, window_table
from motegpt.model.rng import splitmix64
from motegpt.training.state import Best

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from motegpt.data.batches import Chunk
    from motegpt.data.sequences import TokenSequences
    from motegpt.engines.base import Arrays, Engine, LanguageModel
    from motegpt.ngrams.kneser_ney import KneserNey

# Targets per evaluation during training. With a standard deviation of about 1.2 nats per target, the standard
# error of the mean is 0.02 nats; an evaluation takes as long as about 300 training steps on one name.
SAMPLE = 4096


@dataclass
class ValidationSet:
    """The data of evaluations; trainings with the same share one.

    sequences: whole documents, as in `motegpt eval`; block_size, vocab_size: of the model.
    """

    sequences: Sequence[Sequence[int]]
    block_size: int
    vocab_size: int

    @cached_property
    def sample(self) -> list[Window]:
        """The windows used by evaluations during training: at most SAMPLE targets, or one window."""
        return [Window(*row) for row in self._table.tolist()]

    @cached_property
    def chunks(self) -> list[Chunk]:
        """The sample, as batches for an engine."""
        return [chunk for _, chunk in chunks_of(self._flat, self._table, max_positions(self.vocab_size))]

    def means(self, model: LanguageModel) -> Means:
        """The loss and the accuracy on the sample."""
        return means_over(model, self.chunks)

    @cached_property
    def sampled_targets(self) -> int:
        """The number of targets in the sample that count."""
        return int(counted_targets(self._flat, self._table).sum())

    @cached_property
    def targets(self) -> int:
        """The number of targets in the validation set that count."""
        return int(self._flat.counted().sum())

    @cached_property
    def _flat(self) -> TokenSequences:
        return flat_sequences(self.sequences)

    @cached_property
    def _table(self) -> NDArray[np.int64]:
        return select_windows(self._flat, self.block_size)


@dataclass
class Validation:
    """The validation set, the best evaluation so far, and its parameters if this process computed it.

    unsaved: the parameters are not yet in the run folder.
    """

    data: ValidationSet
    patience: int | None = None
    best: Best | None = None
    parameters: Arrays | None = None
    unsaved: bool = False

    def full_loss(self, engine: LanguageModel) -> float:
        """The loss on the entire validation set, in nats per token."""
        return mean_nll(engine, self.data.sequences)

    def fitted_weight(self, engine: Engine, n_grams: KneserNey) -> float:
        """The weight of n-grams averaged with the current parameters that fits the sample best."""
        import numpy as np

        from motegpt.ngrams.average import fitted_weight

        sequences, windows = self.data.sequences, self.data.sample
        nll = [part for _, part in nll_by_window(engine, sequences, windows)]
        offsets = np.cumsum([0, *(len(sequence) - 1 for sequence in sequences)])
        p = n_grams.probabilities(sequences)
        sampled = [p[offsets[one.sequence] + one.first : offsets[one.sequence] + one.end] for one in windows]
        return fitted_weight(np.exp(-np.concatenate(nll)), np.concatenate(sampled))

    @property
    def is_sampled(self) -> bool:
        """Whether the sample is smaller than the validation set."""
        return self.data.sampled_targets < self.data.targets

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


def select_windows(sequences: TokenSequences, block_size: int) -> NDArray[np.int64]:
    """A random sample of the windows, in order: those whose indices have the lowest hashes.

    The sample depends only on the sequences, so evaluations are comparable, also after resuming. (Taking
    every nth window could select only the first window of each document.)
    """
    import numpy as np

    windows = window_table(sequences, block_size)
    counts = counted_targets(sequences, windows)
    windows, counts = windows[counts > 0], counts[counts > 0]
    order = np.argsort(splitmix64(0, np.arange(len(counts), dtype=np.uint64)), kind="stable")
    count = np.searchsorted(np.cumsum(counts[order]), SAMPLE, side="right")
    return windows[np.sort(order[: max(1, count)])]
