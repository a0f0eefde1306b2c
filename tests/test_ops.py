"""Every backward of the array engine against central differences, and what each forward promises."""

import math

import numpy as np
import pytest

from motegpt.config.sections import model_and_training
from motegpt.engines.array import ops
from motegpt.engines.array.model import pad
from tests.conftest import small_settings

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


def check(operation, inputs, constants=(), dy=None):
    """The operation's result, once the gradient of each input is that of central differences."""
    y, saved = operation(*inputs, *constants)
    if dy is None:
        dy = np.random.default_rng(SEED + 1).standard_normal(y.shape)
    before = dy.copy()
    dxs = ops.BACKWARD[operation](dy, saved)
    np.testing.assert_array_equal(dy, before)
    for i, dx in enumerate([dxs] if isinstance(dxs, np.ndarray) else dxs):

        def moved(x, i=i):
            return operation(*inputs[:i], x, *inputs[i + 1 :], *constants)[0]

        np.testing.assert_allclose(dx, numeric_gradient(moved, inputs[i], dy), atol=1e-7)
    return y


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
    y = check(ops.rmsnorm, [random(5, width)], [1e-5])
    np.testing.assert_allclose(np.square(y).mean(axis=1), 1.0, atol=0.1)


@pytest.mark.parametrize("width", [1, 2, 7, 16, 17])
def test_layernorm(random, width):
    y = check(ops.layernorm, [random(5, width) + 3.0], [0.1 if width < 3 else 1e-5])
    np.testing.assert_allclose(y.mean(axis=1), 0.0, atol=1e-14)
    if width > 2:
        np.testing.assert_allclose(np.square(y).mean(axis=1), 1.0, atol=0.1)


def test_layernorm_of_one_channel_is_zero(random):
    x = random(5, 1)
    y, saved = ops.layernorm(x, 1e-5)
    assert not y.any()
    assert not ops.layernorm_backward(random(5, 1), saved).any()


def changed(x):
    """A hook that sets every second row to constants."""
    y = x.copy()
    y[::2] = 2.0
    return y


@pytest.mark.parametrize("hooks", [{}, {"scale": changed}])
@pytest.mark.parametrize("norm", [ops.rmsnorm, ops.layernorm])
def test_a_norm_whose_scale_is_shown(random, norm, hooks):
    points, x, dy = ops.Points(hooks), random(4, 5), random(4, 5)
    point = ops.Point(points, "scale", ops.SAME)
    y = check(ops.norm_at_point, [x], [norm, 0.1, point], dy)
    c = x - x.mean(axis=1, keepdims=True) if norm is ops.layernorm else x
    scale = np.sqrt((c * c).mean(axis=1, keepdims=True) + 0.1)
    if hooks:
        scale = changed(scale)
        np.testing.assert_allclose(y, c / scale)
    else:
        assert (y == norm(x, 0.1)[0]).all()
    ds = numeric_gradient(lambda s: c / s, scale, dy)
    np.testing.assert_allclose(points.gradients["scale"], ds, atol=1e-7)


def test_the_gradient_stops_where_a_hook_changes_numbers(random):
    x, dy = random(4, 3), random(4, 3)
    for layout in (ops.SAME, ops.as_rows(2), ops.as_heads(2, 3)):
        points = ops.Points({"a": lambda x: np.where(x == x.flat[0], 0.0, x), "b": lambda x: None})
        check(ops.at_point, [x], [ops.Point(points, "a", layout)], dy)
        assert ops.at_point(x, ops.Point(points, "b", layout))[0] is x
    points = ops.Points({"a": lambda x: x + 1.0}, {"a": lambda dx: 2.0 * dx})
    y, point = ops.at_point(x, ops.Point(points, "a", ops.as_rows(2)))
    np.testing.assert_array_equal(y, x + 1.0)
    np.testing.assert_array_equal(ops.at_point_backward(dy, point), 2.0 * dy)
    np.testing.assert_array_equal(points.gradients["a"], dy.reshape(2, 2, 3))


