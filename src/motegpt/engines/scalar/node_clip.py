"""The automatic differentiation of Oxidized-GPT over nodes; engines/node_clip.py has its rules."""

from __future__ import annotations

from motegpt.engines.node_clip import ADDED_TO_P, FLAT_LOG
from motegpt.engines.scalar.graph import Value, log, power, reversed_graph
from motegpt.engines.scalar.model import Reductions, Vector


class NodeClip(Reductions):
    """bound: of the gradient that a node passes on to its parents."""

    def __init__(self, bound: float) -> None:
        self._bound = bound

    def softmax(self, x: Vector) -> Vector:
        """p = e / Σe, each division with a node of its own for 1 / Σe."""
        highest = max(node.data for node in x)
        e = [(node + -highest).exp() for node in x]
        total = self.sum_values(e)
        return [node / total for node in e]

    def log_p(self, x: Vector, target: int) -> Value:
        """log(p[target] + ADDED_TO_P), by way of p itself."""
        return self._log(self.softmax(x)[target] + ADDED_TO_P)

    def backward(self, loss: Value) -> None:
        """Leave the clipped gradient of the loss in the leaves, and in each node what it passed on."""
        for node in reversed_graph(loss):
            node.grad = min(max(node.grad, -self._bound), self._bound)
            node.propagate()

    @staticmethod
    def _log(a: Value) -> Value:
        da = 0.0 if abs(a.data) <= FLAT_LOG else power(a.data, -1.0)
        return Value(log(a.data), "log", (a,), (da,))
