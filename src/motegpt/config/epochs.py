"""Settings that replace others: given ones those of a preset; epochs and seconds the steps of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from motegpt.config.fields import kinds, plain
from motegpt.config.sections import TrainRequest
from motegpt.config.sections.model import EXCLUDES
from motegpt.errors import SettingError

if TYPE_CHECKING:
    from fractions import Fraction

LENGTHS = ("steps", "epochs", "seconds")  # the settings for the length of a training


def merge_settings(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Flat settings updated with `changes`, whose `steps`, `epochs` or `seconds` replaces all of the base.

    What a change excludes is switched off in the base. Raises SettingError if `changes` has `steps` and
    `epochs`; either takes precedence over `seconds`.
    """
    lengths = [name for name in ("steps", "epochs") if changes.get(name) is not None]
    if len(lengths) == 2:
        raise SettingError(
            f"epochs: expected `steps` or `epochs`, got `steps={changes['steps']}` and "
            f"`epochs={changes['epochs']}`; leave one out"
        )
    replaces = any(changes.get(name) is not None for name in LENGTHS)
    kept = {name: value for name, value in base.items() if not (replaces and name in LENGTHS)}
    return {**kept, **_switched_off(base, changes), **changes}


def _switched_off(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, bool]:
    """The settings that are on in the base and that a change excludes, as false: see EXCLUDES."""
    excluded = (
        name
        for (setting, value), names in EXCLUDES.items()
        if _is(plain(changes.get(setting)), value)
        for name in names
    )
    return {name: False for name in excluded if base.get(name)}


def _is(given: Any, value: str | bool) -> bool:
    """Whether any value, as a user may give it, is this one."""
    return type(given) is type(value) and bool(given == value)


def epochs_of(settings: Mapping[str, Any]) -> float | None:
    """The validated setting `epochs` of flat settings; None if not set."""
    return _checked("epochs", settings)


def seconds_of(settings: Mapping[str, Any]) -> float | None:
    """The validated setting `seconds` of flat settings; None if not set, or if another length is."""
    seconds = _checked("seconds", settings)
    others = (settings.get(name) for name in LENGTHS if name != "seconds")
    return None if any(other is not None for other in others) else seconds


def _checked(name: str, settings: Mapping[str, Any]) -> float | None:
    value: float | None = kinds(TrainRequest)[name].check(name, settings.get(name))
    return value


def epochs_to_steps(epochs: float, epoch: Fraction) -> int:
    """Number of steps in a number of epochs; epoch: steps per pass over the data.

    >>> from fractions import Fraction
    >>> epochs_to_steps(0.07, Fraction(100))  # in binary floating point 8, as 0.07 * 100 is above 7
    7
    """
    from fractions import Fraction

    return math.ceil(Fraction(str(epochs)) * epoch)
