"""Training and validation sets are disjoint, also with duplicates."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motegpt.data.split import split_documents, split_text
from motegpt.errors import DataError

LISTS = st.lists(st.text("abc", min_size=1, max_size=3), min_size=2, max_size=40).filter(
    lambda documents: len(set(documents)) > 1
)


@given(documents=LISTS, fraction=st.floats(0.01, 0.99), seed=st.integers(0, 2**64 - 1))
def test_the_sets_are_disjoint_and_complete(documents, fraction, seed):
    training, held_out = split_documents(documents, fraction, seed)
    assert not set(training) & set(held_out)
    assert training
    assert held_out
    assert sorted([*training, *held_out]) == sorted(documents)
    kept = [document for document in documents if document in set(training)]
    assert training == kept  # in order


@given(documents=LISTS, seed=st.integers(0, 9))
def test_the_split_does_not_depend_on_order(documents, seed):
    assert set(split_documents(documents, 0.3, seed)[1]) == set(
        split_documents(documents[::-1], 0.3, seed)[1]
    )


def test_the_fraction_is_of_distinct_documents():
    documents = [f"{i:03d}" for i in range(200)] * 3
    training, held_out = split_documents(documents, 0.1, 1)
    assert (len(set(held_out)), len(held_out)) == (20, 60)
    assert set(split_documents(documents, 0.1, 2)[1]) != set(held_out)
    assert len(training) == 540


def test_a_list_that_grows_keeps_most_of_its_held_out_documents():
    documents = [f"{i:04d}" for i in range(1000)]
    before = set(split_documents(documents, 0.1, 1)[1])
    after = set(split_documents([*documents, *(f"new{i}" for i in range(100))], 0.1, 1)[1])
    assert len(before & after) > 90


def test_one_document_cannot_be_split():
    with pytest.raises(DataError, match="at least 2 different documents, got 1"):
        split_documents(["ab", "ab"], 0.5, 1)


def test_a_plain_split_of_the_public_names_leaks(names_txt):
    names = names_txt.read_text().split()
    assert (len(names), len(set(names))) == (32033, 29494)
    assert set(names[: len(names) // 10]) & set(names[len(names) // 10 :])
    training, held_out = split_documents(names, 0.1, 42)
    assert not set(training) & set(held_out)
    assert len(set(held_out)) == 2949


@given(text=st.text("ab\n", min_size=4, max_size=60), fraction=st.floats(0.01, 0.9))
def test_the_end_of_a_stream_is_held_out(text, fraction):
    try:
        (training,), (held_out,) = split_text([text], fraction)
    except DataError:
        assert len(text) - round(fraction * len(text)) < 2 or len(text) < 4
        return
    assert training + held_out == text
    assert len(held_out) == max(2, round(fraction * len(text)))
