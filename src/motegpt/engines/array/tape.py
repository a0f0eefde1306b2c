"""A tape: the operations that a forward pass applied, in order, for the chain rule to run in reverse.

So no backward pass is written by hand: the block applies operations, and `backward` calls the backward of
each, last first. An array may be an input of several operations (the residual stream; h, of q, k and v):
its gradient is the sum of what each of them returns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from motegpt.engines.array.ops import Array

    Operation = Callable[..., tuple[Any, Any]]
    Rules = Mapping[Operation, Callable[..., Any]]  # forward -> backward
    Applied = tuple[Operation, Any, tuple[int, ...], int]  # with what it saved, the ids of inputs and result


class Tape:
    """Records operations on arrays. It keeps of an array no more than its id, and what an operation saved.

    The id of an array that is freed may become that of a later one. No gradients are mixed up: the old array
    was used only before the new one was made, and there `backward` has taken out the gradient of the new one.
    """

    def __init__(self, rules: Rules, parameters: Iterable[tuple[Array, Array]]) -> None:
        """rules: ops.BACKWARD, or others in its place; parameters: pairs of w and the dw to add to."""
        self._rules = rules
        self._dw = {id(w): dw for w, dw in parameters}
        self._applied: list[Applied] = []

    def apply(self, operation: Operation, *inputs: Any) -> Any:
        """The operation's result."""
        y, saved = operation(*inputs)
        self._applied.append((operation, saved, tuple(map(id, inputs)), id(y)))
        return y

    def backward(self, root: Array, droot: Array | None = None) -> None:
        """Add d Σ(root · droot) / d w to every dw, droot being 1. Frees what was saved, so it runs once."""
        gradients = {id(root): np.ones_like(root) if droot is None else droot}
        while self._applied:
            operation, saved, inputs, output = self._applied.pop()
            dxs = self._rules[operation](gradients.pop(output), saved)
            dxs = dxs if type(dxs) is tuple else (dxs,)
            for x, dx in zip(inputs, dxs, strict=False):  # constants come last, and have none
                if (dw := self._dw.get(x)) is not None:
                    dw += dx
                elif (other := gradients.get(x)) is not None:
                    gradients[x] = other + dx  # not in place: an operation may return dy itself, and twice
                else:
                    gradients[x] = dx


def apply(operation: Operation, *inputs: Any) -> Any:
    """The operation's result, where no gradient is wanted."""
    return operation(*inputs)[0]
