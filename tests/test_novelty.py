"""Novelty, counted by hand, and distances against a recursion that is slow and plain."""

from functools import cache

from hypothesis import given
from hypothesis import strategies as st

from motegpt.evaluation.novelty import nearest_documents, novelty


def test_counts_by_hand():
    found = novelty(["anna", "hanna", "anna", "nan", "bob"], ["anna", "hannah"], ["nan"])
    assert (found.texts, found.distinct) == (5, 4)
    assert (found.in_training, found.in_validation, found.new) == (2, 1, 2)
    assert [(one.text, one.document, one.distance) for one in found.nearest] == [
        ("hanna", "anna", 1), ("nan", "anna", 3), ("bob", "anna", 4),
    ]  # fmt: skip
    assert found.mean_distance == 8 / 3


def test_nothing_new():
    assert novelty(["anna"], ["anna"]).mean_distance is None


@cache
def edits(a, b):
    """The Levenshtein distance by its definition."""
    if not a or not b:
        return len(a) + len(b)
    return min(edits(a[1:], b) + 1, edits(a, b[1:]) + 1, edits(a[1:], b[1:]) + (a[0] != b[0]))


@given(
    texts=st.lists(st.text("abé", max_size=5), max_size=4),
    documents=st.lists(st.text("abé", min_size=1, max_size=5), min_size=1, max_size=5, unique=True),
)
def test_the_nearest_document_is_the_nearest(texts, documents):
    for one in nearest_documents(texts, documents):
        distances = [edits(one.text, document) for document in documents]
        assert one.distance == min(distances)
        assert one.document == documents[distances.index(min(distances))]


def test_groups_do_not_change_the_result(monkeypatch):
    texts, documents = ["ab", "abc", "x"], ["abcd", "b"]
    whole = nearest_documents(texts, documents)
    monkeypatch.setattr("motegpt.evaluation.novelty.MAX_DISTANCES", 1)
    assert nearest_documents(texts, documents) == whole
