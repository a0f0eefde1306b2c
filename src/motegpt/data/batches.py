"""What engines train on: the batch of a step, and the batches of a chunk of steps as flat arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, chain, islice
from typing import TYPE_CHECKING, Any, assert_never

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from motegpt.config.sections.train import LossMean

    Numbers = Any  # an int, or a NumPy array of them


@dataclass(frozen=True)
class Batch:
    """B ragged sequences: inputs[b][t] is the token at position t, targets[b][t] the next one.

    weights[b][t] is the weight of a target in the loss, 0 to ignore it:
    loss = Σ_b Σ_t weights[b][t] · -log p(targets[b][t]), in nats.
    """

    inputs: list[list[int]]
    targets: list[list[int]]
    weights: list[list[float]]

    @classmethod
    def of(
        cls,
        sequences: Sequence[Sequence[int]],
        loss_mean: LossMean,
        masks: Sequence[Sequence[float]] | None = None,
    ) -> Batch:
        """The batch of some token sequences; loss_mean as in TrainConfig.

        masks: the weight of each target in the mean, at least 0, and above it somewhere in every sequence.
        None: all are 1.
        """
        lengths = [len(sequence) - 1 for sequence in sequences]
        counts = lengths if masks is None else [sum(mask) for mask in masks]
        inputs = [list(sequence[:-1]) for sequence in sequences]
        targets = [list(sequence[1:]) for sequence in sequences]
        each = [target_weight(loss_mean, n, len(counts), sum(counts)) for n in counts]
        if masks is None:
            return cls(inputs, targets, [[weight] * n for weight, n in zip(each, lengths, strict=True)])
        weights = [[weight * one for one in mask] for weight, mask in zip(each, masks, strict=True)]
        return cls(inputs, targets, weights)


def target_weight(loss_mean: LossMean, targets: Numbers, sequences: int, all_targets: Numbers) -> Numbers:
    """Weight of each target of a sequence in the mean over a batch; loss_mean as in TrainConfig.

    targets: number of targets in the sequence, or the sum of their weights in a mask, which multiply the
    result; sequences, all_targets: in the batch. Numbers or NumPy arrays.
    """
    match loss_mean:
        case "documents":
            return 1.0 / (sequences * targets)
        case "tokens":
            return 1.0 / all_targets
        case _:
            assert_never(loss_mean)


@dataclass(frozen=True, eq=False)
class Chunk:
    """The batches of consecutive steps as flat arrays.

    tokens: flat ids, possibly many more than these steps use; starts, lengths (count, B): offset in `tokens`
    and number of tokens of each sequence of each step; weights (Σ (lengths - 1)): of the targets of all
    sequences, concatenated.
    """

    tokens: NDArray[Any]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    weights: NDArray[np.float64]

    @classmethod
    def of(cls, batches: Sequence[Batch]) -> Chunk:
        """A chunk of batches with equal numbers of sequences, one batch per step."""
        import numpy as np

        rows = [
            [*inputs, targets[-1]]
            for batch in batches
            for inputs, targets in zip(batch.inputs, batch.targets, strict=True)
        ]
        lengths = np.array([len(row) for row in rows], np.int64)
        shape = (len(batches), -1)
        return cls(
            np.concatenate(rows, dtype=np.int32, casting="unsafe"),
            (np.cumsum(lengths) - lengths).reshape(shape),
            lengths.reshape(shape),
            np.fromiter(chain.from_iterable(row for batch in batches for row in batch.weights), np.float64),
        )

    def batch(self, i: int) -> Batch:
        """The batch of step i of the chunk."""
        lengths = self.lengths[i].tolist()
        rows = [
            self.tokens[start : start + length].tolist()
            for start, length in zip(self.starts[i].tolist(), lengths, strict=True)
        ]
        weights = iter(self.weights_of(slice(i, i + 1)).tolist())
        return Batch(
            [row[:-1] for row in rows],
            [row[1:] for row in rows],
            [list(islice(weights, length - 1)) for length in lengths],
        )

    def weights_of(self, steps: slice) -> NDArray[np.float64]:
        """The weights of consecutive steps of the chunk."""
        return self.weights[self._targets_before[steps.start] : self._targets_before[steps.stop]]

    def batches(self) -> Iterator[Batch]:
        """The batch of each step."""
        return map(self.batch, range(len(self.starts)))

    @cached_property
    def _targets_before(self) -> list[int]:
        """Number of targets of the first 0, 1, 2, … steps."""
        return list(accumulate((self.lengths - 1).sum(axis=1).tolist(), initial=0))
