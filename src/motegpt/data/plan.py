"""The plan: the token sequences in the batch of each step.

A plan is a pure function of the step, so training can resume at any step without replaying earlier ones.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, assert_never

from motegpt.config.text import shortened
from motegpt.data.batches import Batch, Chunk, target_weight
from motegpt.data.sequences import TokenSequences, positions, running_count, take
from motegpt.errors import DataError
from motegpt.model.rng import splitmix64

if TYPE_CHECKING:
    from fractions import Fraction

    import numpy as np
    from numpy.typing import NDArray

    from motegpt.config.sections import DataConfig, TrainConfig
    from motegpt.config.sections.data import CutRule
    from motegpt.config.sections.train import LossMean
    from motegpt.data.reshuffle import EpochOrders
    from motegpt.data.sequences import Mask
    from motegpt.data.tokenizers import Tokenizer

    Numbers = Any  # an int, or a NumPy array of them


class Plan(ABC):
    """The batch of each step: the only view of the data for engines and the training loop.

    Sequences are numbered in training order: step s uses the sequences s · batch_size …
    (s + 1) · batch_size - 1.
    """

    batch_size: int
    loss_mean: LossMean

    @property
    def mask(self) -> Mask | None:
        """The weight of each token of `memory` as a target, 0 for one that does not count; None: all are 1.

        Every sequence has a target that counts.
        """
        return None

    @property
    @abstractmethod
    def memory(self) -> Sequence[int] | memoryview:
        """Flat token ids; every sequence is a slice of them."""

    @abstractmethod
    def span(self, number: Numbers) -> tuple[Numbers, Numbers]:
        """Offset in `memory` and number of tokens, at least two, of a sequence.

        number: an int, or a NumPy array of int64 with the same results.
        """

    def batch(self, step: int) -> Batch:
        """The batch of one step, counted from 0; the reference for `chunk`. Standard library only, unless
        epochs are reshuffled.
        """
        first, mask = step * self.batch_size, self.mask
        spans = [self.span(number) for number in range(first, first + self.batch_size)]
        masks = None if mask is None else [mask[start + 1 : start + length] for start, length in spans]
        sequences = [self.memory[start : start + length] for start, length in spans]
        return Batch.of(sequences, self.loss_mean, masks)

    def chunk(self, start: int, count: int) -> Chunk:
        """The batches of the steps start … start + count - 1, as views of the plan's memory."""
        import numpy as np

        first, zeros = start * self.batch_size, np.zeros((count, self.batch_size), np.int64)
        numbers = np.arange(first, first + zeros.size, dtype=np.int64).reshape(zeros.shape)
        starts, lengths = (zeros + part for part in self.span(numbers))
        targets = totals = lengths - 1
        if self.mask is not None:
            own = np.asarray(self.mask)[positions(starts.ravel() + 1, targets.ravel())]
            firsts = np.cumsum(targets) - targets.ravel()
            totals = np.add.reduceat(own, firsts, dtype=np.float64).reshape(zeros.shape) if count else zeros
        per_step = totals.sum(axis=1, keepdims=True)
        of_sequences = zeros + target_weight(self.loss_mean, totals, self.batch_size, per_step)
        weights = np.repeat(of_sequences.ravel(), targets.ravel())
        if self.mask is not None:
            weights *= own
        return Chunk(np.asarray(self.memory), starts, lengths, weights)

    @abstractmethod
    def inputs(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Offset in `memory` and number of inputs of each sequence of the data, or of the stream as one."""

    @property
    @abstractmethod
    def targets(self) -> int:
        """Number of targets in the training data."""

    @property
    @abstractmethod
    def targets_per_sequence(self) -> float:
        """Mean number of targets of a sequence."""

    @abstractmethod
    def tokens(self, start: int, count: int) -> int:
        """Number of targets in the steps start … start + count - 1."""

    @property
    @abstractmethod
    def epoch(self) -> Fraction:
        """Number of steps per pass over the training data."""


@dataclass(frozen=True)
class DocumentPlan(Plan):
    """All sequences once per epoch, batch_size per step; a step may have sequences of two epochs or more.

    Each sequence has at least two tokens: all but the last are inputs, all but the first are targets.
    order: indices of the sequences in training order; None keeps their own. seed: of the orders of the epochs
    after the first, which need NumPy; None repeats the same order.
    """

    sequences: Sequence[list[int]]
    batch_size: int
    loss_mean: LossMean
    order: Sequence[int] | None = None
    seed: int | None = None

    @property
    def memory(self) -> memoryview:
        return self.flat.tokens

    @property
    def mask(self) -> Mask | None:
        return self.flat.mask

    def span(self, number: Numbers) -> tuple[Numbers, Numbers]:
        if self._epochs is not None:
            return self.flat.span(self._epochs.index(number))
        index = number % len(self.sequences)
        return self.flat.span(index if self.order is None else take(self.order, index))

    def inputs(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        import numpy as np

        starts, lengths = self.flat.span(np.arange(len(self.sequences)))
        return starts, lengths - 1

    @property
    def targets(self) -> int:
        return self._running_tokens[-1]

    @property
    def targets_per_sequence(self) -> float:
        return self.targets / len(self.sequences)

    def tokens(self, start: int, count: int) -> int:
        return self._tokens_before(start + count) - self._tokens_before(start)

    @property
    def epoch(self) -> Fraction:
        from fractions import Fraction

        return Fraction(len(self.sequences), self.batch_size)

    def _tokens_before(self, step: int) -> int:
        epochs, rest = divmod(step * self.batch_size, len(self.sequences))
        if self._epochs is not None:
            return epochs * self.targets + self._epochs.length_before(epochs, rest)
        return epochs * self.targets + self._running_tokens[rest]

    @cached_property
    def flat(self) -> TokenSequences:
        """The sequences in flat memory."""
        sequences = self.sequences
        return sequences if isinstance(sequences, TokenSequences) else TokenSequences.of(sequences)

    @cached_property
    def _epochs(self) -> EpochOrders | None:
        """The orders of the epochs; None where all have the same."""
        if self.seed is None:
            return None
        import numpy as np

        from motegpt.data.reshuffle import EpochOrders

        _, lengths = self.flat.span(np.arange(len(self.sequences)))
        return EpochOrders(self.seed, lengths - 1, self.order)

    @cached_property
    def _running_tokens(self) -> Sequence[int]:
        """Number of targets of the first 0, 1, 2, … sequences."""
        import numpy as np

        order = np.arange(len(self.sequences)) if self.order is None else np.asarray(self.order)
        totals = np.zeros(len(order) + 1, np.int64)
        np.cumsum(self.flat.span(order)[1] - 1, out=totals[1:])
        return array("q", totals.tobytes())


@dataclass(frozen=True)
class WindowPlan(Plan):
    """Random windows of a stream: block_size targets each, every start equally likely.

    stream: token ids. Window b of step s starts at a hash of (seed, s, b), so the windows of a step do not
    depend on earlier ones. mask: as Plan.mask; starts whose windows have no target that counts are left out.
    """

    stream: Sequence[int] | memoryview
    block_size: int
    batch_size: int
    loss_mean: LossMean
    seed: int
    mask: Mask | None = None

    def __post_init__(self) -> None:
        if len(self.stream) <= self.block_size:
            fitting = len(self.stream) - 1
            repair = f"try `block_size={fitting}`, or more data" if fitting > 1 else "give more data"
            raise DataError(
                f"stream: expected at least block_size + 1 = {self.block_size + 1} tokens, got "
                f"{len(self.stream)}; {repair}"
            )
        if not self.starts:
            raise DataError("mask: expected at least one unmasked target in the training data, got none")

    @property
    def starts(self) -> int:
        """Number of possible starts of a window."""
        return len(self.stream) - self.block_size if self._starts is None else len(self._starts)

    @cached_property
    def _starts(self) -> NDArray[np.int64] | None:
        """The possible starts; None if all are."""
        if self.mask is None:
            return None
        import numpy as np

        starts, before = np.arange(len(self.stream) - self.block_size), running_count(self.mask)
        return starts[before[starts + self.block_size + 1] > before[starts + 1]]

    def start(self, window: Numbers) -> Numbers:
        """Offset of window step · batch_size + b, an int or a NumPy array of uint64.

        The modulo bias towards the first starts is less than starts / 2^64.
        """
        index = splitmix64(self.seed, window) % self.starts
        if self._starts is None:
            return index
        return int(self._starts[index]) if isinstance(index, int) else self._starts[index]

    @property
    def memory(self) -> Sequence[int] | memoryview:
        return self.stream

    def span(self, number: Numbers) -> tuple[Numbers, int]:
        if isinstance(number, int):
            return self.start(number), self.block_size + 1
        return self.start(number.astype("uint64")).astype("int64"), self.block_size + 1

    def inputs(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        import numpy as np

        return np.array([0]), np.array([len(self.stream) - 1])

    @property
    def targets(self) -> int:
        return len(self.stream) - 1

    @property
    def targets_per_sequence(self) -> float:
        return float(self.block_size)

    def tokens(self, start: int, count: int) -> int:
        return count * self.batch_size * self.block_size

    @property
    def epoch(self) -> Fraction:
        from fractions import Fraction

        return Fraction(self.targets, self.batch_size * self.block_size)


def plan_of(
    documents: Sequence[str],
    tokenizer: Tokenizer,
    data: DataConfig,
    train: TrainConfig,
    block_size: int,
    order: Sequence[int] | None = None,
) -> Plan:
    """The plan of documents in the given order, or of a stream, which is a single document.

    Raises DataError if there is nothing to learn from.
    """
    return plan_of_sequences(encode(documents, tokenizer), data, train, block_size, order)


def encode(documents: Sequence[str], tokenizer: Tokenizer) -> TokenSequences:
    """The ids of whole documents, or of a stream as one sequence; DataError if there are no documents."""
    if tokenizer.is_stream and not tokenizer.is_ids:
        return TokenSequences.of_stream(tokenizer.encode_stream(documents))
    if not documents:
        raise DataError("plan: expected at least one document, got none")
    return tokenizer.encode_documents(documents)


def plan_of_sequences(
    ids: TokenSequences,
    data: DataConfig,
    train: TrainConfig,
    block_size: int,
    order: Sequence[int] | None = None,
) -> Plan:
    """The plan of encoded documents, which are truncated to block_size, or of a stream, a single sequence.

    cut="targets" keeps block_size targets (block_size + 1 tokens), cut="tokens" block_size tokens. Raises
    DataError for a stream without a window, and for a document without a target that counts.
    """
    if data.is_stream:
        return WindowPlan(ids.tokens, block_size, train.batch_size, train.loss_mean, train.seed, ids.mask)
    sequences = ids.truncate(longest_sequence(block_size, data.cut))
    check_targets(sequences, block_size)
    seed = train.seed if data.reshuffle else None
    return DocumentPlan(sequences, train.batch_size, train.loss_mean, order, seed)


def check_targets(sequences: TokenSequences, block_size: int) -> None:
    """DataError if a sequence, as block_size truncates it, has no target that counts."""
    if sequences.mask is not None and not (counts := sequences.counted()).all():
        sequence = sequences[int(counts.argmin())]
        raise DataError(
            f"block_size: expected an unmasked target of every sequence in it, got {block_size}, with none "
            f"among the first {len(sequence)} ids of one, {shortened(sequence)}; try a larger one, or leave "
            "out such sequences"
        )


def longest_sequence(block_size: int, cut: CutRule) -> int:
    """Maximum number of tokens of a sequence; see plan_of_sequences."""
    match cut:
        case "targets":
            return block_size + 1
        case "tokens":
            return block_size
        case _:
            assert_never(cut)


def validation_sequences(
    documents: Sequence[str], tokenizer: Tokenizer, data: DataConfig, block_size: int
) -> Sequence[list[int]]:
    """Sequences for the validation loss: documents truncated as in training, a stream in adjacent blocks."""
    ids = encode(documents, tokenizer)
    if data.is_stream:
        return [
            ids.tokens[i : i + block_size + 1].tolist() for i in range(0, len(ids.tokens) - 1, block_size)
        ]
    return ids.truncate(longest_sequence(block_size, data.cut))
