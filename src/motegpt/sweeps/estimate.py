"""How long trainings will take, and groups of them that keep a worker busy for about GROUP_SECONDS."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from motegpt.config.epochs import merge_settings
from motegpt.config.presets import expected_settings
from motegpt.config.sections import DataConfig, SampleConfig, model_and_training, section_values
from motegpt.engines import check_settings, engine_class
from motegpt.engines.budget import OPERATIONS_PER_SECOND, operations_per_step
from motegpt.errors import SettingError, UsageError
from motegpt.sweeps.table import Point
from motegpt.sweeps.values import CHOICES
from motegpt.sweeps.work import Group
from motegpt.training.many import check_without_validation

GROUP_SECONDS = 0.5
VOCABULARY = 32  # ids, of a model whose data are not read
STEPS_OF_AN_EPOCH = 1000
SLOWEST = 0.015e9  # operations per second of an engine without an entry
AROUND = 2e-3  # seconds around the steps of a training
UNCOUNTED = ("seed", "lr", "weight_decay")  # settings that are often varied, and change no time


def given_at(point: Point) -> Point:
    """The settings of a point, without its preset and engine."""
    return {name: value for name, value in point.items() if name not in CHOICES}


def settings_at(point: Point) -> Point:
    """Every setting of a point by name, with lengths as steps; SettingError if some exclude each other."""
    settings = merge_settings(expected_settings(point["preset"]), given_at(point))
    if settings.get("epochs") is not None:
        settings["steps"] = max(1, round(settings["epochs"] * STEPS_OF_AN_EPOCH))
    elif settings.get("steps") is None:
        settings["steps"] = 1
    return settings


def why_refused(point: Point, found: Mapping[str, Any]) -> str | None:
    """Why no training can have these settings, as far as they say so; None if it can. found: as of Data."""
    try:
        settings = settings_at(point)
        check_settings(point["engine"], given_at(point), settings)
        model_and_training(settings, VOCABULARY)
        data = DataConfig.of(section_values({**settings, **found}, "data"))
        if not data.val_fraction:
            check_without_validation(given_at(point))
        SampleConfig.of(section_values(settings, "sample"))
    except UsageError as error:
        return str(error)
    return None


class Queue:
    """Points that wait to be trained at, in order, and how long that will take.

    Seconds are predicted from operations, and corrected by the trainings that ended.
    """

    def __init__(self, points: Iterable[tuple[str, Point]]) -> None:
        self._points = deque(points)
        self._known: dict[Any, float] = {}
        self._waiting = sum(self.predicted(point) for _, point in self._points)
        self._ended, self._measured = 0.0, 0.0  # seconds of the trainings that ended, predicted and measured

    def __len__(self) -> int:
        return len(self._points)

    @property
    def seconds(self) -> float:
        """Seconds of all points that wait, one after the other."""
        return max(0.0, self._waiting) * self._correction

    def end(self, point: Point, seconds: float) -> None:
        """A training has taken so long."""
        self._ended += self.predicted(point)
        self._measured += seconds

    def take(self, slots: int) -> Group:
        """The next group: of about GROUP_SECONDS, less towards the end, so that all slots end together.

        Before any training has ended, which shows the speed, a group is one training.
        """
        limit = min(GROUP_SECONDS, self.seconds / (2 * slots)) / self._correction if self._ended else 0.0
        group, total = list[tuple[str, Point]](), 0.0
        while self._points:
            total += self.predicted(self._points[0][1])
            if group and total > limit:
                break
            group.append(self._points.popleft())
            self._waiting -= self.predicted(group[-1][1])
        return group

    @property
    def _correction(self) -> float:
        return self._measured / self._ended if self._measured else 1.0

    def predicted(self, point: Point) -> float:
        """Seconds of a training, uncorrected; computed once for all points that differ in UNCOUNTED alone."""
        key = tuple(sorted((name, value) for name, value in point.items() if name not in UNCOUNTED))
        if key not in self._known:
            self._known[key] = AROUND + predicted_seconds(point)
        return self._known[key]


def predicted_seconds(point: Point) -> float:
    """Seconds of a training by the table of speeds of engines; 0 for one that is refused."""
    try:
        settings = settings_at(point)
        model, train = model_and_training(settings, VOCABULARY)
    except SettingError:
        return 0.0
    engine = point["engine"]
    speed = OPERATIONS_PER_SECOND.get((engine, engine_class(engine).level(train.level), train.dtype), SLOWEST)
    return operations_per_step(model, train.batch_size, model.block_size, 0) * train.steps / speed
