"""Class methods that make a model, refused where they are called on one, which they would not change."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from motegpt.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    on_class = classmethod
else:

    class on_class(classmethod):  # noqa: N801  # in the place of classmethod
        """A classmethod that raises UsageError where it is called on an instance."""

        def __get__(self, instance: object, owner: type | None = None) -> Callable[..., Any]:
            if instance is None:
                return super().__get__(instance, owner)
            return partial(refuse, type(instance).__name__, self.__func__.__name__)


def refuse(kind: str, method: str, *arguments: object, **more: object) -> None:
    """Say what to call instead."""
    call = f"{kind}.{method}"
    better = f"`{call}(docs)` for a new one, or `{call}(resume=run)` to go on with a run"
    if method == "load":
        better = f"`{call}(path)`"
    raise UsageError(f"{method}: was called on a model, which it does not change; call {better}")
