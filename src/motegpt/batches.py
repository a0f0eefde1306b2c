"""The plan: which token sequences make up the batch of which step.

A plan is a pure function of the step, so it can be entered at any step without replaying those before.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Any, assert_never

from motegpt.errors import DataError
from motegpt.rng import splitmix64

if TYPE_CHECKING:
    from motegpt.config import Cut, DataConfig, LossMean, TrainConfig
    from motegpt.tokenizer import Tokenizer

    Numbers = Any  # an int, or a NumPy array of them


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
    def of(cls, sequences: Sequence[Sequence[int]], loss_mean: LossMean) -> Batch:
        """The batch of some token sequences; loss_mean as in TrainConfig."""
        lengths = [len(sequence) - 1 for sequence in sequences]
        match loss_mean:
            case "documents":
                weights = [1.0 / (len(sequences) * length) for length in lengths]
            case "tokens":
                weights = [1.0 / sum(lengths)] * len(sequences)
            case _:
                assert_never(loss_mean)
        inputs = [list(sequence[:-1]) for sequence in sequences]
        targets = [list(sequence[1:]) for sequence in sequences]
        return cls(inputs, targets, weights)


class Plan(ABC):
    """Which batch belongs to which step: all that an engine and the loop need to know of the data."""

    batch_size: int
    loss_mean: LossMean

    @abstractmethod
    def batch(self, step: int) -> Batch:
        """The batch of one step, counted from 0."""

    @abstractmethod
    def tokens(self, start: int, count: int) -> int:
        """How many targets the steps start … start + count - 1 learn from."""


@dataclass(frozen=True)
class DocumentPlan(Plan):
    """Sequences in the order of training, taken batch_size at a time, round and round.

    Each sequence holds at least two tokens: all but the last are inputs, all but the first are targets.
    """

    sequences: list[list[int]]
    batch_size: int
    loss_mean: LossMean

    def indices(self, step: int) -> list[int]:
        """Which sequences step `step` (counted from 0) learns from."""
        first = step * self.batch_size
        return [(first + b) % len(self.sequences) for b in range(self.batch_size)]

    def batch(self, step: int) -> Batch:
        return Batch.of([self.sequences[i] for i in self.indices(step)], self.loss_mean)

    def tokens(self, start: int, count: int) -> int:
        return self._tokens_before(start + count) - self._tokens_before(start)

    def _tokens_before(self, step: int) -> int:
        rounds, rest = divmod(step * self.batch_size, len(self.sequences))
        return rounds * self._running_tokens[-1] + self._running_tokens[rest]

    @cached_property
    def _running_tokens(self) -> list[int]:
        """Targets of the first 0, 1, 2, … sequences."""
        return list(accumulate((len(sequence) - 1 for sequence in self.sequences), initial=0))


@dataclass(frozen=True)
class WindowPlan(Plan):
    """Random windows of one long text: block_size targets each, every start equally likely.

    stream: the text's token ids, an array("i"). Window b of step s starts at a hash of (seed, s, b), so
    the windows of any step are known without those before.
    """

    stream: array[int]
    block_size: int
    batch_size: int
    loss_mean: LossMean
    seed: int

    def __post_init__(self) -> None:
        if self.starts < 1:
            fitting = len(self.stream) - 1
            repair = f"try `block_size={fitting}`, or a longer text" if fitting > 1 else "give a longer text"
            raise DataError(
                f"stream: expected a text of at least block_size + 1 = {self.block_size + 1} tokens, got "
                f"{len(self.stream)}; {repair}"
            )

    @property
    def starts(self) -> int:
        """How many places a window can start at."""
        return len(self.stream) - self.block_size

    def start(self, window: Numbers) -> Numbers:
        """Where a window starts; `window` is step · batch_size + b, a number or a NumPy array of uint64.

        The remainder favours the first starts over the last by less than starts / 2^64.
        """
        return splitmix64(self.seed, window) % self.starts

    def batch(self, step: int) -> Batch:
        first = step * self.batch_size
        starts = [self.start(first + b) for b in range(self.batch_size)]
        return Batch.of([self.stream[i : i + self.block_size + 1] for i in starts], self.loss_mean)

    def tokens(self, start: int, count: int) -> int:
        return count * self.batch_size * self.block_size


def plan_of(
    documents: Sequence[str], tokenizer: Tokenizer, data: DataConfig, train: TrainConfig, block_size: int
) -> Plan:
    """The plan of some documents in the order of training, or of a stream, whose one text they are.

    Raises DataError if there is nothing to learn from.
    """
    if data.format == "stream":
        stream = tokenizer.encode_stream("\n".join(documents))
        return WindowPlan(stream, block_size, train.batch_size, train.loss_mean, train.seed)
    sequences = cut_sequences(tokenizer.encode_all(documents), block_size, data.cut)
    return DocumentPlan(sequences, train.batch_size, train.loss_mean)


def sequences_to_judge(
    documents: Sequence[str], tokenizer: Tokenizer, data: DataConfig, block_size: int
) -> list[list[int]]:
    """What held-out documents are judged by: cut as in training; a stream in blocks, one after the other."""
    if data.format == "stream":
        stream = tokenizer.encode_stream("\n".join(documents)).tolist()
        return [stream[i : i + block_size + 1] for i in range(0, len(stream) - 1, block_size)]
    return cut_sequences(tokenizer.encode_all(documents), block_size, data.cut)


def cut_sequences(sequences: Sequence[list[int]], block_size: int, cut: Cut) -> list[list[int]]:
    """Shorten each sequence to what the model can see.

    cut "targets" leaves block_size targets (block_size + 1 tokens), "tokens" leaves block_size tokens.
    """
    if not sequences:
        raise DataError("plan: expected at least one document, got none")
    longest = {"targets": block_size + 1, "tokens": block_size}[cut]
    return [sequence[:longest] for sequence in sequences]
