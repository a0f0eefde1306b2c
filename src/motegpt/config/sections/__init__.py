"""The settings of a run, in four sections.

ModelConfig (architecture), DataConfig (reading and tokenizing), TrainConfig (training) and SampleConfig
(generation). The name, type, bounds and help text of a setting are defined only here; the command line, TOML
files and config.json derive from them. Values come from a preset (presets.py); defaults here are for settings
that are off unless a preset or a user sets them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from motegpt.config.fields import Settings, kinds, unknown_setting
from motegpt.config.sections.data import DataConfig, ReadConfig
from motegpt.config.sections.model import ModelConfig
from motegpt.config.sections.sample import SampleConfig
from motegpt.config.sections.train import LengthRequest, TrainConfig, TrainRequest
from motegpt.errors import SettingError

__all__ = [
    "DataConfig",
    "LengthRequest",
    "ModelConfig",
    "ReadConfig",
    "SampleConfig",
    "TrainConfig",
    "TrainRequest",
]

FOUND_FROM_DATA = {"vocab_size", "ngram_rows"}  # settings that users cannot set

SECTIONS: dict[str, type[Settings]] = {  # as recorded in config.json
    "model": ModelConfig,
    "data": DataConfig,
    "train": TrainConfig,
    "sample": SampleConfig,
}
REQUESTS: dict[str, type[Settings]] = {**SECTIONS, "train": TrainRequest}  # as users may give them


def check_settable(names: Iterable[object], where: str = "") -> None:
    """SettingError for a setting that is found from the data. where: begins the message."""
    for name in names:
        if name in FOUND_FROM_DATA:
            raise SettingError(f"{where}{name} is determined by the data and cannot be set")


def section_of(name: str) -> str:
    """The section of a setting; SettingError with a suggestion for an unknown name."""
    section = _sections().get(name)
    if section is not None:
        return section
    raise unknown_setting(name, (known for config in REQUESTS.values() for known in kinds(config)))


@cache
def _sections() -> dict[str, str]:
    """Setting -> its section."""
    return {name: section for section, config in REQUESTS.items() for name in kinds(config)}


def can_be_off(name: str) -> bool:
    """Whether `none` switches a setting off; for a string setting it is an ordinary value."""
    kind = kinds(REQUESTS[section_of(name)])[name]
    return kind.optional or kind.base is not str


def section_values(settings: Mapping[str, Any], section: str) -> dict[str, Any]:
    """The flat settings of one section."""
    return {name: value for name, value in settings.items() if name in kinds(SECTIONS[section])}


def model_and_training(settings: Mapping[str, Any], vocab_size: int) -> tuple[ModelConfig, TrainConfig]:
    """The two sections that an engine needs, from flat settings."""
    model = ModelConfig.of({**section_values(settings, "model"), "vocab_size": vocab_size})
    return model, TrainConfig.of(section_values(settings, "train"))
