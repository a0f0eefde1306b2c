"""The contexts of the n-gram embedding: exact against counting, and a worked example."""

import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motegpt.config.sections import ModelConfig, ReadConfig, model_and_training
from motegpt.data.corpus import read_corpus
from motegpt.data.plan import DocumentPlan, WindowPlan
from motegpt.data.tokenizers import Tokenizer
from motegpt.engines import make_engine
from motegpt.errors import RunFolderError, SettingError
from motegpt.ngrams.contexts import TOKEN_BITS, Contexts
from motegpt.ngrams.keys import NONE
from tests.conftest import small_settings


def contexts_of(sequences, orders, min_count=2):
    return Contexts.of_plan(DocumentPlan(sequences, 1, "documents"), orders, min_count)


def counted(sequences, order):
    """Every context of `order` tokens that ends at an input, with its count."""
    inputs = [tuple(row[:-1]) for row in sequences]
    return Counter(row[t - order + 1 : t + 1] for row in inputs for t in range(order - 1, len(row)))


def tokens_of(contexts, order, row):
    """The tokens of a context, first to last."""
    key = int(contexts.keys[order - 2][row])
    rest, token = key >> TOKEN_BITS, key & (2**TOKEN_BITS - 1)
    return (token, *((rest,) if order == 2 else tokens_of(contexts, order - 1, rest)))


def test_a_worked_example():
    """BOS anna, BOS hanna, BOS nan with BOS 0, a 1, h 2, n 3: the last token of each is no input."""
    contexts = contexts_of([[0, 1, 3, 3, 1, 0], [0, 2, 1, 3, 3, 1, 0], [0, 3, 1, 3, 0]], 4)
    assert contexts.sizes == (3, 2, 1)
    # Keys begin with the last token: "na" is 1 after 3, "an" is 3 after 1, "nn" is 3 after 3.
    assert contexts.keys[0].tolist() == [1 << 20 | 3, 3 << 20 | 1, 3 << 20 | 3]
    # "nna" is "na", row 0, after n; "ann" is "nn", row 2, after a. "nan" and "han" occur once.
    assert contexts.keys[1].tolist() == [0 << 20 | 3, 2 << 20 | 1]
    assert contexts.keys[2].tolist() == [0 << 20 | 1]  # "anna" is "nna", row 0, after a
    rows = contexts.rows(np.array([[0, 1, 3, 3, 1], [3, 3, 1, 0, 0]]))
    assert rows[:, 0].tolist() == [[-1, -1, 1, 2, 0], [-1, -1, -1, 1, 0], [-1, -1, -1, -1, 0]]
    assert rows[:, 1].tolist() == [[-1, 2, 0, -1, -1], [-1, -1, 0, -1, -1], [-1] * 5]


@st.composite
def data(draw):
    size = draw(st.integers(2, 5))
    rows = st.lists(st.integers(0, size - 1), min_size=2, max_size=9)
    return draw(st.lists(rows, min_size=1, max_size=8)), draw(st.integers(2, 8)), draw(st.integers(1, 3))


@given(data())
@settings(max_examples=200, deadline=None)
def test_the_tables_have_the_frequent_contexts_and_no_others(problem):
    sequences, orders, min_count = problem
    contexts = contexts_of(sequences, orders, min_count)
    for order in range(2, orders + 1):
        expected = {gram for gram, count in counted(sequences, order).items() if count >= min_count}
        if order - 2 < len(contexts.keys):
            found = [tokens_of(contexts, order, row) for row in range(contexts.sizes[order - 2])]
            assert len(set(found)) == len(found)
            assert set(found) == expected
            assert (np.diff(contexts.keys[order - 2]) > 0).all()
        else:
            assert not expected


@given(data(), st.lists(st.integers(0, 4), min_size=1, max_size=9))
@settings(max_examples=200, deadline=None)
def test_rows_are_those_of_the_reference(problem, tokens):
    contexts = contexts_of(*problem)
    rows = contexts.rows(np.array([tokens, tokens]))
    assert rows.shape == (len(contexts.keys), 2, len(tokens))
    for t in range(len(tokens)):
        found = contexts.rows_at_end(tokens[: t + 1])
        expected = found + [NONE] * (len(contexts.keys) - len(found))
        assert rows[:, 0, t].tolist() == rows[:, 1, t].tolist() == expected
        for order, row in enumerate(found, 2):
            assert tokens_of(contexts, order, row) == tuple(tokens[t - order + 1 : t + 1])


