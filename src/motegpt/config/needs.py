"""Settings that have no effect without something else: a run folder, say, or a validation set.

A setting says what it needs where it is declared (`needs`); what trains says what it does not have.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from motegpt.config.fields import kinds
from motegpt.config.sections import SECTIONS, SampleConfig, TrainConfig, section_of
from motegpt.errors import SettingError

NEEDED = {
    "folder": "a run folder to write to",
    "samples": "a training that generates samples",
    "records": "records of the logged steps",
    "validation": "a validation set",
    "model": "a model that is kept",
}


@cache
def needs() -> dict[str, str]:
    """Name of a setting -> what it needs, one of NEEDED."""
    of_training = {name: kind.needs for name, kind in kinds(TrainConfig).items() if kind.needs is not None}
    return {**of_training, **dict.fromkeys(kinds(SampleConfig), "model")}


def needing(*what: str) -> list[str]:
    """The settings that need one of these."""
    return [name for name, need in needs().items() if need in what]


def check_needs(given: Mapping[str, Any], missing: Mapping[str, str]) -> None:
    """SettingError for a given setting that would have no effect; its default value is always accepted.

    missing: what there is not, by its name in NEEDED, with the likely fix.
    """
    for name, need in needs().items():
        if name in given and need in missing:
            section = SECTIONS[section_of(name)]
            value = kinds(section)[name].check(name, given[name])
            if value != getattr(section, name, ...):  # some have no default value
                raise SettingError(
                    f"{name}: expected {NEEDED[need]}, got none; {missing[need]}, or leave it out"
                )
