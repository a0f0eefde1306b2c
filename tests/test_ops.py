"""Every backward of the array engine before finite differences, and what each forward promises."""

import numpy as np
import pytest

from motegpt.engines.array import ops
from motegpt.engines.array.model import pad

H = 1e-6
SEED = 3


def numeric_gradient(function, x, dy):
    """d Σ(function(x) · dy) / dx by central differences."""
    gradient = np.zeros_like(x)
    for place in np.ndindex(*x.shape):
        moved = [x.copy(), x.copy()]
        moved[0][place] += H
        moved[1][place] -= H
        gradient[place] = ((function(moved[0]) - function(moved[1])) * dy).sum() / (2 * H)
    return gradient


@pytest.fixture
def random():
    """Arrays of normal numbers: those of each test are its own, whichever ran before."""
    chance = np.random.default_rng(SEED)
    return lambda *shape: chance.standard_normal(shape)


@pytest.mark.parametrize("_", range(2))
def test_every_test_has_numbers_of_its_own(random, _):
    np.testing.assert_array_equal(random(5), np.random.default_rng(SEED).standard_normal(5))


@pytest.mark.parametrize("width", [1, 7, 16, 17])
def test_rmsnorm(random, width):
    x, dy = random(5, width), random(5, width)
    y, r = ops.rmsnorm(x, 1e-5)
    np.testing.assert_allclose(np.square(y).mean(axis=1), 1.0, atol=0.1)
    dx = ops.rmsnorm_backward(dy, x, r)
    np.testing.assert_allclose(dx, numeric_gradient(lambda x: ops.rmsnorm(x, 1e-5)[0], x, dy), atol=1e-7)


def test_linear(random):
    x, w, dy = random(5, 3), random(4, 3), random(5, 4)
    dw = np.ones_like(w)
    dx = ops.linear_backward(dy, x, w, dw)
    np.testing.assert_allclose(dx, numeric_gradient(lambda x: ops.linear(x, w), x, dy), atol=1e-8)
    np.testing.assert_allclose(dw - 1.0, numeric_gradient(lambda w: ops.linear(x, w), w, dy), atol=1e-8)


def test_embedding(random):
    ids, wte, wpe, dx = pad([[1, 0, 1], [2, 1, 0]]), random(3, 4), random(5, 4), random(6, 4)
    dwte, dwpe = np.zeros_like(wte), np.zeros_like(wpe)
    ops.embedding_backward(dx, ids, dwte, dwpe)
    np.testing.assert_allclose(
        dwte, numeric_gradient(lambda w: ops.embedding(ids, w, wpe), wte, dx), atol=1e-8
    )
    np.testing.assert_allclose(
        dwpe, numeric_gradient(lambda w: ops.embedding(ids, wte, w), wpe, dx), atol=1e-8
    )


def test_softmax(random):
    x, dy = random(4, 6), random(4, 6)
    p = ops.softmax(x)
    np.testing.assert_allclose(p.sum(axis=1), 1.0)
    dx = ops.softmax_backward(dy, p)
    np.testing.assert_allclose(dx, numeric_gradient(ops.softmax, x, dy), atol=1e-8)
    np.testing.assert_allclose(ops.softmax(x + 1000.0), p, rtol=1e-9)


@pytest.mark.parametrize("t", [1, 2, 7])
def test_attention(random, t):
    q, k, v, dy = (random(2, 3, t, 4) for _ in range(4))
    mask = ops.causal_mask(t, q.dtype)
    _, p = ops.attention(q, k, v, mask)
    gradients = ops.attention_backward(dy, q, k, v, p)
    forwards = (
        lambda x: ops.attention(x, k, v, mask)[0],
        lambda x: ops.attention(q, x, v, mask)[0],
        lambda x: ops.attention(q, k, x, mask)[0],
    )
    for got, forward, at in zip(gradients, forwards, (q, k, v), strict=True):
        np.testing.assert_allclose(got, numeric_gradient(forward, at, dy), atol=1e-7)


def test_heads_split_and_merge(random):
    x = random(6, 8)
    np.testing.assert_array_equal(ops.merge_heads(ops.split_heads(x, 2, 4)), x)


@pytest.mark.parametrize("kind", ops.ACTIVATIONS)
def test_activation(random, kind):
    x, dy = random(5, 9), random(5, 9)
    numeric = numeric_gradient(lambda x: ops.activation(x, kind), x, dy)
    np.testing.assert_allclose(ops.activation_backward(dy, x, kind), numeric, atol=1e-7)


def test_cross_entropy(random):
    logits, targets, weights = random(4, 5), np.array([0, 4, 2, 2]), np.array([0.5, 0.25, 0.0, 0.25])
    loss, p = ops.cross_entropy(logits, targets, weights)
    np.testing.assert_allclose(p, ops.softmax(logits), rtol=1e-14)
    assert loss == pytest.approx(-(weights * np.log(p[np.arange(4), targets])).sum(), rel=1e-14)
    numeric = numeric_gradient(lambda x: ops.cross_entropy(x, targets, weights)[0], logits, np.float64(1.0))
    np.testing.assert_allclose(ops.cross_entropy_backward(p, targets, weights), numeric, atol=1e-8)


def test_cross_entropy_stays_finite_where_p_underflows():
    loss, _ = ops.cross_entropy(np.array([[0.0, 2000.0]]), np.array([0]), np.array([1.0]))
    assert loss == pytest.approx(2000.0)


def test_padding_weighs_nothing():
    weights = pad([[0.2, 0.1, 0.3], [0.4]], np.float64)
    np.testing.assert_array_equal(weights, [[0.2, 0.1, 0.3], [0.4, 0.0, 0.0]])
