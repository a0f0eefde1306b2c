"""The scalar graph: each operation's calculus, the walk back, and what the walk must survive."""

import gc
import math
import subprocess
import sys
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motegpt.engines.scalar.graph import (
    Node,
    all_nodes,
    backward,
    count_kinds,
    dot,
    dot_of_products,
    leaves,
    topological,
    total,
    total_of_sums,
)

H = 1e-6
OPERATIONS = {
    "add": lambda x, y: x + y,
    "add a number": lambda x, y: 2.0 + x + 3.0,
    "sub": lambda x, y: x - y,
    "sub from a number": lambda x, y: 2.0 - x,
    "mul": lambda x, y: x * y,
    "same twice": lambda x, y: x * x + x,
    "div": lambda x, y: x / y,
    "div a number": lambda x, y: 3.0 / x,
    "neg": lambda x, y: -x,
    "pow": lambda x, y: x**3.0 + y**-0.5,
    "exp": lambda x, y: x.exp(),
    "log": lambda x, y: y.log(),
    "relu": lambda x, y: x.relu(),
    "squared relu": lambda x, y: x.squared_relu(),
    "dot": lambda x, y: dot([x, y, x], [y, y, x]),
    "sum": lambda x, y: total([x, y, x]),
}


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("at", [(0.7, 1.3), (-1.1, 0.4)])
def test_derivatives_agree_with_finite_differences(name, at):
    operation = OPERATIONS[name]
    x, y = leaves(at)
    backward(operation(x, y))
    for node, dx, dy in ((x, H, 0.0), (y, 0.0, H)):
        above = operation(Node(at[0] + dx), Node(at[1] + dy)).data
        below = operation(Node(at[0] - dx), Node(at[1] - dy)).data
        assert node.grad == pytest.approx((above - below) / (2 * H), abs=1e-7)


@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=1, max_size=20))
def test_fused_dot_is_the_dot_of_products(pairs):
    results = []
    for join in (dot, dot_of_products):
        xs, ys = leaves(x for x, _ in pairs), leaves(y for _, y in pairs)
        product = join(xs, ys)
        backward(product * product, clip=2.0)
        results.append([product.data, *(node.grad for node in xs + ys)])
    assert results[0] == pytest.approx(results[1], rel=1e-12, abs=1e-12)


def test_fused_sum_is_the_sum_of_sums():
    xs, ys = leaves([1.0, 2.0, 4.0]), leaves([1.0, 2.0, 4.0])
    backward(total(xs) ** 2.0)
    backward(total_of_sums(ys) ** 2.0)
    assert [x.grad for x in xs] == [y.grad for y in ys] == [14.0] * 3


def test_a_chain_of_100_000_additions():
    x = Node(1.0)
    y = x
    for _ in range(100_000):
        y = y + 1.0
    backward(y)
    assert (y.data, x.grad) == (100_001.0, 1.0)


def test_topological_order_puts_parents_first():
    x, y = leaves([2.0, 3.0])
    shared = x * y
    root = (shared + x) * (shared.exp() + y)
    order = topological(root)
    assert order[-1] is root
    for position, node in enumerate(order):
        assert all(not parent.parents or order.index(parent) < position for parent in node.parents)
    assert set(all_nodes(root)) == {*order, x, y}


def test_the_clip_acts_on_every_node_that_has_parents():
    x = Node(0.01)
    backward(x.log(), clip=10.0)  # d log x = 100, but the root's own gradient is 1
    assert x.grad == pytest.approx(100.0)
    x = Node(0.01)
    middle = x * 1.0
    backward(middle.log(), clip=10.0)
    assert (middle.grad, x.grad) == (10.0, 10.0)


def test_counting_kinds():
    x, y = leaves([1.0, 2.0])
    assert count_kinds((x * y + x).relu()) == {"leaf": 2, "mul": 1, "add": 1, "relu": 1}
    assert count_kinds(Node(1.0)) == {"leaf": 1}


def test_infinities_instead_of_exceptions():
    assert Node(1000.0).exp().data == math.inf
    assert Node(0.0).log().data == -math.inf
    assert math.isnan(Node(-1.0).log().data)
    assert (Node(0.0) ** -1.0).data == math.inf


def test_a_graph_is_freed_without_the_garbage_collector():
    gc.collect()
    gc.disable()
    try:
        tracemalloc.start()
        x = Node(1.0)

        def step():
            y = x
            for _ in range(1000):
                y = y * 1.001 + x
            backward(y)

        step()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(20):
            step()
        assert tracemalloc.get_traced_memory()[0] - before < 10_000
    finally:
        tracemalloc.stop()
        gc.enable()


def test_trains_and_samples_with_numpy_absent():
    program = """
import sys
sys.modules["numpy"] = sys.modules["safetensors"] = sys.modules["click"] = None
from motegpt.batches import Batch, DocumentPlan
from motegpt.config import ModelConfig, SampleConfig, TrainConfig, section_values
from motegpt.engines import make_engine
from motegpt.parameters import initialise
from motegpt.presets import settings_of
from motegpt.rng import make_rng
from motegpt.sampling import generate_in_turn
from motegpt.tokenizer import Tokenizer
settings = settings_of("microgpt")
tokenizer = Tokenizer.of(["anna", "bob"], "bos")
model = ModelConfig.of({**section_values(settings, "model"), "vocab_size": tokenizer.vocab_size})
train = TrainConfig.of(section_values(settings, "train"))
engine, rng = make_engine("scalar", model, train), make_rng("python", 42)
engine.load(initialise(model, rng))
losses = engine.train(DocumentPlan(tokenizer.encode_documents(["anna", "bob"]), 1, "documents"), 0, 30)
assert losses[-1] < losses[0] / 2, losses
print(generate_in_turn(engine, tokenizer, SampleConfig(n=2, temperature=0.5), rng))
assert len(engine.values()["wte"]) == tokenizer.vocab_size
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("'") == 4


def test_the_graph_module_needs_the_standard_library_alone():
    program = (
        "import sys; sys.modules['numpy'] = sys.modules['safetensors'] = sys.modules['click'] = None;"
        "from motegpt.engines.scalar import adam, draw, engine, graph, model"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_ending_of_the_picture_may_be_in_capitals(motegpt, tmp_path):
    assert motegpt("graph", "a", "--out", "A.SVG").code == 0
    assert (tmp_path / "A.SVG").read_text().startswith("<svg")
    ended = motegpt("graph", "a", "--out", "a.png")
    assert (ended.code, "expected a file named *.svg or *.dot, got a.png" in ended.err) == (2, True)
