"""Compare the settings of a run with those of the reference programs, and write them as a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from motegpt.config.needs import needing
from motegpt.config.presets import PRESETS, REFERENCE_PRESET, expected_settings
from motegpt.config.sections import FOUND_FROM_DATA, SECTIONS
from motegpt.data.corpus import BUILT_IN

if TYPE_CHECKING:
    from motegpt.training.state import RunConfig

LEARNING = ("model", "data", "train")  # sections that affect training
REPORTING = {  # settings of these sections that do not, besides log_every and eval_every
    "vocab_size", "threads", "level", "checkpoint_activations", "count_from",
    *needing("folder", "samples", "records"),
}  # fmt: skip


def flat_settings(config: RunConfig, sections: Sequence[str] = tuple(SECTIONS)) -> dict[str, Any]:
    """The settings of some sections by name."""
    values = config.values()
    return {name: value for section in sections for name, value in values[section].items()}


def learning_settings(config: RunConfig) -> dict[str, Any]:
    """The settings of a run that affect training, by name."""
    settings = flat_settings(config, LEARNING)
    return {k: v for k, v in settings.items() if k not in REPORTING and not k.endswith("_every")}


def matching_preset(config: RunConfig) -> str | None:
    """The preset with the same training settings except the dtype, which an engine may lack; None if none."""
    settings = learning_settings(config)
    del settings["dtype"]
    for preset in PRESETS:
        expected = expected_settings(preset)
        if all(expected[name] == value for name, value in settings.items()):
            return preset
    return None


def settings_toml(config: RunConfig) -> str:
    """All settings of a run as a TOML file; the preset that it names is overridden completely.

    source: the training data, without which the command line refuses to train on the built-in names.
    """
    lines = [f'preset = "{REFERENCE_PRESET}"', f'engine = "{config.engine}"']
    if config.source.kind != BUILT_IN:
        lines.append(f"source = {_toml(config.source.name)}")
    for section, values in config.values().items():
        if section in SECTIONS:
            settings = {name: value for name, value in values.items() if name not in FOUND_FROM_DATA}
            lines += ["", f"[{section}]", *(f"{name} = {_toml(value)}" for name, value in settings.items())]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    """A TOML value; none switches a setting off."""
    text = json.dumps("none" if value is None else value, ensure_ascii=False)
    return text.replace("\x7f", "\\u007f")
