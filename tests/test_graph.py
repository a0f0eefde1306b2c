"""The scalar graph: each operation's calculus, the walk back, and what the walk must survive."""

import gc
import math
import subprocess
import sys
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motegpt.engines.scalar.draw import all_nodes, count_ops
from motegpt.engines.scalar.graph import (
    Value,
    dot,
    dot_unfused,
    leaves,
    sum_unfused,
    sum_values,
    topological,
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
    "pow of a node": lambda x, y: (x * x) ** y,
    "a number to a node": lambda x, y: 2.0**x,
    "exp": lambda x, y: x.exp(),
    "log": lambda x, y: y.log(),
    "tanh": lambda x, y: x.tanh() * y,
    "relu": lambda x, y: x.relu(),
    "squared relu": lambda x, y: x.squared_relu(),
    "dot": lambda x, y: dot([x, y, x], [y, y, x]),
    "sum": lambda x, y: sum_values([x, y, x]),
}


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("at", [(0.7, 1.3), (-1.1, 0.4)])
def test_derivatives_agree_with_finite_differences(name, at):
    operation = OPERATIONS[name]
    x, y = leaves(at)
    operation(x, y).backward()
    for node, dx, dy in ((x, H, 0.0), (y, 0.0, H)):
        above = operation(Value(at[0] + dx), Value(at[1] + dy)).data
        below = operation(Value(at[0] - dx), Value(at[1] - dy)).data
        assert node.grad == pytest.approx((above - below) / (2 * H), abs=1e-7)


@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=1, max_size=20))
def test_fused_dot_is_the_dot_unfused(pairs):
    results = []
    for join in (dot, dot_unfused):
        xs, ys = leaves(x for x, _ in pairs), leaves(y for _, y in pairs)
        product = join(xs, ys)
        (product * product).backward()
        results.append([product.data, *(node.grad for node in xs + ys)])
    assert results[0] == pytest.approx(results[1], rel=1e-12, abs=1e-12)


def test_fused_sum_is_the_sum_unfused():
    xs, ys = leaves([1.0, 2.0, 4.0]), leaves([1.0, 2.0, 4.0])
    (sum_values(xs) ** 2.0).backward()
    (sum_unfused(ys) ** 2.0).backward()
    assert [x.grad for x in xs] == [y.grad for y in ys] == [14.0] * 3


def test_a_chain_of_20_000_additions():
    x = Value(1.0)
    y = x
    for _ in range(20_000):
        y = y + 1.0
    y.backward()
    assert (y.data, x.grad) == (20_001.0, 1.0)


def test_topological_order_puts_parents_first():
    x, y = leaves([2.0, 3.0])
    shared = x * y
    root = (shared + x) * (shared.exp() + y)
    order = topological(root)
    assert order[-1] is root
    for position, node in enumerate(order):
        assert all(not parent.parents or order.index(parent) < position for parent in node.parents)
    assert set(all_nodes(root)) == {*order, x, y}


def test_counting_operations():
    x, y = leaves([1.0, 2.0])
    assert count_ops((x * y + x).relu()) == {"leaf": 2, "mul": 1, "add": 1, "relu": 1}
    assert count_ops(Value(1.0)) == {"leaf": 1}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (lambda: Value(1000.0).exp(), math.inf),
        (lambda: Value(0.0).log(), -math.inf),
        (lambda: Value(-1.0).log(), math.nan),
        (lambda: Value(1000.0).tanh(), 1.0),
        (lambda: Value(math.nan).relu(), math.nan),
        (lambda: Value(-math.inf).relu(), 0.0),
        (lambda: Value(0.0) ** -1.0, math.inf),
        (lambda: 1.0 / Value(-0.0), -math.inf),
        (lambda: 1.0 / Value(-1e-320), -math.inf),
        (lambda: Value(-0.0) ** -2.0, math.inf),
        (lambda: Value(-1e200) ** 3, -math.inf),
        (lambda: Value(-1e200) ** 2, math.inf),
        (lambda: Value(-1e200) ** 2.5, math.nan),
        (lambda: Value(-8.0) ** (1 / 3), math.nan),
        (lambda: Value(0.0) ** 0, 1.0),
        (lambda: 2 ** Value(2000.0), math.inf),
        (lambda: Value(math.nan) ** 2.0, math.nan),
    ],
)
def test_values_are_those_of_ieee_arithmetic(value, expected):
    assert value().data == pytest.approx(expected, abs=0, nan_ok=True)


