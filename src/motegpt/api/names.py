"""Names of settings given to the Python API."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from motegpt.config.fields import unknown_setting


def check_names(given: Iterable[str], known: Collection[str], method: Callable[..., object]) -> None:
    """SettingError for an unknown setting; suggests similar settings and arguments of the method."""
    unknown = [name for name in given if name not in known]
    if unknown:
        from inspect import signature

        arguments = [one.name for one in signature(method).parameters.values() if one.kind != one.VAR_KEYWORD]
        raise unknown_setting(unknown[0], [*known, *arguments])
