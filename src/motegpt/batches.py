"""The plan: which token sequences make up the batch of which step.

A plan is a pure function of the step, so it can be entered at any step without replaying those before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from motegpt.errors import DataError


@dataclass(frozen=True)
class Batch:
    """B ragged sequences: inputs[b][t] is the token at position t, targets[b][t] the one after it.

    weights[b] is what each -log p of sequence b counts in the loss, so that
    loss = Σ_b Σ_t weights[b] · -log p(targets[b][t]), in nats.
    """

    inputs: list[list[int]]
    targets: list[list[int]]
    weights: list[float]

    @classmethod
    def of(cls, sequences: Sequence[Sequence[int]], loss_mean: str) -> Batch:
        """The batch of some token sequences; loss_mean as in TrainConfig."""
        lengths = [len(sequence) - 1 for sequence in sequences]
        if loss_mean == "documents":
            weights = [1.0 / (len(sequences) * length) for length in lengths]
        else:
            weights = [1.0 / sum(lengths)] * len(sequences)
        inputs = [list(sequence[:-1]) for sequence in sequences]
        targets = [list(sequence[1:]) for sequence in sequences]
        return cls(inputs, targets, weights)


@dataclass(frozen=True)
class Plan:
    """Sequences in the order of training, taken batch_size at a time, round and round.

    Each sequence holds at least two tokens: all but the last are inputs, all but the first are targets.
    """

    sequences: list[list[int]]
    batch_size: int
    loss_mean: str

    def indices(self, step: int) -> list[int]:
        """Which sequences step `step` (counted from 0) learns from."""
        first = step * self.batch_size
        return [(first + b) % len(self.sequences) for b in range(self.batch_size)]

    def batch(self, step: int) -> Batch:
        """The batch of one step."""
        return Batch.of([self.sequences[i] for i in self.indices(step)], self.loss_mean)

    def tokens(self, start: int, count: int) -> int:
        """How many targets the steps start … start + count - 1 learn from."""
        return self._tokens_before(start + count) - self._tokens_before(start)

    def _tokens_before(self, step: int) -> int:
        rounds, rest = divmod(step * self.batch_size, len(self.sequences))
        return rounds * self._running_tokens[-1] + self._running_tokens[rest]

    @cached_property
    def _running_tokens(self) -> list[int]:
        """Targets of the first 0, 1, 2, … sequences."""
        return list(accumulate((len(sequence) - 1 for sequence in self.sequences), initial=0))


def cut_sequences(sequences: Sequence[list[int]], block_size: int, cut: str) -> list[list[int]]:
    """Shorten each sequence to what the model can see.

    cut "targets" leaves block_size targets (block_size + 1 tokens), "tokens" leaves block_size tokens.
    """
    if not sequences:
        raise DataError("plan: expected at least one document, got none")
    longest = block_size + 1 if cut == "targets" else block_size
    return [sequence[:longest] for sequence in sequences]
