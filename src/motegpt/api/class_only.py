"""Class methods that cannot be called on an instance."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from motegpt.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    class_only = classmethod
else:

    class class_only(classmethod):  # noqa: N801  # used like classmethod
        """A classmethod that raises UsageError if called on an instance, which it would not change."""

        def __get__(self, instance: object, owner: type | None = None) -> Callable[..., Any]:
            if instance is None:
                return super().__get__(instance, owner)
            return partial(_refuse, type(instance).__name__, self.__func__.__name__)


def _refuse(kind: str, method: str, *arguments: object, **more: object) -> None:
    call = f"{kind}.{method}"
    repair = f"`{call}(docs)` to train a new model, or `{call}(resume=path)` to resume a run"
    if method in ("load", "from_hf"):
        repair = f"`{call}(path)`"
    raise UsageError(f"{method}: expected a call on the class {kind}, got one on a model; call {repair}")
