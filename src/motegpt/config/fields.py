"""Self-validating settings: frozen dataclasses whose fields have bounds and a help text.

Validation, the command line, TOML files and config.json all derive from the same field. Standard library
only: the scalar engine needs nothing else, and importing a validation library would slow the command line
(docs/log.md has the times).
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
SEEDS: dict[str, Any] = {"at_least": 0, "below": 2**64}  # bounds of every seed
MOST_ITEMS = 100  # of a list
WORDS = {
    int: "a whole number", float: "a number", bool: "true or false", str: "a text",
    tuple: f"a list of at most {MOST_ITEMS} texts",
}  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """The type and bounds of a setting. base: int, float, bool, str, tuple or a section.

    items: of a tuple, str or int, whose bounds are those of each; choices: the allowed values, if enumerated;
    engines, optimizers: those that use the setting, () for all; needs: what it has no effect without, one of
    config/needs.py; pairs: whether each item of a tuple is a text NAME=NUMBER, which may be given by name.
    """

    base: type
    help: str
    items: type = str
    choices: tuple[Any, ...] = ()
    optional: bool = False
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    engines: tuple[str, ...] = ()
    optimizers: tuple[str, ...] = ()
    needs: str | None = None
    pairs: bool = False

    def check(self, name: str, value: Any) -> Any:
        """The value as a built-in type; an int is accepted for a float. SettingError if it is invalid."""
        if (value is None and self.optional) or (self.base is bool and type(value) is bool):
            return value
        result = plain(value)
        if self.base is float and type(result) is int and abs(result) <= LARGEST_INT:
            result = float(result)
        if self.base is tuple:
            result = self._items(result)
        if type(result) is not self.base or not self._is_within(result):
            raise SettingError(f"{name}: expected {self}, got {shortened(value)}")
        return 0.0 if self.base is float and result == 0.0 else result  # -0.0 becomes 0.0

    def _items(self, value: Any) -> Any:
        """A list, a text with commas, or factors by name as a tuple; other values unchanged."""
        if self.pairs and isinstance(value, Mapping):
            value = [f"{name}={plain(number)}" for name, number in value.items()]
        if self.items is str and isinstance(value, str):
            value = [item.strip() for item in value.split(",")]
        return tuple(map(plain, value)) if isinstance(value, list | tuple) else value

    def _is_within(self, value: Any) -> bool:
        if self.choices:
            return value in self.choices
        if isinstance(value, str):
            return not has_surrogate(value) and (not self.pairs or factor_of(value) is not None)
        if isinstance(value, tuple):
            return len(value) <= MOST_ITEMS and all(
                type(item) is self.items and self._is_within(item) for item in value
            )
        if isinstance(value, bool | Settings):
            return True
        if (type(value) is int and abs(value) > LARGEST_INT) or not math.isfinite(value):
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
        words = "a list of whole numbers" if (self.base, self.items) == (tuple, int) else None
        words = f"{WORDS[tuple]} NAME=NUMBER, with numbers above 0" if self.pairs else words
        return (words or WORDS.get(self.base, "a section")) + limits + ", or none" * self.optional


SEED = Kind(int, "", **SEEDS)


def factor_of(text: str) -> tuple[str, float] | None:
    """The name and the number, above 0, of a text NAME=NUMBER; None if it is none."""
    name, _, number = text.rpartition("=")
    try:
        factor = float(number)
    except ValueError:
        return None
    return (name, factor) if name and 0 < factor < math.inf else None


def plain(value: Any) -> Any:
    """The value as a built-in int, float, bool or str; other values unchanged.

    Converts instances of numbers.Integral, numbers.Real and str, NumPy scalars, zero-dimensional arrays and
    tensors, and Enum members.
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
    """The seed as a built-in int; SettingError if it is invalid."""
    found: int = SEED.check("seed", seed)
    return found


