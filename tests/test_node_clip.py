"""The automatic differentiation of Oxidized-GPT (`clip_node`): its rules, on every engine."""

import math

import numpy as np
import pytest

from motegpt.data.batches import Batch
from motegpt.engines.array import node_clip as array
from motegpt.engines.array import ops
from motegpt.engines.array.tape import Tape
from motegpt.engines.node_clip import ADDED_TO_P, FLAT_LOG
from motegpt.engines.scalar.draw import count_ops
from motegpt.engines.scalar.graph import Value, dot, dot_unfused, leaves
from motegpt.engines.scalar.model import attention
from motegpt.engines.scalar.node_clip import NodeClip
from tests.conftest import ENGINES_HERE, small_engine, small_settings


class TestScalar:
    def test_the_clip_acts_on_every_node_that_has_parents(self):
        x = Value(0.01)
        NodeClip(10.0).backward(x.log())  # d log x = 100, but the root's own gradient is 1
        assert x.grad == pytest.approx(100.0)
        x = Value(0.01)
        middle = x * 1.0
        NodeClip(10.0).backward(middle.log())
        assert (middle.grad, x.grad) == (10.0, 10.0)

    def test_the_clip_does_not_see_whether_sums_are_fused(self):
        gradients = []
        for join in (dot, dot_unfused):
            xs, ys = leaves([1.0, -2.0, 0.5]), leaves([3.0, 0.25, -7.0])
            product = join(xs, ys)
            NodeClip(2.0).backward(product * product)
            gradients.append([node.grad for node in xs + ys])
        assert gradients[0] == gradients[1] == [-6.0, -0.5, 14.0, -2.0, 4.0, -1.0]

    def test_every_division_of_a_softmax_has_a_node_of_its_own(self):
        """Each p gives its own power 4 to clip; one power for all would have clipped their sum."""
        xs = leaves([0.0, 0.0])
        p = NodeClip(3.0).softmax(xs)
        root = dot([*p], leaves([4.0, 4.0]))
        assert count_ops(root)["pow"] == 2
        NodeClip(3.0).backward(root)
        dp, dtotal = 1.0 * 4.0, 0.0  # the root's own gradient is 1
        dp = min(dp, 3.0)
        dtotal = sum(-min(dp * 1.0, 3.0) / 4.0 for _ in xs)
        assert [x.grad for x in xs] == pytest.approx([dp / 2.0 + dtotal] * 2)

    def test_the_logarithm_is_flat_near_zero(self):
        for p, slope in ((0.5, -1 / (0.5 + ADDED_TO_P)), (FLAT_LOG / 2, 0.0)):
            x = leaves([math.log(p), math.log(1 - p)])
            log_p = NodeClip(math.inf).log_p(x, 0)
            assert log_p.data == pytest.approx(math.log(p + ADDED_TO_P), rel=1e-12)
            NodeClip(math.inf).backward(log_p)
            assert x[0].grad == pytest.approx(-slope * p * (1 - p), rel=1e-9)


class TestArray:
    def test_where_nothing_is_clipped_only_the_1e_8_differs_from_the_textbook(self):
        chance = np.random.default_rng(1)
        logits, targets = chance.standard_normal((4, 5)), np.array([0, 4, 2, 2])
        weights = np.array([0.5, 0.25, 0.0, 0.25])
        loss, saved = array.cross_entropy_clipped(logits, targets, weights)
        p_target = saved.p[np.arange(4), targets]
        assert loss == pytest.approx(-(weights * np.log(p_target + ADDED_TO_P)).sum(), rel=1e-14)
        weights_by_node = weights * p_target / (p_target + ADDED_TO_P)
        expected = ops.cross_entropy_backward(1.0, saved._replace(weights=weights_by_node))
        backward = array.clipped_rules(1e30)[array.cross_entropy_clipped]
        np.testing.assert_allclose(backward(1.0, saved), expected, atol=1e-15)

    def test_it_bounds_a_confident_mistake(self):
        logits, targets, weights = np.array([[13.0, 0.0]]), np.array([1]), np.array([1.0])
        _, saved = array.cross_entropy_clipped(logits, targets, weights)
        clipped = array.clipped_rules(10.0)[array.cross_entropy_clipped](1.0, saved)
        assert 1e-5 < np.abs(clipped).max() < 1e-4  # -1 / p = -4.4e5 was cut to -10
        textbook = ops.cross_entropy_backward(1.0, saved)
        assert np.abs(textbook).max() == pytest.approx(1.0, rel=1e-5)


class TestAttention:
    """Gradients so large that the clip acts on every node of its softmax: what the scalar graph has."""

    T, D = 5, 4

    @pytest.fixture
    def problem(self):
        chance = np.random.default_rng(1)
        q, k, v, dy = (2 * chance.standard_normal((self.T, self.D)) for _ in range(4))
        nodes = [[leaves(row) for row in x] for x in (q, k, v)]
        y = [
            attention(nodes[0][t], nodes[1][: t + 1], nodes[2][: t + 1], 1, NodeClip(1.0))[0]
            for t in range(self.T)
        ]
        NodeClip(1.0).backward(dot([node for row in y for node in row], leaves(dy.ravel())))
        expected = [np.array([[node.grad for node in row] for row in x]) for x in nodes]
        return q, k, v, dy, expected

    def test_array(self, problem):
        q, k, v, dy, expected = problem

        def gradients(rules):
            qkv = [x[None, None] for x in (q, k, v)]
            dqkv = [np.zeros_like(x) for x in qkv]
            tape = Tape({**rules, dot_with: lambda _, saved: saved}, zip(qkv, dqkv, strict=True))
            scores = tape.apply(ops.attention_scores, *qkv[:2], ops.causal_mask(self.T, 0, q.dtype))
            z = tape.apply(ops.attend, tape.apply(ops.softmax, scores), qkv[2])
            tape.backward(tape.apply(dot_with, z, dy))
            return [dx[0, 0] for dx in dqkv]

        def dot_with(z, dy):
            return (z * dy).sum(), dy

        for got, x in zip(gradients(array.clipped_rules(1.0)), expected, strict=True):
            np.testing.assert_allclose(got, x, rtol=1e-12, atol=1e-13)
        textbook = gradients(ops.BACKWARD)
        assert all(np.abs(a - b).max() > 0.1 for a, b in zip(textbook, expected, strict=True))

    def test_torch(self, problem):
        torch = pytest.importorskip("torch")
        clipped = pytest.importorskip("motegpt.engines.torch.node_clip").NodeClip(1.0)
        *qkv, dy = (torch.tensor(x)[None, None] for x in problem[:4])
        qkv = [x.requires_grad_() for x in qkv]
        for got, x in zip(
            torch.autograd.grad(clipped.attention(*qkv, causal=True), qkv, dy), problem[4], strict=True
        ):
            np.testing.assert_allclose(got[0, 0], x, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", ENGINES_HERE)
def test_a_loss_where_p_vanishes_is_finite_and_has_no_gradient(name):
    engine = small_engine(name, small_settings(clip_node=10.0))
    w = engine.export().parameters
    for matrix in w.values():
        matrix[:] = 0.0
    w["wte"][0, 0] = 1.0  # after 0 the model is certain of 0, and 1 comes
    w["lm_head"][0, 0], w["lm_head"][1, 0] = 40.0, -40.0
    engine.load(w)
    loss, gradients = engine.gradients(Batch.of([[0, 1]], "documents"))
    assert loss == pytest.approx(-math.log(ADDED_TO_P), rel=1e-6)
    assert not any(gradient.any() for gradient in gradients.values())
