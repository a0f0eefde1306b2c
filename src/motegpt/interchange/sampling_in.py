"""How another program's folder samples: generation_config.json, as far as motegpt samples alike."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from motegpt.config.fields import kinds
from motegpt.config.sections import SampleConfig
from motegpt.config.text import shortened
from motegpt.errors import RunFolderError, SettingError
from motegpt.interchange.weights import read_json

GENERATION = "generation_config.json"
NUMBERS = ("temperature", "top_k", "top_p", "min_p")
SWITCHED_OFF = {"top_k": 0, "top_p": 1}  # values there that are none here


def sampling_in(folder: Path) -> dict[str, Any]:
    """The sampling settings that a folder has, by name; RunFolderError for an invalid one."""
    path = folder / GENERATION
    if not path.exists() and not path.is_symlink():
        return {}
    try:
        return _settings_of(read_json(path))
    except SettingError as error:
        raise RunFolderError(f"{path}: {error}") from None


def _settings_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in a generation_config.json; null and all other keys say nothing."""
    found = {name: _checked(name, values[name]) for name in NUMBERS if values.get(name) is not None}
    match values.get("do_sample"):
        case None | True:
            return found
        case False:
            return {**found, "temperature": 0.0}
        case wrong:
            raise SettingError(f"do_sample: expected true or false, got {shortened(wrong)}")


def _checked(name: str, value: Any) -> Any:
    """A setting as ours; SettingError if it is invalid."""
    if type(value) in (int, float) and value == SWITCHED_OFF.get(name):
        return None
    return kinds(SampleConfig)[name].check(name, value)
