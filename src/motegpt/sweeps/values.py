"""The values of one setting in a sweep: a list, a range, or a distribution to draw from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from hashlib import sha256
from numbers import Real
from typing import Any, NamedTuple

from motegpt.config.fields import Kind, kinds, plain, unknown_setting
from motegpt.config.presets import AUTO, PRESETS
from motegpt.config.sections import REQUESTS, can_be_off, check_settable, section_of
from motegpt.config.synonyms import RENAMED
from motegpt.config.text import shortened
from motegpt.engines import ENGINES
from motegpt.errors import SettingError
from motegpt.training.many import check_result

MAX_VALUES = 100_000  # of one setting
DIGITS = 6  # significant digits of computed numbers, which are then equal on every machine, and readable
CHOICES = {  # what a point may set beside the settings
    "preset": Kind(str, "Known model.", choices=tuple(PRESETS)),
    "engine": Kind(str, "Compute engine.", choices=tuple(ENGINES)),
}
# The keys of a range; the first of each row is required, the last may be left out.
RANGES = (("from", "to", "step"), ("from", "to", "points"), ("log_from", "log_to", "points"))
A_RANGE = "{from, to}, {from, to, step}, {from, to, points} or {log_from, log_to, points}"
DISTRIBUTIONS = ("uniform", "log_uniform")


def kind_of(name: str) -> Kind:
    """The type and bounds of a setting, of `preset` or of `engine`."""
    return CHOICES[name] if name in CHOICES else kinds(REQUESTS[section_of(name)])[name]


def name_of(table: str, written: object) -> str:
    """The current name of a setting; SettingError with a suggestion for one that no training has."""
    name = RENAMED.get(written, written) if isinstance(written, str) else written
    check_settable([name], f"{table}: ")
    known = [*CHOICES, *(one for section in REQUESTS.values() for one in kinds(section))]
    if name not in known:
        raise SettingError(f"{table}: {unknown_setting(name, known)}")
    check_result(str(name))
    return str(name)


def checked(table: str, name: str, value: Any) -> Any:
    """A valid value of a setting; `none` switches one off. SettingError with the name of its table."""
    if name == "preset" and value == AUTO:
        raise SettingError(
            f"{table}: preset: expected one of {', '.join(PRESETS)}, got {AUTO!r}, which chooses settings "
            "that the sweep does not vary"
        )
    value = None if value == "none" and name not in CHOICES and can_be_off(name) else value
    try:
        return kind_of(name).check(name, value)
    except SettingError as error:
        raise SettingError(f"{table}: {error}") from None


def values_of(table: str, name: str, written: Any) -> list[Any]:
    """The distinct values of a setting, in order: of a list, a range or a single value."""
    found: Iterable[Any]
    if isinstance(written, Mapping):
        found = _range(f"{table}: {name}", written, kind_of(name).base is int)
    elif isinstance(plain(written), str) or not isinstance(written, Iterable):
        found = [written]
    else:
        found = list(written)
    values = [checked(table, name, value) for value in found]
    if not values:
        raise SettingError(f"{table}: {name}: expected at least one value, got an empty list")
    return list(dict.fromkeys(values))


def _range(where: str, written: Mapping[str, Any], whole: bool) -> list[float]:
    """The numbers of a range, both ends included. whole: of a setting that is a whole number."""
    keys = next((keys for keys in RANGES if set(keys[:2]) <= written.keys() <= set(keys)), None)
    if keys is None:
        raise SettingError(f"{where}: expected a list or a range {A_RANGE}, got {shortened(dict(written))}")
    low, high = (_number(where, key, written[key]) for key in keys[:2])
    if low > high:
        raise SettingError(f"{where}: expected {keys[0]} up to {keys[1]}, got {low:g} and {high:g}")
    if "points" in written:
        return _spread(where, low, high, written["points"], keys[0] == "log_from", whole)
    if keys[0] == "log_from" or not (whole or "step" in written):
        raise SettingError(f"{where}: expected points, the number of values between the ends, got none")
    step = _number(where, "step", written.get("step", 1))
    if step <= 0:
        raise SettingError(f"{where}: expected a step above 0, got {step:g}")
    count = math.floor((high - low) / step + 1e-9) + 1
    if count > MAX_VALUES:
        raise SettingError(f"{where}: expected at most {MAX_VALUES:,} values, got {count:,}")
    return [rounded(low + i * step, whole) for i in range(count)]


def _spread(where: str, low: float, high: float, points: Any, log: bool, whole: bool) -> list[float]:
    """Numbers at equal distances, or with `log` at equal ratios."""
    points = Kind(int, "", at_least=1, at_most=MAX_VALUES).check(f"{where}: points", points)
    if log and low <= 0:
        raise SettingError(f"{where}: expected log_from above 0, got {low:g}")
    if points == 1:
        return [rounded(low, whole)]
    shares = [i / (points - 1) for i in range(points)]
    between = [low * (high / low) ** share if log else low + share * (high - low) for share in shares]
    return [rounded(value, whole) for value in between]


def _number(where: str, key: str, value: Any) -> float:
    value = plain(value)
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise SettingError(f"{where}: expected a number for {key}, got {shortened(value)}")
    return value  # type: ignore[return-value]


def rounded(value: float, whole: bool) -> float:
    """A whole number, or one of DIGITS significant digits."""
    return round(value) if whole else float(f"{value:.{DIGITS}g}")


class Distribution(NamedTuple):
    """What a setting is drawn from: one of `choices`, or between low and high, on a log scale if `log`."""

    name: str
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False

    @classmethod
    def of(cls, table: str, name: str, written: Any) -> Distribution:
        """From a list to choose from, {uniform = [a, b]} or {log_uniform = [a, b]}."""
        if not isinstance(written, Mapping) or not set(DISTRIBUTIONS) & written.keys():
            return cls(name, tuple(values_of(table, name, written)))
        where = f"{table}: {name}"
        ends = next(iter(written.values())) if len(written) == 1 else None
        if not isinstance(ends, list | tuple) or len(ends) != 2:
            forms = " or ".join(f"{{{kind} = [low, high]}}" for kind in DISTRIBUTIONS)
            raise SettingError(f"{where}: expected {forms}, got {shortened(dict(written))}")
        low, high = (_number(where, "low", checked(table, name, end)) for end in ends)
        log = "log_uniform" in written
        if low >= high or (log and low <= 0):
            bound = "0 < low < high" if log else "low < high"
            raise SettingError(f"{where}: expected {bound}, got {low:g} and {high:g}")
        return cls(name, (), low, high, log)

    def draw(self, seed: int, index: int) -> Any:
        """The value of sample `index`, a function of (seed, index, name): more samples add to fewer."""
        share = _uniform(f"{seed} {index} {self.name}")
        if self.choices:
            return self.choices[int(share * len(self.choices))]
        whole = kind_of(self.name).base is int
        high = self.high + whole  # each whole number has its share
        value = self.low * (high / self.low) ** share if self.log else self.low + share * (high - self.low)
        value = math.floor(value) if whole else rounded(value, False)
        return min(max(value, self.low), self.high)


def _uniform(text: str) -> float:
    """A number in [0, 1) from 53 bits of a hash."""
    return (int.from_bytes(sha256(text.encode()).digest()[:8], "big") >> 11) / 2**53