@pytest.mark.parametrize(
    ("base", "exponent", "local_grads"),
    [
        (0.0, 0.0, (0.0, 0.0)),
        (0.0, 2.0, (0.0, 0.0)),
        (0.0, 1.0, (1.0, 0.0)),
        (0.0, 0.5, (math.inf, 0.0)),
        (0.0, -1.0, (-math.inf, -math.inf)),
        (-2.0, 3.0, (12.0, math.nan)),
        (-1e200, 3.0, (math.inf, math.nan)),
        (0.0, math.nan, (math.nan, math.nan)),
    ],
)
def test_the_derivatives_of_powers_at_the_edges(base, exponent, local_grads):
    """By the base, whether the exponent is a number or a node, and by the exponent."""
    x, y, alone = Value(base), Value(exponent), Value(base)
    (x**y).backward()
    (alone**exponent).backward()
    assert (x.grad, y.grad) == pytest.approx(local_grads, nan_ok=True)
    assert alone.grad == pytest.approx(x.grad, nan_ok=True)


@pytest.mark.parametrize("join", [dot, dot_unfused])
@pytest.mark.parametrize(("left", "right"), [(1, 2), (2, 1), (0, 1), (3, 0)])
def test_a_product_of_unequal_lengths_is_refused(join, left, right):
    with pytest.raises(ValueError, match=r"dot: expected as many numbers on both sides|zip"):
        join(leaves([1.0] * left), leaves([1.0] * right))


def test_a_second_backward_accumulates_in_leaves_alone():
    x = Value(2.0)
    y = x * x
    z = y * y
    for calls in (1, 2, 3):
        z.backward()
        assert (x.grad, y.grad, z.grad) == (32.0 * calls, 8.0, 1.0)
    (y * 10.0).backward()  # another root over the same nodes
    assert (x.grad, y.grad) == (96.0 + 40.0, 10.0)
    x.backward()
    assert x.grad == 137.0


def test_the_gradient_of_zero_is_zero_even_where_the_local_gradient_is_infinite():
    x = Value(0.0)
    ((x**0.5) * 0.0).backward()
    assert x.grad == 0.0


def test_a_graph_is_freed_without_the_garbage_collector():
    gc.collect()
    gc.disable()
    try:
        tracemalloc.start()
        x = Value(1.0)

        def step():
            y = x
            for _ in range(200):
                y = y * 1.001 + x
            y.backward()

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
from motegpt.data.batches import Batch
from motegpt.data.plan import DocumentPlan
from motegpt.config.sections import ModelConfig, SampleConfig, TrainConfig, section_values
from motegpt.engines import make_engine
from motegpt.model.spec import initialize
from motegpt.config.presets import settings_of
from motegpt.model.rng import make_rng
from motegpt.sampling.generate import generate_sequentially
from motegpt.data.tokenizers import Tokenizer
settings = settings_of("microgpt")
tokenizer = Tokenizer.of(["anna", "bob"], "bos")
model = ModelConfig.of({**section_values(settings, "model"), "vocab_size": tokenizer.vocab_size})
train = TrainConfig.of(section_values(settings, "train"))
engine, rng = make_engine("scalar", model, train), make_rng("python", 42)
engine.load(initialize(model, rng))
losses = engine.train(DocumentPlan(tokenizer.encode_documents(["anna", "bob"]), 1, "documents"), 0, 30)
assert losses[-1] < losses[0] / 2, losses
print(generate_sequentially(engine, tokenizer, SampleConfig(n=2, temperature=0.5), rng))
assert len(engine.values()["wte"]) == tokenizer.vocab_size
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("'") == 4


def test_the_graph_module_needs_the_standard_library_alone():
    program = (
        "import sys; sys.modules['numpy'] = sys.modules['safetensors'] = sys.modules['click'] = None;"
        "from motegpt.engines.scalar import draw, engine, graph, model, optimizers"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_ending_of_the_picture_may_be_in_capitals(motegpt, tmp_path):
    assert motegpt("graph", "a", "--out", "A.SVG").code == 0
    assert (tmp_path / "A.SVG").read_text().startswith("<svg")
    ended = motegpt("graph", "a", "--out", "a.png")
    assert (ended.code, "expected a file named *.svg or *.dot, got a.png" in ended.err) == (2, True)
