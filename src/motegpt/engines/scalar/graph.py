"""Automatic differentiation over single numbers.

A Value holds a number, the values it was computed from, and its local derivative with respect to each of
them: each operation records its local derivatives when it computes its result. `backward` applies the chain
rule from the root of the graph to its leaves. Standard library only.

Operations return infinity or nan where IEEE arithmetic does, so that training that diverges ends with a loss
that is not finite instead of an exception.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from operator import mul


class Value:
    """data; grad: d root / d this, after root.backward(); op; parents; local_grads: d this / d parent."""

    __slots__ = ("data", "grad", "local_grads", "op", "parents")

    def __init__(
        self, data: float, op: str = "leaf", parents: Sequence[Value] = (), local_grads: Sequence[float] = ()
    ) -> None:
        self.data, self.grad = data, 0.0
        self.op, self.parents, self.local_grads = op, parents, local_grads

    def __repr__(self) -> str:
        return f"Value({self.data:.6g}, {self.op})"

    def _repr_svg_(self) -> str:
        """What a notebook shows: the graph."""
        from motegpt.engines.scalar.inline import to_inline_svg

        return to_inline_svg(self)

    def __add__(self, other: Value | float) -> Value:
        other = value(other)
        return Value(self.data + other.data, "add", (self, other), (1.0, 1.0))

    def __mul__(self, other: Value | float) -> Value:
        other = value(other)
        return Value(self.data * other.data, "mul", (self, other), (other.data, self.data))

    def __pow__(self, other: Value | float) -> Value:
        """x^y with d/dx = y x^(y-1); where y is a value too, d/dy = x^y log x, and 0 at 0^y for y >= 0."""
        x, y = self.data, other.data if isinstance(other, Value) else other
        result, dx = power(x, y), y * power(x, y - 1.0) if y else 0.0
        if not isinstance(other, Value):
            return Value(result, "pow", (self,), (dx,))
        return Value(result, "pow", (self, other), (dx, 0.0 if x == 0.0 and y >= 0.0 else result * log(x)))

    def exp(self) -> Value:
        try:
            result = math.exp(self.data)
        except OverflowError:
            result = math.inf
        return Value(result, "exp", (self,), (result,))

    def log(self) -> Value:
        return Value(log(self.data), "log", (self,), (power(self.data, -1.0),))

    def tanh(self) -> Value:
        result = math.tanh(self.data)
        return Value(result, "tanh", (self,), (1.0 - result * result,))

    def erf(self) -> Value:
        slope = 2.0 / math.sqrt(math.pi) * math.exp(-self.data * self.data)
        return Value(math.erf(self.data), "erf", (self,), (slope,))

    def sigmoid(self) -> Value:
        """1 / (1 + exp(-x)), without overflow."""
        e = math.exp(-abs(self.data))
        result = (e if self.data < 0.0 else 1.0) / (1.0 + e)
        return Value(result, "sigmoid", (self,), (result * (1.0 - result),))

    def relu(self) -> Value:
        return Value(0.0 if self.data <= 0.0 else self.data, "relu", (self,), (float(self.data > 0.0),))

    # The rest is derived from these nine.

    __radd__, __rmul__ = __add__, __mul__

    def squared_relu(self) -> Value:
        positive = self.relu()
        return positive * positive

    def __neg__(self) -> Value:
        return self * -1.0

    def __sub__(self, other: Value | float) -> Value:
        return self + -value(other)

    def __truediv__(self, other: Value | float) -> Value:
        return self * value(other) ** -1.0

    def __rsub__(self, other: float) -> Value:
        return value(other) - self

    def __rtruediv__(self, other: float) -> Value:
        return value(other) / self

    def __rpow__(self, other: float) -> Value:
        return value(other) ** self

    def backward(self) -> None:
        """Add d self / d leaf to the grad of every leaf; other values hold the gradient of this call."""
        for current in reversed_graph(self):
            current.propagate()

    def propagate(self) -> None:
        """The chain rule: a parent's gradient gains local_grad · grad."""
        if self.grad:
            for parent, local_grad in zip(self.parents, self.local_grads, strict=True):
                parent.grad += local_grad * self.grad


def value(x: Value | float) -> Value:
    """x itself, or a constant made into a leaf."""
    return x if isinstance(x, Value) else Value(x, "constant")


def leaves(numbers: Iterable[float]) -> list[Value]:
    """A leaf for each number."""
    return [Value(number) for number in numbers]


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


def dot(xs: Sequence[Value], ys: Sequence[Value]) -> Value:
    """Σ xs[i] · ys[i] as one value. The sums inside would all have its gradient, so nothing is lost."""
    if len(xs) != len(ys):
        raise ValueError(f"dot: expected as many numbers on both sides, got {len(xs)} and {len(ys)}")
    x_data, y_data = [x.data for x in xs], [y.data for y in ys]
    return Value(sum(map(mul, x_data, y_data)), "dot", (*xs, *ys), y_data + x_data)


def dot_unfused(xs: Sequence[Value], ys: Sequence[Value]) -> Value:
    """Σ xs[i] · ys[i] with a value for each product and each partial sum: the reference for `dot`."""
    return sum_unfused([x * y for x, y in zip(xs, ys, strict=True)])


def sum_values(xs: Sequence[Value]) -> Value:
    """Σ xs[i] as one value."""
    return Value(sum(x.data for x in xs), "sum", tuple(xs), [1.0] * len(xs))


def sum_unfused(xs: Sequence[Value]) -> Value:
    """Σ xs[i] with a value for each partial sum: the reference for `sum_values`."""
    total = xs[0]
    for x in xs[1:]:
        total = total + x
    return total


def topological(root: Value) -> list[Value]:
    """The root, which is last, and every value with parents that it depends on, each after its parents.

    An explicit stack takes the place of recursion, so the length of a chain has no limit.
    """
    order: list[Value] = []
    seen = {root}
    stack: list[tuple[Value, Iterator[Value]]] = [(root, iter(root.parents))]
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


def reversed_graph(root: Value) -> Iterator[Value]:
    """The root and what it depends on, children first; gradients at zero, but 1 more at the root."""
    order = topological(root)
    for current in order:
        if current.parents:
            current.grad = 0.0
    root.grad += 1.0
    return reversed(order)
