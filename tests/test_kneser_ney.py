"""Kneser-Ney n-grams against numbers by hand, a slow reference, and what is known of the public names."""

import random
from collections import Counter, defaultdict
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from motegpt.data.tokenizers import Tokenizer
from motegpt.ngrams.counts import KNESER_NEY, baselines
from motegpt.ngrams.kneser_ney import SMALL_ORDER, KneserNey, chosen_order, losses_by_order

A, B, END = 0, 1, 2
SEQUENCES = st.lists(
    st.lists(st.integers(0, 3), max_size=9).map(lambda text: [4, *text, 4]), min_size=1, max_size=8
)


def test_probabilities_by_hand():
    """Training data: end a b end, end a end.

    Pairs: end a twice, a b, b end and a end once: n = 3, 1, 0, 0, Y = 3/5, D(1) = 1 - 2 · 3/5 · 1/3 = 3/5,
    D(2) = 2, which is bounded by 1.98. Single tokens by what precedes them: a and b 1, end 2: n = 2, 1, 0, 0,
    Y = 1/2, D(1) = 1/2, D(2) = 1.98 again.
    """
    model = KneserNey.count([[END, A, B, END], [END, A, END]], order=2, vocab_size=3)
    backoff = (2 * Fraction(1, 2) + Fraction("1.98")) / 4 / 3
    single = {A: Fraction(1, 8) + backoff, B: Fraction(1, 8) + backoff, END: Fraction("0.02") / 4 + backoff}
    assert sum(single.values()) == 1
    after_a = {token: Fraction(3, 5) * p for token, p in single.items()}
    after_a[B] += (1 - Fraction(3, 5)) / 2
    after_a[END] += (1 - Fraction(3, 5)) / 2
    after_end = {token: Fraction("1.98") / 2 * p for token, p in single.items()}
    after_end[A] += Fraction("0.02") / 2
    found = model.distribution(
        np.array([[A], [END], [3]])
    )  # 3: before the beginning, never a context of targets
    for row, expected in zip(found, (after_a, after_end, single), strict=True):
        np.testing.assert_allclose(row, [float(expected[token]) for token in (A, B, END)], rtol=1e-15)
    p = model.probabilities([[END, A, B, A], [END, END]])
    expected = [after_end[A], after_a[B], 0, after_end[END]]
    np.testing.assert_allclose(p[[0, 1, 3]], [float(expected[i]) for i in (0, 1, 3)], rtol=1e-15)


def reference(sequences, order, size):
    """(history, token) -> p, as in the equations, with dictionaries of tuples."""
    padded = [[None] * (order - 1) + sequence for sequence in sequences]
    counts = Counter(tuple(one[i - order + 1 : i + 1]) for one in padded for i in range(order, len(one)))
    levels = []
    for _ in range(order):
        n = [sum(count == k for count in counts.values()) for k in range(1, 5)]
        y = n[0] / (n[0] + 2 * n[1]) if n[0] else 0.5
        d = [k - (k + 1) * y * n[k] / n[k - 1] if n[k - 1] else (0.5, 0.75, 0.9)[k - 1] for k in (1, 2, 3)]
        d = [min(max(x, 0.05), k - 0.02) for k, x in enumerate(d, 1)]
        after = defaultdict(dict)
        for gram, count in counts.items():
            after[gram[:-1]][gram[-1]] = count
        levels.insert(0, (after, d))
        counts = Counter(gram[1:] for gram in counts)

    def probability(history, token):
        p = 1 / size
        for n, (after, d) in enumerate(levels):
            found = after.get(tuple(history[len(history) - n :]))
            if found:
                total, count = sum(found.values()), found.get(token, 0)
                backoff = sum(d[min(one, 3) - 1] for one in found.values())
                p = (max(count - d[min(count, 3) - 1], 0) * (count > 0) + backoff * p) / total
        return p

    return probability


@given(sequences=SEQUENCES, order=st.integers(2, 5), others=SEQUENCES)
def test_against_the_reference(sequences, order, others):
    model, p = KneserNey.count(sequences, order, vocab_size=5), reference(sequences, order, 5)
    histories = [
        [*[None] * (order - 1), *one[:i]][-(order - 1) :] for one in others for i in range(1, len(one))
    ]
    targets = [token for one in others for token in one[1:]]
    expected = [p(history, token) for history, token in zip(histories, targets, strict=True)]
    np.testing.assert_allclose(model.probabilities(others), expected, rtol=1e-12)
    rows = np.array([[5 if token is None else token for token in history] for history in histories])
    found = model.distribution(rows)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-12)
    np.testing.assert_allclose(found[np.arange(len(targets)), targets], expected, rtol=1e-12)


