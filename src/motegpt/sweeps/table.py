"""The table of a sweep: what a TOML file or a dictionary says about the settings to train with.

    name = "lr-width"
    data = "names.txt"
    preset = "microgpt"
    [fixed]                                            # the same in every training
    steps = 1000
    [grid]                                             # every combination
    n_embd = [8, 16, 32, 64]
    lr = {log_from = 1e-3, log_to = 1e-1, points = 7}
    [random]                                           # drawn for each of them
    samples = 200
    seed = 0
    weight_decay = {log_uniform = [1e-3, 1.0]}
    [[together]]                                       # the first of each list, the second of each list, …
    n_layer = [1, 2, 4]
    batch_size = [32, 16, 8]
    [[where]]                                          # for the points that match
    when = {n_embd = 64}
    n_head = [4, 8]
    [repeat]                                           # each of them again, as seeds to be averaged
    seed = {from = 0, to = 9}

Each table but one that names the preset may be left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from motegpt.config.fields import SEEDS, Kind, unknown_setting
from motegpt.config.text import shortened
from motegpt.errors import SettingError
from motegpt.sweeps.keys import is_counted
from motegpt.sweeps.values import CHOICES, MAX_VALUES, Distribution, checked, name_of, values_of

Point = dict[str, Any]  # settings by name, with the preset and the engine
TOP = ("name", "data", *CHOICES)
TABLES = ("fixed", "grid", "random", "together", "where", "repeat")
SAMPLES = Kind(int, "", at_least=1, at_most=MAX_VALUES)
SEED = Kind(int, "", **SEEDS)


class Where(NamedTuple):
    """Values for the points whose settings match. when: the values that match, by name."""

    when: dict[str, list[Any]]
    values: dict[str, list[Any]]


@dataclass(frozen=True)
class Table:
    """A checked table. together: points that set several settings at once; samples: of the distributions."""

    name: str | None = None
    data: Any = None
    fixed: Point = field(default_factory=dict)
    grid: dict[str, list[Any]] = field(default_factory=dict)
    together: tuple[list[Point], ...] = ()
    random: tuple[Distribution, ...] = ()
    samples: int = 1
    seed: int = 0
    where: tuple[Where, ...] = ()
    repeat: dict[str, list[Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, written: Any) -> Table:
        """From a mapping as in the module's docstring; SettingError for anything else."""
        if not isinstance(written, Mapping):
            raise SettingError(f"sweep: expected the tables of a sweep, got {shortened(written)}")
        for key in written:
            if key not in (*TOP, *TABLES):
                raise _unknown_key(key)
        if "preset" not in {*written, *_names(written)}:
            raise SettingError(
                f"sweep: expected a preset, {CHOICES['preset']}, got none; add preset = 'microgpt'"
            )
        top = {name: checked("sweep", name, written[name]) for name in CHOICES if name in written}
        random = _table(written, "random")
        samples, seed = random.pop("samples", None), random.pop("seed", 0)
        if (samples is not None) != bool(random):
            raise SettingError(
                "random: expected samples, their number, and the settings to draw, got "
                + ("no setting" if samples is not None else "no samples")
            )
        table = cls(
            name=Kind(str, "", optional=True).check("name", written.get("name")),
            data=written.get("data"),
            fixed={**top, **_settings("fixed", _table(written, "fixed"), checked)},
            grid=_settings("grid", _table(written, "grid"), values_of),
            together=tuple(map(_together, _list(written, "together"))),
            random=tuple(_settings("random", random, Distribution.of).values()),
            samples=SAMPLES.check("random: samples", 1 if samples is None else samples),
            seed=SEED.check("random: seed", seed),
            where=tuple(map(_where, _list(written, "where"))),
            repeat=_settings("repeat", _table(written, "repeat"), values_of),
        )
        table._check_names(top)
        table._check_varied()
        return table

    @property
    def varied(self) -> list[str]:
        """The settings that differ between points, in the order of the tables, without those of repeat."""
        conditional = [name for where in self.where for name in where.values]
        return list(dict.fromkeys([*self.combined, *conditional]))

    @property
    def combined(self) -> list[str]:
        """The settings of which each combination of the tables has a value, without those of repeat."""
        together = [name for points in self.together for name in points[0]]
        return [*self.grid, *together, *(one.name for one in self.random)]

    @property
    def uniform(self) -> list[Point]:
        """The settings with one value, of all points or of those that match a condition."""
        conditional = ({k: v[0] for k, v in where.values.items() if len(v) == 1} for where in self.where)
        return [self.fixed, *conditional]

    def _check_names(self, top: Point) -> None:
        """SettingError for a setting in two tables; `where` alone may change what others set."""
        places: dict[str, str] = dict.fromkeys(top, "the top of the sweep")
        tables: list[tuple[str, Any]] = [("fixed", self.fixed.keys() - top.keys()), ("grid", self.grid)]
        tables += [("together", points[0]) for points in self.together]
        tables += [("random", [one.name for one in self.random]), ("repeat", self.repeat)]
        for table, names in tables:
            for name in names:
                if name in places:
                    raise SettingError(
                        f"{name}: expected in one table, got it in {places[name]} and {table}; leave one out"
                    )
                places[name] = table
        for where in self.where:
            for name in where.values.keys() & self.repeat.keys():
                raise SettingError(f"where: {name} is repeated and cannot depend on others; leave one out")

    def _check_varied(self) -> None:
        """SettingError for a setting that changes no number: points that differ in it alone are one."""
        several = [name for where in self.where for name in where.values if len(where.values[name]) > 1]
        for name in [*self.combined, *self.repeat, *several]:
            if not is_counted(name):
                raise SettingError(
                    f"{name}: expected a setting that changes the results, got one that does not, so that "
                    "trainings which differ in it are one; give it one value in [fixed] or [[where]]"
                )


