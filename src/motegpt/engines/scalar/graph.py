"""Automatic differentiation over single numbers.

A Node holds a number, the nodes it was computed from, and the derivative with respect to each of
them, written down when the number is made: the operation and its calculus stand on one line. The
chain rule is `backward`, which walks the graph from its root. Standard library only.

Where IEEE arithmetic would answer infinity, so do these operations, so that a training that has run
away ends in a loss that is not finite and not in an exception.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from operator import mul


class Node:
    """data; grad: d root / d this, after backward; kind; parents; slopes: d this / d parent."""

    __slots__ = ("data", "grad", "kind", "parents", "slopes")

    def __init__(
        self,
        data: float,
        kind: str = "leaf",
        parents: tuple[Node, ...] = (),
        slopes: Sequence[float] = (),
    ) -> None:
        self.data = data
        self.grad = 0.0
        self.kind = kind
        self.parents = parents
        self.slopes = slopes

    def __repr__(self) -> str:
        return f"Node({self.data:.6g}, {self.kind})"

    def __add__(self, other: Node | float) -> Node:
        other = node(other)
        return Node(self.data + other.data, "add", (self, other), (1.0, 1.0))

    def __mul__(self, other: Node | float) -> Node:
        other = node(other)
        return Node(self.data * other.data, "mul", (self, other), (other.data, self.data))

    def __pow__(self, exponent: float) -> Node:
        """A constant power: dx^n = n x^(n-1)."""
        slope = exponent * power(self.data, exponent - 1.0)
        return Node(power(self.data, exponent), "pow", (self,), (slope,))

    def exp(self) -> Node:
        try:
            result = math.exp(self.data)
        except OverflowError:
            result = math.inf
        return Node(result, "exp", (self,), (result,))

    def log(self) -> Node:
        result = math.log(self.data) if self.data > 0.0 else -math.inf if self.data == 0.0 else math.nan
        return Node(result, "log", (self,), (power(self.data, -1.0),))

    def relu(self) -> Node:
        return Node(max(0.0, self.data), "relu", (self,), (float(self.data > 0.0),))

    # The rest is derived from these six.

    def squared_relu(self) -> Node:
        positive = self.relu()
        return positive * positive

    def __neg__(self) -> Node:
        return self * -1.0

    def __sub__(self, other: Node | float) -> Node:
        return self + -node(other)

    def __truediv__(self, other: Node | float) -> Node:
        return self * node(other) ** -1.0

    def __radd__(self, other: float) -> Node:
        return self + other

    def __rmul__(self, other: float) -> Node:
        return self * other

    def __rsub__(self, other: float) -> Node:
        return node(other) - self

    def __rtruediv__(self, other: float) -> Node:
        return node(other) / self


def node(x: Node | float) -> Node:
    """x itself, or a constant made into a leaf."""
    return x if isinstance(x, Node) else Node(x, "constant")


def power(x: float, exponent: float) -> float:
    """x^exponent, infinite where Python would raise."""
    try:
        return float(x**exponent)
    except (OverflowError, ZeroDivisionError):
        return math.inf


def dot_of_products(xs: Sequence[Node], ys: Sequence[Node]) -> Node:
    """Σ xs[i] · ys[i] with a node for each product and each partial sum: the reference for `dot`."""
    total = xs[0] * ys[0]
    for x, y in zip(xs[1:], ys[1:], strict=True):
        total = total + x * y
    return total


def dot(xs: Sequence[Node], ys: Sequence[Node]) -> Node:
    """Σ xs[i] · ys[i] as one node. The sums inside would all have its gradient, so nothing is lost."""
    x_data, y_data = [x.data for x in xs], [y.data for y in ys]
    return Node(sum(map(mul, x_data, y_data)), "dot", (*xs, *ys), y_data + x_data)


def total_of_sums(xs: Sequence[Node]) -> Node:
    """Σ xs[i] with a node for each partial sum: the reference for `total`."""
    total = xs[0]
    for x in xs[1:]:
        total = total + x
    return total


def total(xs: Sequence[Node]) -> Node:
    """Σ xs[i] as one node."""
    return Node(sum(x.data for x in xs), "sum", tuple(xs), [1.0] * len(xs))


def topological(root: Node) -> list[Node]:
    """Every node the root depends on that has parents, each after its parents; the root is last.

    An explicit stack takes the place of recursion, so the length of a chain has no limit.
    """
    order: list[Node] = []
    seen = {root}
    stack: list[tuple[Node, Iterator[Node]]] = [(root, iter(root.parents))]
    while stack:
        current, parents = stack[-1]
        for parent in parents:
            if parent.parents and parent not in seen:
                seen.add(parent)
                stack.append((parent, iter(parent.parents)))
                break
        else:
            order.append(current)
            stack.pop()
    return order


def backward(root: Node, clip: float | None = None) -> None:
    """Add d root / d node to the grad of every node the root depends on.

    With `clip`, the gradient of each node that has parents is clipped to ± clip before it flows on.
    """
    root.grad = 1.0
    for current in reversed(topological(root)):
        grad = current.grad
        if clip is not None and not -clip <= grad <= clip:
            grad = current.grad = math.copysign(clip, grad) if grad == grad else grad
        if grad:
            for parent, slope in zip(current.parents, current.slopes, strict=True):
                parent.grad += slope * grad


def all_nodes(root: Node) -> list[Node]:
    """Every node the root depends on, leaves too, each once, parents first."""
    seen: dict[Node, None] = {}
    for current in topological(root) or [root]:
        seen.update(dict.fromkeys((*current.parents, current)))
    return list(seen)


def count_kinds(root: Node) -> dict[str, int]:
    """How many nodes of each kind the root depends on, the commonest first."""
    counts: dict[str, int] = {}
    for current in all_nodes(root):
        counts[current.kind] = counts.get(current.kind, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def leaves(values: Iterable[float]) -> list[Node]:
    """A leaf for each number."""
    return [Node(value) for value in values]