@given(sequences=SEQUENCES, order=st.integers(2, 4))
def test_a_shorter_model_counts_the_same(sequences, order):
    longer = KneserNey.count(sequences, 5, vocab_size=5).shortened(order)
    model = KneserNey.count(sequences, order, vocab_size=5)
    np.testing.assert_array_equal(longer.probabilities(sequences), model.probabilities(sequences))
    assert longer.targets == model.targets == sum(map(len, sequences)) - len(sequences)


def test_an_id_that_is_never_a_target():
    """BOS 0, EOS 1, texts of 2 and 3."""
    model = KneserNey.count([[0, 2, 3, 1], [0, 3, 1]], order=3, vocab_size=4, never=0)
    histories = np.array(list(product(range(5), repeat=2)))
    p = model.distribution(histories)
    assert (p[:, 0] == 0).all()
    assert (p[:, 1:] > 0).all()
    np.testing.assert_allclose(p.sum(axis=1), 1.0)
    assert model.probabilities([[0, 2]])[0] == pytest.approx(p[histories.tolist().index([4, 0]), 2])


def test_the_beginning_of_a_stream_is_no_context_of_other_texts():
    stream, start, unknown = [0, 1, 0, 2, 0, 2, 0, 2], 4, 3
    histories = np.array([[start, 0], [unknown, 0]])
    p = KneserNey.count([stream], order=3, vocab_size=4, is_stream=True).distribution(histories)
    np.testing.assert_array_equal(p[0], p[1])
    p = KneserNey.count([stream], order=3, vocab_size=4).distribution(histories)
    assert p[0, 1] > p[1, 1]


def test_ids_of_any_size():
    """Keys are exact for the largest alphabet: ids that differ in the highest bits alone."""
    size = 2**20
    text = [size - 1, 0, 1, 2**19, 2**19 + 1, size - 2]
    model = KneserNey.count([text], order=4, vocab_size=size)
    p = model.probabilities([text])
    assert (p > 0.05).all()
    assert (model.probabilities([[size - 1, 2**18, 1 + 2**18, 0, size - 3]]) < 0.05).all()


def test_the_names(names_txt):
    """Bits per token of a fifth, at most 3,000, that is held out."""
    lines = names_txt.read_text().split()
    random.Random(3).shuffle(lines)
    tokenizer = Tokenizer.of(lines[3000:], "bos")
    training, held_out = map(tokenizer.encode_documents, (lines[3000:], lines[:3000]))
    losses = losses_by_order(training, held_out, tokenizer.vocab_size, range(2, 7))
    bits = {order: loss / np.log(2) for order, loss in losses.items()}
    assert bits == pytest.approx({2: 3.5619, 3: 3.2163, 4: 2.9677, 5: 2.8514, 6: 2.8387}, abs=1e-4)
    order = chosen_order(training, tokenizer.vocab_size)
    assert order in (5, 6)
    found = baselines(training, held_out, tokenizer.vocab_size)
    assert found[KNESER_NEY] == pytest.approx(losses[order])


def test_the_order_for_little_data():
    assert chosen_order([[4, 1, 2, 4]] * 1000, 5) == SMALL_ORDER
    assert chosen_order([[1, 2] * 100], 3) == SMALL_ORDER


def test_the_order_of_a_stream():
    """After a token, the one before decides."""
    chance, stream = random.Random(1), [0, 1]
    for _ in range(4000):
        stream.append((stream[-2] + (chance.random() < 0.1)) % 3)
    assert chosen_order([stream], 3) == 3


def test_documents_weigh_the_same_in_their_mean():
    training, evaluated = [[END, A, END]], [[END, A, END], [END, B, B, B, B, B, B, END]]
    apart = [baselines(training, [one], 3, "documents")[KNESER_NEY] for one in evaluated]
    assert baselines(training, evaluated, 3, "documents")[KNESER_NEY] == pytest.approx(sum(apart) / 2)
    tokens = baselines(training, evaluated, 3)[KNESER_NEY]
    assert tokens == pytest.approx((2 * apart[0] + 7 * apart[1]) / 9)