def _unknown_key(key: object) -> SettingError:
    """The error for a key that is none of the sweep's own; a setting belongs into a table."""
    try:
        name = name_of("sweep", key)
    except SettingError:
        return SettingError(f"sweep: {unknown_setting(key, [*TOP, *TABLES], f'expected {_listed()}')}")
    return SettingError(f"sweep: {name}: expected in [fixed], [grid] or another table, got it outside of all")


def _listed() -> str:
    return ", ".join([*TOP, *TABLES])


def _names(written: Mapping[str, Any]) -> set[str]:
    """The settings in the tables that give each point a value."""
    tables = [written.get(table) for table in ("fixed", "grid", "random", "repeat")]
    together = written.get("together")
    tables += together if isinstance(together, Sequence) else []
    return {name for table in tables if isinstance(table, Mapping) for name in table}


def _table(written: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A copy of one of the tables; empty if there is none."""
    found = written.get(name, {})
    if not isinstance(found, Mapping):
        raise SettingError(f"{name}: expected a table of settings, got {shortened(found)}")
    return dict(found)


def _list(written: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """The tables of a list of tables, [[name]] in TOML; a single one may be without the list."""
    found = written.get(name, [])
    tables = [found] if isinstance(found, Mapping) else found
    if not isinstance(tables, list | tuple) or not all(isinstance(one, Mapping) for one in tables):
        raise SettingError(f"{name}: expected tables of settings, as in [[{name}]], got {shortened(found)}")
    return [dict(one) for one in tables]


def _settings(table: str, written: Mapping[str, Any], read: Any) -> dict[str, Any]:
    """Current name -> what `read` makes of the value of a setting."""
    found: dict[str, Any] = {}
    for key, value in written.items():
        name = name_of(table, key)
        if name in found:
            raise SettingError(f"{table}: {name}: expected one value, got another as {key}; leave one out")
        found[name] = read(table, name, value)
    return found


def _together(written: dict[str, Any]) -> list[Point]:
    """The points of lists of equal length, taken side by side."""
    lists = _settings("together", written, _in_order)
    lengths = {name: len(values) for name, values in lists.items()}
    if not lists or len(set(lengths.values())) > 1:
        got = ", ".join(f"{count} of {name}" for name, count in lengths.items()) or "none"
        raise SettingError(f"together: expected as many values of each setting, got {got}")
    return [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]


def _in_order(table: str, name: str, written: Any) -> list[Any]:
    """As values_of, but a list keeps values that it repeats."""
    if isinstance(written, list | tuple) and written:
        return [checked(table, name, value) for value in written]
    return values_of(table, name, written)


def _where(written: dict[str, Any]) -> Where:
    when = written.pop("when", None)
    if not isinstance(when, Mapping) or not when or not written:
        raise SettingError(
            "where: expected when, the settings to match, and settings to give, got "
            f"{shortened({'when': when, **written})}"
        )
    return Where(_settings("where.when", when, values_of), _settings("where", written, values_of))