def setting(
    help: str,
    *,
    default: Any = MISSING,
    engines: tuple[str, ...] = (),
    optimizers: tuple[str, ...] = (),
    needs: str | None = None,
    pairs: bool = False,
    **bounds: float,
) -> Any:
    """A dataclass field of a section. bounds: at_least, above, at_most, below; the others as in Kind."""
    owners = {"engines": engines, "optimizers": optimizers, "needs": needs}
    return field(default=default, metadata={"help": help, **owners, "pairs": pairs, **bounds})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Base class of the sections."""

    def __init_subclass__(cls) -> None:
        cls.__repr__ = Settings.__repr__  # type: ignore[method-assign]  # so dataclass() adds no other

    def __repr__(self) -> str:
        return concise_repr(self)

    def __post_init__(self) -> None:
        for name, kind in kinds(type(self)).items():
            value = getattr(self, name)
            checked = kind.check(name, value)
            if checked is not value:
                object.__setattr__(self, name, checked)

    def __getstate__(self) -> dict[str, Any]:
        """Of a copy or a pickle: the fields, without what is kept beside them."""
        return {one.name: getattr(self, one.name) for one in fields(cast(Any, self))}

    @classmethod
    def of(cls, values: Any) -> Self:
        """Settings from untrusted values; SettingError also for unknown and missing names."""
        if not isinstance(values, Mapping):
            raise SettingError(f"{cls.__name__}: expected settings by name, got {shortened(values)}")
        values, known = current_names(values), kinds(cls)
        check_names(values, known)
        for one in fields(cls):
            if one.default is MISSING and one.name not in values:
                raise SettingError(f"{one.name}: expected {known[one.name]}, got none")
        return cls(**{name: _nested(known[name], value) for name, value in values.items()})

    def replace(self, **changes: Any) -> Self:
        """A copy with some settings changed, validated again."""
        changes = current_names(changes)
        check_names(changes, kinds(type(self)))
        return dataclasses.replace(self, **changes)

    def values(self) -> dict[str, Any]:
        """The settings by name, sections as dictionaries; the inverse of `of`."""
        values = {name: getattr(self, name) for name in kinds(type(self))}
        return {k: v.values() if isinstance(v, Settings) else v for k, v in values.items()}


def kinds(section: type[Settings]) -> dict[str, Kind]:
    """Name -> Kind of every setting of a section, in order."""
    return _kinds(cast(Any, section))


@cache
def _kinds(section: Any) -> dict[str, Kind]:
    hints = get_type_hints(section)
    return {one.name: _kind(hints[one.name], one.metadata) for one in fields(section)}


def add_choice(section: type[Settings], name: str, choice: str) -> None:
    """Let the setting `name` of a section have one more value, such as an optimizer that is registered."""
    known = kinds(section)
    known[name] = dataclasses.replace(known[name], choices=(*known[name].choices, choice))


def current_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with former names replaced by current ones; SettingError if both are given."""
    for former in RENAMED.keys() & settings.keys():
        if RENAMED[former] in settings:
            raise SettingError(
                f"{RENAMED[former]}: expected one value, got another as `{former}`; leave one out"
            )
    return {RENAMED.get(name, name): value for name, value in settings.items()}


def check_names(given: Iterable[object], known: Collection[str]) -> None:
    """SettingError for the first name not in `known`."""
    for name in given:
        if name not in known:
            raise unknown_setting(name, known)


def unknown_setting(
    name: object, known: Iterable[str], listing: str = "motegpt.config has them all"
) -> SettingError:
    """The error for an unknown setting, with a suggestion or else `listing`, where all names are listed."""
    suggestion = hint(name, (other for other in known if other != name)) if isinstance(name, str) else ""
    return SettingError(f"unknown setting {shortened(name)}; {suggestion or listing}")


def _kind(hint: Any, metadata: Mapping[str, Any]) -> Kind:
    """The Kind of a type hint, which may be optional: X | None."""
    parts = get_args(hint)
    optional = NoneType in parts
    if optional:
        hint = next(part for part in parts if part is not NoneType)
    choices = get_args(hint) if get_origin(hint) is Literal else ()
    base = type(choices[0]) if choices else get_origin(hint) or hint
    items = get_args(hint)[0] if base is tuple else str
    return Kind(base=base, items=items, choices=choices, optional=optional, **{"help": "", **metadata})


def _nested(kind: Kind, value: Any) -> Any:
    is_left_out = value is None and kind.optional
    return kind.base.of(value) if issubclass(kind.base, Settings) and not is_left_out else value
