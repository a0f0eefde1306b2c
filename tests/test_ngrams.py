"""N-gram baselines against counts by hand."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motegpt.ngrams.counts import NAMES, NGram, baselines

A, B, END = 0, 1, 2


def test_probabilities_by_hand():
    """Training data: end a b a end. After a, b and end occur once each."""
    model = NGram([[END, A, B, A, END]], 2, 3)
    unigram = {A: (2 + 3 / 3) / (4 + 3), B: (1 + 3 / 3) / 7, END: (1 + 3 / 3) / 7}
    for token, p in unigram.items():
        assert model.probability((token,)) == pytest.approx(p)
    assert model.probability((A, B)) == pytest.approx((1 + 2 * unigram[B]) / (2 + 2))
    assert model.probability((A, A)) == pytest.approx((0 + 2 * unigram[A]) / (2 + 2))
    assert model.probability((B, A)) == pytest.approx((1 + 1 * unigram[A]) / (1 + 1))


@given(
    sequences=st.lists(st.lists(st.integers(0, 3), min_size=2, max_size=9), min_size=1, max_size=6),
    context=st.lists(st.integers(0, 4), max_size=2),
    order=st.integers(1, 3),
)
def test_probabilities_sum_to_one_after_any_context(sequences, context, order):
    model = NGram(sequences, order, 5)
    context = context[-(order - 1) :] if order > 1 else []
    assert sum(model.probability((*context, token)) for token in range(5)) == pytest.approx(1.0)
    assert all(model.probability((*context, token)) > 0 for token in range(5))


def test_baselines_of_a_source_with_known_entropy():
    """Fair coin flips, each repeated once: log 2 per two tokens; fewer with one token of context."""
    chance = random.Random(1)
    sequence = [token for _ in range(4000) for token in [chance.randrange(2)] * 2]
    losses = baselines([sequence], [sequence], 2)
    assert list(losses) == list(NAMES)
    assert losses["uniform"] == pytest.approx(math.log(2))
    assert losses["unigram"] == pytest.approx(math.log(2), abs=0.01)
    same = 0.75  # P(token equals its predecessor): 1 within a pair, 1/2 between pairs
    assert losses["bigram"] == pytest.approx(-same * math.log(same) - 0.25 * math.log(0.25), abs=0.01)
    assert losses["trigram"] < losses["bigram"]


def test_the_mean_over_documents_weights_them_equally():
    training, evaluated = [[END, A, END]], [[END, A, END], [END, B, B, B, B, B, B, END]]
    apart = [baselines(training, [one], 3, "documents")["bigram"] for one in evaluated]
    assert baselines(training, evaluated, 3, "documents")["bigram"] == pytest.approx(sum(apart) / 2)
    tokens = baselines(training, evaluated, 3, "tokens")["bigram"]
    assert tokens == pytest.approx((2 * apart[0] + 7 * apart[1]) / 9)


def test_longer_contexts_give_lower_losses(names_txt):
    names = names_txt.read_text().split()
    letters = {letter: i for i, letter in enumerate(sorted(set("".join(names))))}
    sequences = [[26, *(letters[c] for c in name), 26] for name in names]
    losses = baselines(sequences[::2], sequences[1::2], 27)
    assert losses["uniform"] == pytest.approx(math.log(27))
    assert list(losses.values()) == sorted(losses.values(), reverse=True)
    assert losses["bigram"] == pytest.approx(
        2.46, abs=0.01
    )  # makemore's own bigram: 2.4541 on its training data
