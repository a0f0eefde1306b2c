"""Automatic differentiation over single numbers.

A Node holds a number, the nodes it was computed from, and the derivative with respect to each of
them, written down when the number is made: the operation and its calculus stand on one line. The
chain rule is `backward`, which walks the graph from its root. Standard library only.

Where IEEE arithmetic would answer infinity or nan, so do these operations, so that a training that has
run away ends in a loss that is not finite and not in an exception.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from operator import mul


class Node:
    """data; grad: d root / d this, after root.backward(); kind; parents; slopes: d this / d parent."""

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

    def __pow__(self, other: Node | float) -> Node:
        """x^y with d/dx = y x^(y-1); where y is a node too, d/dy = x^y log x, and 0 at 0^y for y >= 0."""
        x, y = self.data, other.data if isinstance(other, Node) else other
        result, slope = power(x, y), y * power(x, y - 1.0) if y else 0.0
        if not isinstance(other, Node):
            return Node(result, "pow", (self,), (slope,))
        return Node(result, "pow", (self, other), (slope, 0.0 if x == 0.0 and y >= 0.0 else result * log(x)))

    def exp(self) -> Node:
        try:
            result = math.exp(self.data)
        except OverflowError:
            result = math.inf
        return Node(result, "exp", (self,), (result,))

    def log(self) -> Node:
        return Node(log(self.data), "log", (self,), (power(self.data, -1.0),))

    def tanh(self) -> Node:
        result = math.tanh(self.data)
        return Node(result, "tanh", (self,), (1.0 - result * result,))

    def relu(self) -> Node:
        return Node(0.0 if self.data <= 0.0 else self.data, "relu", (self,), (float(self.data > 0.0),))

    # The rest is derived from these seven.

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

    def __rpow__(self, other: float) -> Node:
        return node(other) ** self

    def backward(self) -> None:
        """Add d self / d leaf to the grad of every leaf; other nodes hold the gradient of this call alone."""
        for current in walk_back(self):
            current.pass_on()

    def pass_on(self) -> None:
        """The chain rule: a parent's gradient gains slope · grad."""
        if self.grad:
            for parent, slope in zip(self.parents, self.slopes, strict=True):
                parent.grad += slope * self.grad


def node(x: Node | float) -> Node:
    """x itself, or a constant made into a leaf."""
    return x if isinstance(x, Node) else Node(x, "constant")


def power(x: float, y: float) -> float:
    """x^y: nan for a root of a negative number, and infinities with the sign that odd powers keep."""
    try:
        return math.pow(x, y)
    except OverflowError:
        pass
    except ValueError:
        if x:
            return math.nan
    return math.copysign(math.inf, x) if y % 2.0 == 1.0 else math.inf


def log(x: float) -> float:
    """log x, -inf at 0 and nan below."""
    return math.log(x) if x > 0.0 else -math.inf if x == 0.0 else math.nan


def dot_of_products(xs: Sequence[Node], ys: Sequence[Node]) -> Node:
    """Σ xs[i] · ys[i] with a node for each product and each partial sum: the reference for `dot`."""
    return total_of_sums([x * y for x, y in zip(xs, ys, strict=True)])


def dot(xs: Sequence[Node], ys: Sequence[Node]) -> Node:
    """Σ xs[i] · ys[i] as one node. The sums inside would all have its gradient, so nothing is lost."""
    if len(xs) != len(ys):
        raise ValueError(f"dot: expected as many numbers on both sides, got {len(xs)} and {len(ys)}")
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


def walk_back(root: Node) -> Iterator[Node]:
    """The root and all that has parents below it, children first; gradients at zero but the root's at one."""
    order = topological(root)
    for current in order:
        if current.parents:
            current.grad = 0.0
    root.grad += 1.0
    return reversed(order)


def all_nodes(root: Node) -> list[Node]:
    """Every node the root depends on, leaves too, each once, parents first."""
    seen: dict[Node, None] = {}
    for current in topological(root):
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
