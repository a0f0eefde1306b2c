"""Epochs: a unit in which the length of a training can be asked for. What a run records is steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from motegpt.config.fields import kinds
from motegpt.config.sections import TrainRequest
from motegpt.errors import SettingError

if TYPE_CHECKING:
    from fractions import Fraction


def merge_settings(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Flat settings with others over them, whose `steps` or `epochs` replaces both of those below.

    Raises SettingError if the upper ones have both.
    """
    asked = [name for name in ("steps", "epochs") if above.get(name) is not None]
    if len(asked) == 2:
        raise SettingError(
            f"epochs: expected the length of a training once, got `steps={above['steps']}` and "
            f"`epochs={above['epochs']}`; leave one out"
        )
    kept = {name: value for name, value in below.items() if not (asked and name in ("steps", "epochs"))}
    return {**kept, **above}


def epochs_of(settings: Mapping[str, Any]) -> float | None:
    """The setting `epochs` of some flat ones; None if it is not asked for."""
    epochs: float | None = kinds(TrainRequest)["epochs"].check("epochs", settings.get("epochs"))
    return epochs


def epochs_to_steps(epochs: float, epoch: Fraction) -> int:
    """The steps of a training of so many epochs; epoch: how many steps go once through the data.

    >>> from fractions import Fraction
    >>> epochs_to_steps(0.07, Fraction(100))  # in binary floating point 8, as 0.07 * 100 is above 7
    7
    """
    from fractions import Fraction

    return math.ceil(Fraction(str(epochs)) * epoch)
