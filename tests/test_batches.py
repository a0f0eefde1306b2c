"""The plan: order, truncation, weights, chunks."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from motegpt.data.batches import Batch, Chunk
from motegpt.data.plan import DocumentPlan, WindowPlan, longest_sequence
from motegpt.data.reshuffle import epoch_orders
from motegpt.data.sequences import TokenSequences
from motegpt.model.rng import splitmix64
from tests.conftest import random_sequences


def second_tokens(plan, steps):
    """The second token of each sequence of each step."""
    return [[row[0] for row in plan.batch(step).targets] for step in range(steps)]


def test_documents_repeat_cyclically():
    plan = DocumentPlan([[9, 0], [9, 1], [9, 2]], batch_size=2, loss_mean="documents")
    assert second_tokens(plan, 4) == [[0, 1], [2, 0], [1, 2], [0, 1]]


def test_any_step_can_be_computed_directly():
    plan = DocumentPlan([[0, i, i] for i in range(7)], batch_size=3, loss_mean="documents")
    assert plan.batch(1000) == plan.batch(1000 % 7)


def test_truncation_of_the_presets():
    sequence = list(range(20))
    whole = TokenSequences.of([sequence, [1, 2]])
    assert whole.truncate(longest_sequence(8, "targets")) == [sequence[:9], [1, 2]]  # 8 inputs, 8 targets
    assert whole.truncate(longest_sequence(8, "tokens")) == [sequence[:8], [1, 2]]  # 7 inputs, 7 targets


def test_order():
    plan = DocumentPlan([[9, 0], [9, 1, 3], [9, 2]], 2, "documents", order=[2, 1, 0])
    assert second_tokens(plan, 3) == [[2, 1], [0, 2], [1, 0]]
    assert [plan.tokens(step, 1) for step in range(3)] == [3, 2, 3]


def sorted_by_hash(seed, epoch, n):
    """The order of an epoch by its definition."""
    key, bits = splitmix64(seed, epoch), (n - 1).bit_length()
    return sorted(range(n), key=lambda index: (splitmix64(key, index) >> bits, index))


@pytest.mark.parametrize("n", [1, 2, 3, 32, 33, 1000])
def test_epochs_are_sorted_by_hashes(n):
    for seed in (0, 42, 2**64 - 1):
        orders = epoch_orders(seed, 5, 3, n)
        assert orders.tolist() == [sorted_by_hash(seed, epoch, n) for epoch in (5, 6, 7)]


def test_epochs_are_reshuffled():
    plan = DocumentPlan([[9, i] for i in range(50)], 5, "documents", order=range(49, -1, -1), seed=3)
    numbers = [number for step in second_tokens(plan, 40) for number in step]
    epochs = [numbers[i : i + 50] for i in (0, 50, 100, 150)]
    assert epochs[0] == list(plan.order)
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
    assert len(set(map(tuple, epochs))) == 4


@given(start=st.integers(0, 10**15), count=st.integers(0, 30), size=st.integers(1, 12))
def test_tokens_of_reshuffled_epochs_are_those_of_the_batches(start, count, size):
    """In any order of asking, and where a batch has several epochs."""
    plan = PLANS["documents reshuffled"](batch_size=size, loss_mean="tokens")
    expected = sum(len(row) for i in range(count) for row in plan.batch(start + i).targets)
    assert plan.tokens(start, count) == expected == int((plan.chunk(start, count).lengths - 1).sum())
    assert plan.tokens(0, start + count) - plan.tokens(0, start) == expected


def test_targets_are_inputs_shifted_by_one():
    batch = Batch.of([[5, 6, 7], [8, 9]], "documents")
    assert batch.inputs == [[5, 6], [8]]
    assert batch.targets == [[6, 7], [9]]


@pytest.mark.parametrize(
    ("loss_mean", "weights"), [("documents", [[1 / 4] * 2, [1 / 2]]), ("tokens", [[1 / 3] * 2, [1 / 3]])]
)
def test_weights_compute_the_mean(loss_mean, weights):
    batch = Batch.of([[5, 6, 7], [8, 9]], loss_mean)
    assert batch.weights == weights
    assert sum(map(sum, batch.weights)) == pytest.approx(1.0)


def test_tokens_are_counted():
    assert DocumentPlan([[0, 1], [0, 2, 3]], batch_size=1, loss_mean="documents").tokens(0, 3) == 1 + 2 + 1


PLANS = {
    "documents": lambda **kinds: DocumentPlan(random_sequences(1, 7, 9), **kinds),
    "documents in order, cut": lambda **kinds: DocumentPlan(
        TokenSequences.of(random_sequences(2, 5, 9)).truncate(5), order=[3, 0, 4, 1, 2], **kinds
    ),
    "documents reshuffled": lambda **kinds: DocumentPlan(random_sequences(3, 5, 9), seed=2**64 - 1, **kinds),
    "windows": lambda **kinds: WindowPlan(memoryview(bytes(range(40))), 6, seed=3, **kinds),
}


def concatenated(chunks):
    """The concatenated arrays of chunks of one plan."""
    arrays = [dataclasses.astuple(chunk)[1:] for chunk in chunks]
    return [np.concatenate(parts).tolist() for parts in zip(*arrays, strict=True)]


@pytest.mark.parametrize("plan", PLANS)
@given(start=st.integers(0, 10**15), count=st.integers(1, 9), size=st.integers(1, 12), mean=st.booleans())
def test_chunk_equals_its_batches(plan, start, count, size, mean):
    learned = PLANS[plan](batch_size=size, loss_mean="documents" if mean else "tokens")
    chunk = learned.chunk(start, count)
    assert chunk.starts.shape == chunk.lengths.shape == (count, size)
    assert list(chunk.batches()) == [learned.batch(start + i) for i in range(count)]
    assert concatenated([chunk]) == concatenated([learned.chunk(start + i, 1) for i in range(count)])
    assert np.shares_memory(chunk.tokens, np.asarray(learned.memory))


@given(seeds=st.lists(st.integers(0, 99), min_size=1, max_size=4), size=st.integers(1, 4))
def test_batches_round_trip_through_a_chunk(seeds, size):
    batches = [Batch.of(random_sequences(seed, size, 5), "documents") for seed in seeds]
    assert list(Chunk.of(batches).batches()) == batches


@pytest.mark.parametrize("plan", PLANS)
def test_empty_chunk(plan):
    assert list(PLANS[plan](batch_size=2, loss_mean="tokens").chunk(5, 0).batches()) == []


def test_an_epoch_covers_every_target():
    assert [PLANS[plan](batch_size=2, loss_mean="tokens").targets for plan in PLANS] == [
        sum(len(row) - 1 for row in random_sequences(1, 7, 9)),
        sum(min(len(row), 5) - 1 for row in random_sequences(2, 5, 9)),
        sum(len(row) - 1 for row in random_sequences(3, 5, 9)),
        39,
    ]
