"""The key of a training: equal exactly where settings, data, engine and precision are."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields
from functools import cache
from hashlib import sha256
from typing import Any

from motegpt.config.epochs import merge_settings
from motegpt.config.presets import settings_of
from motegpt.config.sections import REQUESTS, section_of
from motegpt.errors import SettingError
from motegpt.sweeps.values import CHOICES
from motegpt.training.build import default_dtype
from motegpt.training.reference import LEARNING, REPORTING

LENGTH = 20  # hexadecimal digits: two of a million points coincide with a probability of 4e-13
Point = dict[str, Any]


def key_of(point: Point, data: str) -> str:
    """A hash of all that the numbers of a training depend on. data: the digest of the data."""
    text = json.dumps([identity(point), data], sort_keys=True, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()[:LENGTH]


def identity(point: Point) -> Point:
    """The settings of a training and its engine, without defaults, samples and reports.

    Without defaults, so that a setting which a later version adds leaves the keys of earlier sweeps as is.
    """
    preset, engine = point["preset"], point["engine"]
    given = {name: value for name, value in point.items() if name not in CHOICES}
    base = settings_of(preset)
    try:
        settings = merge_settings(base, given)
    except SettingError:  # a point that no training can have: its row will say why
        settings = {**base, **given}
    settings = default_dtype(engine, settings, is_set="dtype" in given)
    defaults, counted = _defaults(), _counted()
    return {
        "engine": engine,
        **{k: v for k, v in settings.items() if k in counted and defaults.get(k, MISSING) != v},
    }


def is_counted(name: str) -> bool:
    """Whether trainings that differ in a setting, in the preset or in the engine are different trainings."""
    return name in CHOICES or name in _counted()


@cache
def _defaults() -> Point:
    """The settings with a default value. threads: that of a sweep, as more change the last digits."""
    found = {one.name: one.default for section in REQUESTS.values() for one in fields(section)}
    return {**found, "threads": 1}


@cache
def _counted() -> frozenset[str]:
    """The settings that change the numbers of a row."""
    names = {one.name for section in REQUESTS.values() for one in fields(section)}
    return frozenset(name for name in names - REPORTING | {"threads"} if section_of(name) in LEARNING)
