"""The schedule of events: records, evaluations, samples and checkpoints."""

from __future__ import annotations

import math
from dataclasses import dataclass

from motegpt.config.sections import ModelConfig, TrainConfig
from motegpt.data.plan import Plan
from motegpt.engines import engine_class
from motegpt.engines.budget import seconds_of_step

CHUNK_SECONDS = 0.1  # target duration of a chunk of steps
LAST_DOUBLING, THEN_EVERY = 512, 1000  # log-spaced steps: powers of 2 to the first, multiples of the other


@dataclass(frozen=True)
class Events:
    """The events of a run.

    has_validation: whether there is a validation set; every_record: end a chunk after every logged step.
    """

    train: TrainConfig
    has_validation: bool
    every_record: bool = False

    @property
    def eval_every(self) -> int | None:
        """Steps between evaluations; None without a validation set."""
        return (self.train.eval_every or self.train.log_every) if self.has_validation else None

    def logged_steps(self, every: int, start: int, count: int) -> list[int]:
        """Of `count` steps from `start` (from 0), those whose number is a multiple of `every`.

        Numbers are as printed (from `count_from`). The first and last step of the run are always included.
        """
        offset = -(start + self.train.count_from) % every
        ends = {step for step in (0, self.train.steps - 1) if start <= step < start + count}
        return sorted({*range(start + offset, start + count, every)} | ends)

    def is_due_after(self, every: int | None, done: int) -> bool:
        """Whether an event with this interval follows step number `done` (from 1)."""
        return every is not None and bool(self.logged_steps(every, done - 1, 1))

    def is_recorded(self, step: int) -> bool:
        """Whether there is a record of step `step` (from 0)."""
        return self._next_recorded(step) == step

    def _next_recorded(self, step: int) -> int:
        """The first step from `step` (from 0) on of which there is a record, or the number of steps."""
        intervals = [every for every in (self.train.log_every, self.eval_every) if every is not None]
        firsts = (self.logged_steps(every, step, every) for every in intervals)
        return min((steps[0] for steps in firsts if steps), default=self.train.steps)

    def keeps_parameters(self, done: int) -> bool:
        """Whether the parameters after step number `done` are kept, with `checkpoint_at`."""
        return self.train.checkpoint_at == "log" and (done == 0 or next_log_spaced(done - 1) == done)

    def steps_until_event(self, done: int, last: int) -> int:
        """The number of steps after `done` until the next event, or until step `last`."""
        train, stops = self.train, [last]
        if train.checkpoint_every is not None:
            stops.append((done // train.checkpoint_every + 1) * train.checkpoint_every)
        if train.checkpoint_at == "log":
            stops.append(next_log_spaced(done))
        if train.log_statistics:
            stops.append(done + 1 if self.is_recorded(done) else self._next_recorded(done))
        for every in (train.sample_every, self.eval_every, train.log_every if self.every_record else None):
            if every is not None:
                stops += [step + 1 for step in self.logged_steps(every, done, every)[:1]]
        return min(stops) - done

    def records_to_come(self, done: int) -> int:
        """The number of records after step `done`, without early stopping."""
        train = self.train
        first, last = done + train.count_from, train.steps - 1 + train.count_from  # as in logged_steps
        intervals = {every for every in (train.log_every, self.eval_every) if every is not None}
        common = {math.lcm(*intervals)} if len(intervals) > 1 else set()
        logged, twice = (sum(last // n - (first - 1) // n for n in ns) for ns in (intervals, common))
        ends = {number for number in (train.count_from, last) if number >= first}
        return logged - twice + sum(all(number % every for every in intervals) for number in ends)


def next_log_spaced(step: int) -> int:
    """The first step after `step` of 0, 1, 2, 4, … LAST_DOUBLING, and the multiples of THEN_EVERY."""
    multiple = (step // THEN_EVERY + 1) * THEN_EVERY
    return min(multiple, 1 << step.bit_length()) if step < LAST_DOUBLING else multiple


def first_chunk_size(engine: str, model: ModelConfig, train: TrainConfig, plan: Plan) -> int:
    """The size of the first chunk: the steps of a tenth of CHUNK_SECONDS, by the table of budget.py."""
    seconds = seconds_of_step(engine, engine_class(engine).level(train.level), model, train, plan)
    return max(1, int(CHUNK_SECONDS / 10 / seconds))


def next_chunk_size(count: int, seconds: float) -> int:
    """The size of the next chunk, given that `count` steps took `seconds`."""
    target = int(count * CHUNK_SECONDS / max(seconds, 1e-9))
    return max(1, min(target, 8 * count))