def test_gain_and_bias(random):
    x, gain = random(5, 3), random(3)
    np.testing.assert_array_equal(check(ops.apply_gain, [x, gain])[4], x[4] * gain)
    np.testing.assert_array_equal(check(ops.add_bias, [x, gain])[4], x[4] + gain)


def test_vectors(random):
    """Rows used twice, once and never; -1 is none."""
    rows = np.array([2, -1, 0, 2, -1])
    table = random(4, 3)
    x = check(ops.vectors, [table], [rows, 2.5])
    assert not x[[1, 4]].any()
    np.testing.assert_allclose(x[[0, 2, 3]], 2.5 * table[[2, 0, 2]])


def test_add(random):
    check(ops.add, [random(5, 3), random(5, 3)])


def test_linear(random):
    check(ops.linear, [random(5, 3), random(4, 3)])


def test_rmsnorm_of_heads(random):
    x = random(2, 3, 5, 4)
    y = check(ops.rmsnorm, [x], [1e-5])
    for place in np.ndindex(2, 3):
        np.testing.assert_array_equal(y[place], ops.rmsnorm(x[place], 1e-5)[0])


def test_scale(random):
    check(ops.scale, [random(2, 3, 5, 4), random(1)])


def test_lookup(random):
    check(ops.lookup, [random(3, 4)], [pad([[1, 0, 1], [2, 1, 0]])])


@pytest.mark.parametrize("d", [2, 4, 6])
def test_rotate(random, d):
    by = rotations(n_embd=2 * d, start=3, t=5)
    x = random(2, 2, 5, d)
    y = check(ops.rotate, [x], [by])
    np.testing.assert_allclose((y * y).sum(axis=-1), (x * x).sum(axis=-1), rtol=1e-14)
    np.testing.assert_allclose(ops.rotate_backward(y, by), x, atol=1e-15)


def rotations(start, t, **changes):
    model, _ = model_and_training(small_settings(position="rope", **changes), 5)
    return ops.rotations(model, start, t, np.dtype("float64"))


def test_the_angles_of_a_worked_example(random):
    """D = 4, base 100: at position 2 the pairs (0, 2) and (1, 3) turn by 2 and by 2 / √100 = 0.2."""
    by = rotations(start=2, t=1, n_embd=4, n_head=1, rope_base=100.0)
    y, _ = ops.rotate(np.array([[[[1.0, 0.0, 0.0, 3.0]]]]), by)
    np.testing.assert_allclose(
        y[0, 0, 0], [np.cos(2), -3 * np.sin(0.2), np.sin(2), 3 * np.cos(0.2)], rtol=1e-15
    )
    np.testing.assert_array_equal(ops.rotate(y, rotations(start=0, t=1, n_embd=4, n_head=1))[0], y)


def test_scores_of_rotated_heads_depend_on_the_distance_alone(random):
    q, k = random(1, 1, 1, 8), random(1, 1, 1, 8)

    def score(t, u):
        rotated = [
            ops.rotate(x, rotations(start=at, t=1, n_embd=8, n_head=1))[0] for x, at in ((q, t), (k, u))
        ]
        return (rotated[0] * rotated[1]).sum()

    assert score(3, 1) == pytest.approx(score(12, 10), rel=1e-13)
    assert score(3, 1) != pytest.approx(score(3, 2), rel=1e-3)


@pytest.mark.parametrize("start", [0, 2])
def test_positions(random, start):
    check(ops.positions, [random(5, 4)], [start, 2, 3])


def test_softmax(random):
    x = random(4, 6)
    p = check(ops.softmax, [x])
    np.testing.assert_allclose(p.sum(axis=1), 1.0)
    np.testing.assert_allclose(ops.softmax(x + 1000.0)[0], p, rtol=1e-9)


