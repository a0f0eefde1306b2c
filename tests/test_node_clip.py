"""The automatic differentiation of Oxidized-GPT (`clip_node`): its rules, on every engine."""

import numpy as np
import pytest

from motegpt.engines.array import node_clip as array
from motegpt.engines.array import ops
from motegpt.engines.scalar.graph import Node, dot, dot_of_products, leaves
from motegpt.engines.scalar.node_clip import NodeClip


class TestScalar:
    def test_the_clip_acts_on_every_node_that_has_parents(self):
        x = Node(0.01)
        NodeClip(10.0).backward(x.log())  # d log x = 100, but the root's own gradient is 1
        assert x.grad == pytest.approx(100.0)
        x = Node(0.01)
        middle = x * 1.0
        NodeClip(10.0).backward(middle.log())
        assert (middle.grad, x.grad) == (10.0, 10.0)

    def test_the_clip_does_not_see_whether_sums_are_fused(self):
        gradients = []
        for join in (dot, dot_of_products):
            xs, ys = leaves([1.0, -2.0, 0.5]), leaves([3.0, 0.25, -7.0])
            product = join(xs, ys)
            NodeClip(2.0).backward(product * product)
            gradients.append([node.grad for node in xs + ys])
        assert gradients[0] == gradients[1] == [-6.0, -0.5, 14.0, -2.0, 4.0, -1.0]


class TestArray:
    def test_where_nothing_is_clipped_it_is_the_textbook(self):
        chance = np.random.default_rng(1)
        logits, targets, weights = (
            chance.standard_normal((4, 5)),
            np.array([0, 4, 2, 2]),
            np.array([2, 1, 0, 1.0]),
        )
        back = array.NodeClip(1e30)
        loss, p = back.cross_entropy(logits, targets, weights)
        assert loss == pytest.approx(ops.cross_entropy(logits, targets, weights)[0], rel=1e-14)
        expected = ops.cross_entropy_backward(p, targets, weights)
        np.testing.assert_allclose(back.cross_entropy_backward(p, targets, weights), expected, atol=1e-15)

    def test_it_bounds_a_confident_mistake(self):
        logits, targets, weights = np.array([[20.0, 0.0]]), np.array([1]), np.array([1.0])
        back = array.NodeClip(10.0)
        p = back.cross_entropy(logits, targets, weights)[1]
        clipped = back.cross_entropy_backward(p, targets, weights)
        assert np.abs(clipped).max() < 1e-6  # -1/p = -4.9e8 was cut to -10
        textbook = ops.cross_entropy_backward(p, targets, weights)
        assert np.abs(textbook).max() == pytest.approx(1.0)
