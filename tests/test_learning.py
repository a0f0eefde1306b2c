"""The claims of docs/learning.md that its transcripts do not show."""

import inspect
import re
from pathlib import Path

import numpy as np
import pytest

from motegpt import GPT
from motegpt.data.batches import Batch
from motegpt.data.corpus import read_corpus
from motegpt.engines import why_unavailable
from motegpt.engines.array import ops
from motegpt.engines.scalar import graph
from motegpt.engines.scalar.draw import count_ops
from motegpt.evaluation.graphs import text_graph, tiny_graph

PAGE = (Path(__file__).parents[1] / "docs" / "learning.md").read_text(encoding="utf-8")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(why_unavailable("native") is not None, reason="the page shows the native engine"),
]


def trained(steps, **settings):
    return GPT.train(steps=steps, preset="microgpt", **settings)


def claim(pattern):
    """The numbers in a sentence of the page."""
    found = re.search(pattern.replace(" ", r"\s+"), PAGE)
    assert found, pattern
    return [float(number) for number in found.groups()]


def test_the_length_of_the_graph_module_and_of_the_chain_rule():
    (lines,) = claim(r"has all of it in (\d+) lines: nine operations")
    assert lines - 10 <= len(inspect.getsource(graph).splitlines()) <= lines
    parts = graph.Value.backward, graph.Value.propagate, graph.topological, graph.reversed_graph
    (lines,) = claim(r"in (\d+) lines with the order")
    assert lines - 10 <= sum(len(inspect.getsource(part).splitlines()) for part in parts) <= lines
    operations = "__add__", "__mul__", "__pow__", "exp", "log", "tanh", "erf", "sigmoid", "relu"
    assert all("Value(" in inspect.getsource(getattr(graph.Value, name)) for name in operations)


def rms(model, name, names):
    batch = Batch.of(model.tokenizer.encode_documents(names), "documents")
    return np.sqrt(np.mean(model.engine.gradients(batch)[1][name] ** 2))


def test_attention_learns_late():
    first, last = claim(r"`attn_wq` are (\d+) times smaller than those of `wpe` at first, and (\d+) times")
    names = read_corpus(None).documents
    for steps, ratio in ((1, first), (1000, last)):
        model = trained(steps)
        measured = rms(model, "wpe", names) / rms(model, "layer0.attn_wq", names)
        assert measured == pytest.approx(ratio, rel=0.2)


def test_attention_is_nearly_uniform_at_first():
    graph = tiny_graph("a", {"n_embd": 1})
    (head,) = [group for group in graph.groups if (group.title, group.column) == ("head 0", 1)]
    assert [p.data for p in head.vectors(graph.names)["p"]] == pytest.approx([0.5, 0.5], abs=0.001)


def test_adam_moves_a_weight_by_up_to_lr():
    for step in (2, 100):
        runs = (trained(steps, schedule="constant", lr=0.01) for steps in (step - 1, step))
        before, after = (model.engine.export().parameters for model in runs)
        moves = np.concatenate([np.abs(after[name] - before[name]).ravel() for name in after]) / 0.01
        assert 0.9 < moves.max() < 1.1


def test_sgd_diverges_where_the_page_says(motegpt):
    assert "with 1 it diverges" in PAGE
    words = ["--preset", "microgpt", "--batch-size", "8", "--optimizer", "sgd", "--lr", "1"]
    ended = motegpt("train", *words)
    assert ended.code == 1
    assert "is nan" in ended.err


def test_the_operations_of_the_third_exercise():
    one, two = (count_ops(tiny_graph(text, {"n_embd": 1}).loss) for text in ("a", "ab"))
    growth = {op: two[op] / one[op] for op in one if op not in ("leaf", "constant")}
    assert {op for op in growth if growth[op] == 1.5} == {"pow", "relu", "log"}
    assert {op for op in growth if growth[op] > 1.5} == {"exp", "dot", "mul", "add"}


def test_only_the_head_and_the_last_mlp_are_right_where_a_term_of_the_norm_is_missing(motegpt, monkeypatch):
    monkeypatch.setitem(ops.BACKWARD, ops.rmsnorm, lambda dy, saved: dy * saved.r)
    ended = motegpt("gradcheck", "--engine", "array")
    right = re.findall(r"^array +(\S+) .* ok$", ended.out, re.MULTILINE)
    assert (ended.code, right) == (1, ["lm_head", "layer1.mlp_fc1", "layer1.mlp_fc2"])


def test_the_column_of_the_end_is_pale():
    model = trained(1000)
    graph = text_graph(model.engine, model.tokenizer, "emma")
    logits = [group.values for group in graph.groups if group.title == "logits" and group.column is not None]
    largest = [max(abs(value.grad) for value in values) for values in logits]
    assert largest[4] < 0.1 * min(largest[:3])