@pytest.mark.parametrize("t", [1, 2, 7])
def test_attention(random, t):
    q, k, v = (random(2, 3, t, 4) for _ in range(3))
    mask = ops.causal_mask(t, 0, q.dtype)
    scores, saved = ops.attention_scores(q, k, mask)
    assert np.isneginf(scores).sum() == 6 * np.isneginf(mask).sum()
    check(ops.attention_scores, [q, k], [np.zeros_like(mask)])
    assert np.isfinite(ops.attention_scores_backward(np.ones_like(scores), saved)).all()
    p, saved = ops.softmax(scores)
    assert not ops.softmax_backward(random(*p.shape), saved)[:, :, mask < 0].any()
    check(ops.attend, [p, v])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_mask_of_later_positions_is_the_end_of_the_whole(dtype):
    whole = ops.causal_mask(5, 0, np.dtype(dtype))
    np.testing.assert_array_equal(whole, np.triu(np.full((5, 5), -np.inf), k=1))
    assert whole.dtype == dtype
    for t in (1, 2, 5):
        np.testing.assert_array_equal(ops.causal_mask(t, 5 - t, np.dtype(dtype)), whole[5 - t :])


def test_heads_split_and_merge(random):
    x = random(6, 8)
    np.testing.assert_array_equal(ops.merge_heads(check(ops.split_heads, [x], [2, 4])), x)


@pytest.mark.parametrize("times", [1, 2, 3])
def test_queries_share_heads(random, times):
    x = random(2, 2, 5, 3)
    y = check(ops.repeat_heads, [x], [times])
    for head in range(2 * times):
        np.testing.assert_array_equal(y[:, head], x[:, head // times])


@pytest.mark.parametrize("kind", ops.ACTIVATIONS)
def test_activation(random, kind):
    check(ops.ACTIVATIONS[kind], [random(5, 9) for _ in range(1 + (kind == "swiglu"))])


def test_gelu_is_exact_and_its_approximation_near():
    u = np.linspace(-9, 9, 181)
    g, _ = ops.gelu(u)
    exact = [x / 2 * (1 + math.erf(x / math.sqrt(2))) for x in u]
    np.testing.assert_allclose(g, exact, rtol=1e-15, atol=1e-15)
    np.testing.assert_allclose(ops.gelu_tanh(u)[0], g, atol=5e-4)
    assert np.abs(ops.gelu_tanh(u)[0] - g).max() > 1e-4


@pytest.mark.parametrize("kind", ops.ACTIVATIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_activation_stays_finite_and_keeps_the_precision(kind, dtype):
    u = np.array([-1e4, -100.0, 0.0, 100.0, 1e4], dtype)
    inputs = [u, u] if kind == "swiglu" else [u]
    with np.errstate(over="raise", invalid="raise"):
        g, saved = ops.ACTIVATIONS[kind](*inputs)
        du = ops.BACKWARD[ops.ACTIVATIONS[kind]](np.ones_like(g), saved)
    for array in (g, *(du if isinstance(du, tuple) else [du])):
        assert array.dtype == dtype
        assert np.isfinite(array).all()


def test_cross_entropy(random):
    logits, targets, weights = random(4, 5), np.array([0, 4, 2, 2]), np.array([0.5, 0.25, 0.0, 0.25])
    loss = check(ops.cross_entropy, [logits], [targets, weights], dy=np.array(1.5))
    p, _ = ops.softmax(logits)
    assert loss == pytest.approx(-(weights * np.log(p[np.arange(4), targets])).sum(), rel=1e-14)


def test_cross_entropy_stays_finite_where_p_underflows():
    loss, _ = ops.cross_entropy(np.array([[0.0, 2000.0]]), np.array([0]), np.array([1.0]))
    assert loss == pytest.approx(2000.0)


def test_padding_weighs_nothing():
    weights = pad([[0.2, 0.1, 0.3], [0.4]], np.float64)
    np.testing.assert_array_equal(weights, [[0.2, 0.1, 0.3], [0.4, 0.0, 0.0]])
