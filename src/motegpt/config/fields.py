"""Settings that say what they may be: frozen dataclasses, each field with bounds and a help text.

The checks, the command line, TOML files and config.json all read the same field. Standard library
only, so that the scalar engine needs nothing else, and a command line is up before a validation library
would have been imported (docs/log.md has the times).
"""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Collection, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from enum import Enum
from functools import cache
from numbers import Integral, Real
from types import NoneType
from typing import Any, Literal, Self, cast, get_args, get_origin, get_type_hints

from motegpt.config.synonyms import RENAMED, hint
from motegpt.config.text import concise_repr, has_surrogate, shortened
from motegpt.errors import SettingError

LARGEST_INT = 2**64 - 1
SEEDS: dict[str, Any] = {"at_least": 0, "below": 2**64}  # what every seed may be
WORDS = {
    int: "a whole number", float: "a number", bool: "true or false", str: "a text", tuple: "a list of texts",
}  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """What one setting may be. base: int, float, bool, str or a section; choices: all there are, if few.

    engines, optimizers: those that have the setting, if not all do.
    """

    base: type
    help: str
    choices: tuple[Any, ...] = ()
    optional: bool = False
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    engines: tuple[str, ...] = ()
    optimizers: tuple[str, ...] = ()

    def check(self, name: str, value: Any) -> Any:
        """The plain value, an int as a float where one is wanted; SettingError if it is not of this kind."""
        if value is None and self.optional:
            return None
        found = plain(value)
        if self.base is float and type(found) is int and abs(found) <= LARGEST_INT:
            found = float(found)
        if self.base is tuple and isinstance(found, list):
            found = tuple(found)
        if type(found) is not self.base or not self._is_within(found):
            raise SettingError(f"{name}: expected {self}, got {shortened(value)}")
        return 0.0 if self.base is float and found == 0.0 else found  # -0.0 is 0.0

    def _is_within(self, value: Any) -> bool:
        if self.choices:
            return value in self.choices
        if isinstance(value, str):
            return not has_surrogate(value)
        if isinstance(value, tuple):
            return all(isinstance(text, str) and not has_surrogate(text) for text in value)
        if isinstance(value, bool):
            return True
        if isinstance(value, Settings):
            return True
        if (self.base is int and abs(value) > LARGEST_INT) or not math.isfinite(value):
            return False
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        """a whole number of at least 1"""
        if self.choices:
            return f"one of {', '.join(map(str, self.choices))}"
        bounds = [
            f"{words} {bound:,}"
            for words, bound in (
                ("at least", self.at_least),
                ("above", self.above),
                ("at most", self.at_most),
                ("below", self.below),
            )
            if bound is not None
        ]
        limits = " of" * bounds[0].startswith("at") + " " + " and ".join(bounds) if bounds else ""
        return WORDS.get(self.base, "a section") + limits + ", or none" * self.optional


def plain(value: Any) -> Any:
    """The int, float, bool or str that a value stands for; a value that is none of them as it is.

    A number or a string is known by its abstract type: numbers.Integral, numbers.Real, str. NumPy scalars,
    arrays and tensors without dimensions, and members of an Enum stand for what they hold.
    """
    if type(value) in WORDS:
        return value
    if isinstance(value, Enum) and not isinstance(value, str | Real):
        value = value.value
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, Integral):
        return operator.index(value)
    try:
        return float(value) if isinstance(value, Real) else value
    except OverflowError:
        return math.inf


def checked_seed(seed: Any) -> int:
    """A seed as a plain int; SettingError if it is none."""
    found: int = Kind(int, "", **SEEDS).check("seed", seed)
    return found


def setting(
    help: str,
    *,
    default: Any = MISSING,
    engines: tuple[str, ...] = (),
    optimizers: tuple[str, ...] = (),
    **bounds: float,
) -> Any:
    """A field of a section; bounds: at_least, above, at_most, below; engines, optimizers: as in Kind."""
    metadata = {"help": help, "engines": engines, "optimizers": optimizers, **bounds}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The base of the sections."""

    def __init_subclass__(cls) -> None:
        cls.__repr__ = Settings.__repr__  # type: ignore[method-assign]  # which dataclass() then leaves alone

    def __repr__(self) -> str:
        return concise_repr(self)

    def __post_init__(self) -> None:
        for name, kind in kinds(type(self)).items():
            object.__setattr__(self, name, kind.check(name, getattr(self, name)))

    @classmethod
    def of(cls, values: Any) -> Self:
        """Settings from outside: SettingError for unknown and missing names too."""
        if not isinstance(values, Mapping):
            raise SettingError(f"{cls.__name__}: expected settings by name, got {shortened(values)}")
        values, known = current_names(values), kinds(cls)
        check_names(values, known)
        for one in fields(cls):
            if one.default is MISSING and one.name not in values:
                raise SettingError(f"{one.name}: expected {known[one.name]}, got none")
        return cls(**{name: _nested(known[name], value) for name, value in values.items()})

    def replace(self, **changes: Any) -> Self:
        """A copy with some settings changed, checked again."""
        changes = current_names(changes)
        check_names(changes, kinds(type(self)))
        return dataclasses.replace(self, **changes)

    def values(self) -> dict[str, Any]:
        """The settings by name, sections as dictionaries: what `of` takes."""
        return dataclasses.asdict(self)


def kinds(section: type[Settings]) -> dict[str, Kind]:
    """Name -> kind of every setting of a section, in order."""
    return _kinds(cast(Any, section))


@cache
def _kinds(section: Any) -> dict[str, Kind]:
    hints = get_type_hints(section)
    return {one.name: _kind(hints[one.name], one.metadata) for one in fields(section)}


def current_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with former names replaced by current ones; SettingError if both are given."""
    for former in RENAMED.keys() & settings.keys():
        if RENAMED[former] in settings:
            raise SettingError(
                f"{RENAMED[former]}: expected one value, got another as `{former}`; leave one out"
            )
    return {RENAMED.get(name, name): value for name, value in settings.items()}


def check_names(given: Iterable[object], known: Collection[str]) -> None:
    """SettingError for the first name that is none of `known`."""
    for name in given:
        if name not in known:
            raise unknown_setting(name, known)


def unknown_setting(
    name: object, known: Iterable[str], listing: str = "motegpt.config has them all"
) -> SettingError:
    """The error for a name that no setting has: what it may mean, or else where all names are listed."""
    said = hint(name, (other for other in known if other != name)) if isinstance(name, str) else ""
    return SettingError(f"unknown setting {shortened(name)}; {said or listing}")


def _kind(hint: Any, metadata: Mapping[str, Any]) -> Kind:
    """int, float, bool, str, tuple[str, ...], Literal, a section, or one of these | None."""
    parts = get_args(hint)
    optional = NoneType in parts
    if optional:
        hint = next(part for part in parts if part is not NoneType)
    choices = get_args(hint) if get_origin(hint) is Literal else ()
    base = type(choices[0]) if choices else get_origin(hint) or hint
    return Kind(base=base, choices=choices, optional=optional, **{"help": "", **metadata})


def _nested(kind: Kind, value: Any) -> Any:
    return kind.base.of(value) if issubclass(kind.base, Settings) else value
