"""The plan: order, cutting, weights."""

import pytest

from motegpt.batches import Batch, DocumentPlan, longest_sequence
from motegpt.sequences import TokenSequences


def test_documents_are_taken_in_turn_round_and_round():
    plan = DocumentPlan([[0, 1], [0, 2], [0, 3]], batch_size=2, loss_mean="documents")
    assert [plan.indices(step) for step in range(4)] == [[0, 1], [2, 0], [1, 2], [0, 1]]


def test_the_plan_can_be_entered_at_any_step():
    plan = DocumentPlan([[0, i, i] for i in range(7)], batch_size=3, loss_mean="documents")
    assert plan.batch(1000) == plan.batch(1000 % 7)


def test_cuts_as_the_presets_say():
    sequence = list(range(20))
    whole = TokenSequences.of([sequence, [1, 2]])
    assert whole.cut_to(longest_sequence(8, "targets")) == [sequence[:9], [1, 2]]  # 8 inputs, 8 targets
    assert whole.cut_to(longest_sequence(8, "tokens")) == [sequence[:8], [1, 2]]  # 7 inputs, 7 targets


def test_an_order_is_gone_through():
    plan = DocumentPlan([[0, 1], [0, 2, 3], [0, 4]], 2, "documents", order=[2, 1, 0])
    assert [plan.indices(step) for step in range(3)] == [[2, 1], [0, 2], [1, 0]]
    assert [plan.tokens(step, 1) for step in range(3)] == [3, 2, 3]


def test_inputs_and_targets_are_one_apart():
    batch = Batch.of([[5, 6, 7], [8, 9]], "documents")
    assert batch.inputs == [[5, 6], [8]]
    assert batch.targets == [[6, 7], [9]]


@pytest.mark.parametrize(
    ("loss_mean", "weights"), [("documents", [1 / 4, 1 / 2]), ("tokens", [1 / 3, 1 / 3])]
)
def test_weights_make_the_mean(loss_mean, weights):
    batch = Batch.of([[5, 6, 7], [8, 9]], loss_mean)
    assert batch.weights == weights
    assert sum(w * len(row) for w, row in zip(batch.weights, batch.inputs, strict=True)) == pytest.approx(1.0)


def test_tokens_are_counted():
    assert DocumentPlan([[0, 1], [0, 2, 3]], batch_size=1, loss_mean="documents").tokens(0, 3) == 1 + 2 + 1
