"""The node clip over nodes: the automatic differentiation that the setting `clip_node` switches on."""

from __future__ import annotations

from motegpt.engines.scalar.graph import Node, walk_back
from motegpt.engines.scalar.model import Operations, Vector


class NodeClip(Operations):
    """bound: of the gradient that a node passes on to its parents."""

    def __init__(self, bound: float) -> None:
        self._bound = bound

    def log_p(self, x: Vector, target: int) -> Node:
        """The logarithm of p itself, as a node, so that the clip sees its slope 1 / p."""
        return self.softmax(x)[target].log()

    def backward(self, loss: Node) -> None:
        """Leave the clipped gradient of the loss in the leaves, and in each node what it passed on."""
        for node in walk_back(loss):
            node.grad = min(max(node.grad, -self._bound), self._bound)
            node.pass_on()
