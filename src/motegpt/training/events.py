"""When something happens besides a step: a record, an evaluation, samples, a checkpoint."""

from __future__ import annotations

import math
from dataclasses import dataclass

from motegpt.config.sections import TrainConfig

CHUNK_SECONDS = 0.1  # about how long a chunk of steps takes


@dataclass(frozen=True)
class Events:
    """The events of a run.

    has_validation: whether there is a validation set; every_record: a chunk ends with every logged step.
    """

    train: TrainConfig
    has_validation: bool
    every_record: bool = False

    @property
    def eval_every(self) -> int | None:
        """How often the validation set is evaluated; None without one."""
        return (self.train.eval_every or self.train.log_every) if self.has_validation else None

    def logged_steps(self, every: int, start: int, count: int) -> list[int]:
        """Those of `count` steps from `start` on (from 0) whose number is a multiple of `every`.

        A step's number is the one that the console shows (`count_from`); the first and the last step of the
        run are always among them.
        """
        offset = -(start + self.train.count_from) % every
        ends = {step for step in (0, self.train.steps - 1) if start <= step < start + count}
        return sorted({*range(start + offset, start + count, every)} | ends)

    def is_due_after(self, every: int | None, done: int) -> bool:
        """Whether an event with this interval follows step number `done` (from 1)."""
        return every is not None and bool(self.logged_steps(every, done - 1, 1))

    def steps_until_event(self, done: int, last: int) -> int:
        """How many steps may be done at once after `done` of them, at most up to `last`."""
        train, ends = self.train, [last]
        if train.checkpoint_every is not None:
            ends.append((done // train.checkpoint_every + 1) * train.checkpoint_every)
        for every in (train.sample_every, self.eval_every, train.log_every if self.every_record else None):
            if every is not None:
                ends += [step + 1 for step in self.logged_steps(every, done, every)[:1]]
        return min(ends) - done

    def records_to_come(self, done: int) -> int:
        """How many records the steps after `done` have, unless early stopping leaves some out."""
        train = self.train
        first, last = done + train.count_from, train.steps - 1 + train.count_from  # as logged_steps counts
        every = {number for number in (train.log_every, self.eval_every) if number is not None}
        both = {math.lcm(*every)} if len(every) > 1 else set()
        logged, twice = (sum(last // n - (first - 1) // n for n in numbers) for numbers in (every, both))
        ends = {number for number in (train.count_from, last) if number >= first}
        return logged - twice + sum(all(number % one for one in every) for number in ends)


def next_chunk_size(count: int, seconds: float) -> int:
    """Steps of the next chunk, after one of `count` steps that took `seconds`."""
    fitting = int(count * CHUNK_SECONDS / max(seconds, 1e-9))
    return max(1, min(fitting, 8 * count))