def test_orders_end_where_nothing_repeats():
    assert contexts_of([[0, 1, 2, 3, 0]], 5).sizes == ()
    assert contexts_of([[0, 1, 2, 3, 0], [1, 2, 0]], 5).sizes == (1,)


def test_a_stream_is_one_sequence_and_cut_documents_are_cut():
    stream = np.array([0, 1, 0, 1, 0, 1], np.uint8)
    plan = WindowPlan(memoryview(stream), 2, 1, "tokens", 1)
    assert Contexts.of_plan(plan, 8, 1).sizes == (2, 2, 2, 1)  # the last 1 is no input
    whole = DocumentPlan([[0, 1, 2, 3, 0]] * 2, 1, "documents")
    cut = DocumentPlan(whole.flat.truncate(3), 1, "documents")
    assert (Contexts.of_plan(whole, 4, 2).sizes, Contexts.of_plan(cut, 4, 2).sizes) == ((3, 2, 1), (1,))


def test_the_largest_tokens_do_not_collide():
    last = 2**20 - 1
    contexts = contexts_of([[last, last, last - 1, last], [0, last, 0, 0]] * 2, 3)
    for order in (2, 3):
        found = {tokens_of(contexts, order, row) for row in range(contexts.sizes[order - 2])}
        assert found == set(counted([[last, last, last - 1, last], [0, last, 0, 0]], order))


def test_the_names_are_fast(names_txt):
    corpus = read_corpus([names_txt], ReadConfig())
    plan = DocumentPlan(Tokenizer.of(corpus.documents, "bos").encode_documents(corpus.documents), 1, "tokens")
    start = time.perf_counter()
    contexts = Contexts.of_plan(plan, 5, 2)
    assert time.perf_counter() - start < 2.0  # 0.12 s of processor time
    assert sum(contexts.sizes) > 20_000
    order4 = {gram for gram, count in counted(plan.sequences, 4).items() if count >= 2}
    assert len(order4) == contexts.sizes[2]


def test_contexts_that_are_not_those_of_the_model_are_refused():
    contexts = contexts_of([[0, 1, 2, 3, 0]] * 2, 4)
    settings = small_settings(ngram_orders=4, ngram_rows=(3, 2))
    with pytest.raises(SettingError, match=r"contexts: expected tables of \(3, 2\) rows.*got \(3, 2, 1\)"):
        make_engine("array", *model_and_training(settings, 4), contexts)
    with pytest.raises(SettingError, match="contexts: expected a Contexts, got 5"):
        make_engine("array", *model_and_training(settings, 4), 5)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (([1, 1], [0]), "ngram2: expected keys in ascending order"),
        (([2, 1], [0]), "ngram2: expected keys in ascending order"),
        (([-1, 1], [0]), "ngram2: expected keys of rows below 4 and tokens below 4"),
        (([4 << 20], [0]), "ngram2: expected keys of rows below 4"),
        (([1 << 20 | 4], [0]), "ngram2: expected keys of rows below 4 and tokens below 4"),
        (([0, 1], [2 << 20]), "ngram3: expected keys of rows below 2"),
    ],
)
def test_impossible_tables_are_refused(keys, said):
    sizes = tuple(map(len, keys))
    model, _ = model_and_training(small_settings(ngram_orders=3, ngram_rows=sizes), 4)
    with pytest.raises(RunFolderError, match=said):
        Contexts.checked({f"ngram{i}": np.array(one) for i, one in enumerate(keys, 2)}, model)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ngram_orders": 1}, "ngram_orders: expected a whole number of at least 2 and at most 8"),
        ({"ngram_rows": (3,)}, "ngram_rows: expected at most 0 numbers"),
        ({"ngram_orders": 3, "ngram_rows": (3, 2, 1)}, "ngram_rows: expected at most 2 numbers"),
        ({"ngram_orders": 3, "ngram_rows": (3, 0)}, "ngram_rows: expected a list of whole numbers"),
        ({"ngram_orders": 3, "ngram_rows": (3, 0.5)}, "ngram_rows: expected a list of whole numbers"),
        ({"ngram_orders": 3, "ngram_rows": 3}, "ngram_rows: expected a list of whole numbers"),
    ],
)
def test_settings_that_cannot_be(changes, said):
    chosen = {
        name: value
        for name, value in small_settings().items()
        if name in vars(ModelConfig)["__annotations__"]
    }
    with pytest.raises(SettingError, match=said):
        ModelConfig.of({**chosen, "vocab_size": 4, **changes})
