"""The points of a table: a pure function, in an order in which every prefix shows the whole."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from typing import Any

from motegpt.config.presets import expected_settings
from motegpt.errors import SettingError
from motegpt.sweeps.keys import key_of
from motegpt.sweeps.table import Point, Table, Where

MAX_POINTS = 1_000_000


def expand(table: Table, engine: str, data: str = "") -> dict[str, Point]:
    """Key -> point of every distinct training, shuffled: in the order of keys, which are hashes.

    engine: of points that name none; data: the digest of the data, which is part of the key.
    """
    count = _product(table)
    if count > MAX_POINTS:
        raise SettingError(f"sweep: expected at most {MAX_POINTS:,} points, got {count:,}; vary less")
    found: dict[str, Point] = {}
    matched = [False] * len(table.where)
    for chosen in _chosen(table):
        for point in _conditional({"engine": engine, **table.fixed, **chosen}, table.where, matched):
            for repeated in _grid(table.repeat):
                complete = {**point, **repeated}
                found[key_of(complete, data)] = complete
    for where, is_matched in zip(table.where, matched, strict=True):
        if not is_matched:
            listed = ", ".join(f"{name} = {values}" for name, values in where.when.items())
            raise SettingError(f"where: expected when to match points, got {listed}, which none has")
    return dict(sorted(found.items()))


def _product(table: Table) -> int:
    """The number of combinations, before those of `where`."""
    sizes = [*map(len, table.grid.values()), *map(len, table.together), *map(len, table.repeat.values())]
    return table.samples * math.prod(sizes)


def _chosen(table: Table) -> Iterator[Point]:
    """What the grid, the lists taken together and the random samples set."""
    drawn = [{one.name: one.draw(table.seed, i) for one in table.random} for i in range(table.samples)]
    for grid, *together, random in product(_grid(table.grid), *table.together, drawn):
        yield {name: value for part in (grid, *together, random) for name, value in part.items()}


def _grid(lists: dict[str, list[Any]]) -> list[Point]:
    """Every combination of values."""
    return [dict(zip(lists, values, strict=True)) for values in product(*lists.values())]


def _conditional(point: Point, wheres: tuple[Where, ...], matched: list[bool]) -> list[Point]:
    """The points that the conditions make of one. matched: set for each condition that holds."""
    points = [point]
    for index, where in enumerate(wheres):
        combinations, before, points = _grid(where.values), points, []
        for one in before:
            holds = _matches(one, where)
            matched[index] |= holds
            points += [{**one, **values} for values in combinations] if holds else [one]
    return points


def _matches(point: Point, where: Where) -> bool:
    """Whether a point has one of the values of each setting, given or of its preset."""
    missing = where.when.keys() - point.keys()
    settings = {**expected_settings(point["preset"]), **point} if missing else point
    return all(settings.get(name) in values for name, values in where.when.items())
