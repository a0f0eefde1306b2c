"""Log-probabilities and losses, against sums over whole spaces and against training's own loss."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from motegpt.data.batches import Batch, Chunk
from motegpt.data.sequences import TokenSequences
from motegpt.data.tokenizers import CharacterTokenizer
from motegpt.evaluation.nll import evaluate, mean_nll, score_texts, sequence_nll, token_nll
from motegpt.evaluation.windows import window_table, windows_in, windows_of
from tests.conftest import ENGINES_HERE, engine_that_says, random_sequences, small_engine, small_settings

TOKENIZER = CharacterTokenizer("abcde", "bos")


@pytest.fixture(params=ENGINES_HERE)
def engine(request):
    return small_engine(request.param, small_settings())


def test_the_mean_loss_is_the_mean_over_tokens_that_training_counts(engine):
    sequences = random_sequences(1, 7, engine.model.block_size)
    batch = Batch.of(sequences, "tokens")
    assert mean_nll(engine, sequences) == pytest.approx(engine.gradients(batch)[0], abs=1e-12)


def test_the_mean_loss_of_some_windows_is_that_of_their_targets(engine):
    sequences = random_sequences(2, 5, 20)
    windows = list(windows_in(sequences, engine.model.block_size))
    costs = token_nll(engine, sequences)
    counted = [cost for w in windows[1::2] for cost in costs[w.sequence][w.first : w.end]]
    assert mean_nll(engine, sequences, windows[1::2]) == pytest.approx(np.mean(counted), abs=1e-12)
    assert sum(window.targets for window in windows) == sum(map(len, costs))


def test_probabilities_of_all_texts_of_a_length_add_up(engine):
    """Σ p over every text of up to two characters, and over those of three that went on, is one."""
    texts = ["".join(word) for n in range(3) for word in itertools.product("abcde", repeat=n)]
    ended = sum(math.exp(score.log_probability) for score in score_texts(engine, TOKENIZER, texts))
    longer = 0.0
    for word in itertools.product(range(5), repeat=3):
        longer += math.exp(-token_nll(engine, [[TOKENIZER.bos, *word]])[0].sum())
    assert ended + longer == pytest.approx(1.0, abs=1e-9)


def test_bits_a_character_count_the_end():
    engine = small_engine("array", small_settings())
    (score,) = score_texts(engine, TOKENIZER, ["abc"])
    assert (score.tokens, score.characters) == (4, 4)
    assert score.bits_per_character == pytest.approx(-score.log_probability / 4 / math.log(2))


def test_an_unknown_character_has_probability_zero():
    engine = small_engine("array", small_settings())
    known, unknown, again = score_texts(engine, TOKENIZER, ["ab", "aXb", "ab"])
    assert unknown.log_probability == -math.inf
    assert known == again
    assert math.isfinite(known.log_probability)


def test_each_text_is_encoded_once(monkeypatch):
    kind, encoded, encode = CharacterTokenizer, [], CharacterTokenizer.encode
    monkeypatch.setattr(kind, "encode", lambda self, text: encoded.append(text) or encode(self, text))
    engine, texts = small_engine("array", small_settings()), ["ab", "aXb", "abc"]
    score_texts(engine, TOKENIZER, texts)
    evaluate(engine, TOKENIZER, texts, ["cab"])
    assert [text for text in encoded if text] == [*texts, *texts, "cab"]


def test_groups_do_not_change_the_costs(engine, monkeypatch):
    sequences = random_sequences(2, 9, 20)
    whole = token_nll(engine, sequences)
    mean, sums = mean_nll(engine, sequences), sequence_nll(engine, sequences)
    np.testing.assert_allclose(sums, [nll.sum() for nll in whole], rtol=1e-12)
    monkeypatch.setattr("motegpt.evaluation.nll.MAX_LOGITS", 1)
    monkeypatch.setattr("motegpt.engines.losses.MAX_SOFTMAX_LOGITS", 1)
    for one, other in zip(whole, token_nll(engine, sequences), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)
    assert mean_nll(engine, sequences) == pytest.approx(mean, abs=1e-12)
    np.testing.assert_allclose(sequence_nll(engine, sequences), sums, rtol=1e-12)


def test_losses_of_sequences_with_weights(engine):
    """Σ weights · -log p, and the targets that are the most likely token; others of weight 0 do not count."""
    batch = Batch.of(random_sequences(4, 40, 6), "tokens")
    weights = [[(b + t) % 3 / 2 for t in range(len(row))] for b, row in enumerate(batch.inputs)]
    losses, likely = engine.nll(Chunk.of([replace(batch, weights=weights)]))
    for b, logits in enumerate(np.float64(one) for one in engine.logits(batch)):
        log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        at_targets = log_p[np.arange(len(logits)), batch.targets[b]]
        assert losses[b] == pytest.approx(-at_targets @ weights[b], abs=1e-12)
        counted = np.array(weights[b]) != 0
        assert likely[b] == (logits.argmax(axis=1) == batch.targets[b])[counted].sum()
    assert likely.sum() > 0


@pytest.mark.parametrize("name", ENGINES_HERE)
def test_the_first_of_equal_tokens_is_the_likely_one(name):
    engine = engine_that_says([1.0, 3.0, 3.0], name)
    chunk = Chunk.of([Batch([[0, 0, 1, 2]], [[0, 1, 2, 1]], [[1.0, 1.0, 1.0, 0.0]])])
    assert engine.nll(chunk).likely.tolist() == [1]


def test_losses_that_are_not_finite(engine):
    parameters = engine.parameters()
    head = np.zeros_like(parameters["lm_head"])
    head[2] = np.nan
    engine.load({**parameters, "lm_head": head})
    chunk = Chunk.of([Batch([[0, 1]], [[1, 1]], [[1.0, 0.0]])])
    with np.errstate(all="ignore"):
        assert np.isnan(engine.nll(chunk).losses[0])


@given(lengths=st.lists(st.integers(1, 60), min_size=1, max_size=9), block=st.integers(2, 17))
def test_all_windows_at_once(lengths, block):
    sequences = TokenSequences.of([[0] * length for length in lengths])
    assert [tuple(row) for row in window_table(sequences, block).tolist()] == list(
        windows_in(sequences, block)
    )


@given(targets=st.integers(1, 100), block=st.integers(2, 17))
def test_windows_evaluate_every_target_once_and_keep_half_a_block_of_context(targets, block):
    evaluated = []
    for start, first, end in windows_of(targets, block):
        assert 0 <= start <= first < end <= targets
        assert end - start <= block
        assert start == 0 or first - start >= block - block // 2 - 1
        evaluated += range(first, end)
    assert evaluated == list(range(targets))


def test_a_long_text_is_evaluated_window_by_window():
    engine = small_engine("array", small_settings())
    (sequence,) = random_sequences(3, 1, 10)
    (costs,) = token_nll(engine, [sequence])
    by_hand = [token_nll(engine, [sequence[:7]])[0], token_nll(engine, [sequence[3:10]])[0][3:],
               token_nll(engine, [sequence[4:]])[0][5:]]  # fmt: skip
    np.testing.assert_allclose(costs, np.concatenate(by_hand), atol=1e-12)
