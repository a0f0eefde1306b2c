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
from motegpt.sequences import TokenSequences

if TYPE_CHECKING:
    from fractions import Fraction

    from motegpt.config import CutRule, DataConfig, LossMean, TrainConfig
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

    @property
    @abstractmethod
    def epoch(self) -> Fraction:
        """How many steps learn from as much as there is."""


@dataclass(frozen=True)
class DocumentPlan(Plan):
    """Sequences taken batch_size at a time, round and round, in an order of their own.

    Each sequence holds at least two tokens: all but the last are inputs, all but the first are targets.
    order: their indices as they are learned; as they are if None.
    """

    sequences: Sequence[list[int]]
    batch_size: int
    loss_mean: LossMean
    order: Sequence[int] | None = None

    def indices(self, step: int) -> list[int]:
        """Which sequences step `step` (counted from 0) learns from."""
        first, count = step * self.batch_size, len(self.sequences)
        places = [(first + b) % count for b in range(self.batch_size)]
        return places if self.order is None else [self.order[place] for place in places]

    def batch(self, step: int) -> Batch:
        return Batch.of([self.sequences[i] for i in self.indices(step)], self.loss_mean)

    def tokens(self, start: int, count: int) -> int:
        return self._tokens_before(start + count) - self._tokens_before(start)

    @property
    def epoch(self) -> Fraction:
        from fractions import Fraction

        return Fraction(len(self.sequences), self.batch_size)

    def _tokens_before(self, step: int) -> int:
        rounds, rest = divmod(step * self.batch_size, len(self.sequences))
        return rounds * self._running_tokens[-1] + self._running_tokens[rest]

    @cached_property
    def flat(self) -> TokenSequences:
        """The sequences one after the other."""
        known = self.sequences
        return known if isinstance(known, TokenSequences) else TokenSequences.of(known)

    @cached_property
    def _running_tokens(self) -> array[int]:
        """Targets of the first 0, 1, 2, … sequences."""
        order = range(len(self.sequences)) if self.order is None else self.order
        return array("q", accumulate((self.flat.length(i) - 1 for i in order), initial=0))


@dataclass(frozen=True)
class WindowPlan(Plan):
    """Random windows of one long text: block_size targets each, every start equally likely.

    stream: the text's token ids. Window b of step s starts at a hash of (seed, s, b), so
    the windows of any step are known without those before.
    """

    stream: Sequence[int] | memoryview
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

    @property
    def epoch(self) -> Fraction:
        from fractions import Fraction

        return Fraction(len(self.stream) - 1, self.batch_size * self.block_size)


def plan_of(
    documents: Sequence[str],
    tokenizer: Tokenizer,
    data: DataConfig,
    train: TrainConfig,
    block_size: int,
    order: Sequence[int] | None = None,
) -> Plan:
    """The plan of some documents, learned in that order; or of a stream, whose one text they are.

    Raises DataError if there is nothing to learn from.
    """
    if data.format == "stream":
        stream = tokenizer.encode_stream(documents)
        return WindowPlan(stream, block_size, train.batch_size, train.loss_mean, train.seed)
    sequences = sequences_of(documents, tokenizer, data, block_size)
    return DocumentPlan(sequences, train.batch_size, train.loss_mean, order)


def sequences_of(
    documents: Sequence[str], tokenizer: Tokenizer, data: DataConfig, block_size: int
) -> TokenSequences:
    """The token sequences of documents, cut to what the model can see.

    The setting cut "targets" leaves block_size targets (block_size + 1 tokens), "tokens" leaves block_size
    tokens. Raises DataError if there are no documents.
    """
    if not documents:
        raise DataError("plan: expected at least one document, got none")
    return tokenizer.encode_documents(documents).cut_to(longest_sequence(block_size, data.cut))


def longest_sequence(block_size: int, cut: CutRule) -> int:
    """How many tokens of a sequence the model can see: see sequences_of."""
    match cut:
        case "targets":
            return block_size + 1
        case "tokens":
            return block_size
        case _:
            assert_never(cut)


def sequences_to_judge(
    documents: Sequence[str], tokenizer: Tokenizer, data: DataConfig, block_size: int
) -> Sequence[list[int]]:
    """Documents as training counts their loss: cut to the block; a stream in blocks, one after the other."""
    if data.format == "stream":
        stream = tokenizer.encode_stream(documents)
        return [stream[i : i + block_size + 1].tolist() for i in range(0, len(stream) - 1, block_size)]
    return sequences_of(documents, tokenizer, data, block_size)
