"""The automatic differentiation of Oxidized-GPT (`clip_node`): its rules, on every engine."""

import pytest

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
