"""From the hooks of a user, functions of a value and its point, to the changes that a forward pass makes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from motegpt.config.text import shortened
from motegpt.errors import UsageError
from motegpt.lens.names import HookPoint, matching

if TYPE_CHECKING:
    from motegpt.engines.array.ops import Array, Change
    from motegpt.lens.names import Key, Predicate

    Function = Callable[[Array, HookPoint], Any]
    Hook = tuple[Key | Predicate, Function]


def changes(what: str, hooks: Iterable[Hook], names: Collection[str], n_layer: int) -> dict[str, Change]:
    """By name, what all hooks of a point make of its value, in their order.

    what: the argument, for messages. UsageError for what is not a hook, and names that no point has.
    """
    functions: dict[str, list[Function]] = {}
    for hook in hooks:
        if not isinstance(hook, tuple | list) or len(hook) != 2 or not callable(hook[1]):
            raise UsageError(f"{what}: expected pairs of a name and a function, got {shortened(hook)}")
        for name in matching(what, hook[0], names, n_layer):
            functions.setdefault(name, []).append(hook[1])
    return {name: _change(what, HookPoint(name), given) for name, given in functions.items()}


def _change(what: str, point: HookPoint, functions: list[Function]) -> Change:
    def change(value: Array) -> Array:
        value = value.copy()  # which a hook may write to
        for function in functions:
            result = function(value, point)
            if result is not None:
                value = _checked(what, point, result, value)
        return value

    return change


def _checked(what: str, point: HookPoint, result: Any, value: Array) -> Array:
    """The result of a hook as an array like the value; UsageError if it is none."""
    try:
        found = np.array(result)
    except (TypeError, ValueError):
        found = np.array(None)
    if found.shape != value.shape or found.dtype.kind not in "fiu":
        got = f"shape {found.shape}" if found.dtype.kind in "fiu" else shortened(result)
        raise UsageError(f"{what}: {point.name} expected None or numbers of shape {value.shape}, got {got}")
    return found.astype(value.dtype)
