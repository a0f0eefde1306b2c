"""Whether a run learns as one of the reference programs does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from motegpt.config.presets import PRESETS, expected_settings
from motegpt.config.sections import SECTIONS

if TYPE_CHECKING:
    from motegpt.training.state import RunConfig

LEARNING = ("model", "data", "train")  # the sections that decide how a model learns
REPORTING = {  # and those of it that do not, beside all that end in _every
    "vocab_size", "threads", "checkpoint_activations", "count_from", "keep", "checkpoint_minutes",
}  # fmt: skip


def flat_settings(config: RunConfig, sections: Sequence[str] = tuple(SECTIONS)) -> dict[str, Any]:
    """The settings of some sections by name."""
    values = config.values()
    return {name: value for section in sections for name, value in values[section].items()}


def learning_settings(config: RunConfig) -> dict[str, Any]:
    """The settings of a run that decide how its model learns, by name."""
    settings = flat_settings(config, LEARNING)
    return {k: v for k, v in settings.items() if k not in REPORTING and not k.endswith("_every")}


def matching_preset(config: RunConfig) -> str | None:
    """The preset whose program learns as this run does, on whatever data; None if none does.

    In whatever precision: an engine may not have that of the preset.
    """
    found = learning_settings(config)
    del found["dtype"]
    for preset in PRESETS:
        expected = expected_settings(preset)
        if all(expected[name] == value for name, value in found.items()):
            return preset
    return None
