"""Means of the training loss, which a checkpoint keeps: a single step's loss is mostly chance."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from motegpt.config.fields import Settings, setting

TAIL, FEWEST = 0.1, 100  # part of the steps of a run, and number of steps, that its end is judged by
DIVERGED = 2.0  # times the loss of guessing


@dataclass(frozen=True, kw_only=True)
class Mean(Settings):
    """The mean of some values, to be continued: it does not depend on how many are taken at a time."""

    value: float = setting("The mean; 0 of nothing.", default=0.0)
    count: int = setting("Of how many values.", default=0, at_least=0)

    def extended(self, values: Iterable[float]) -> Mean:
        """The mean of these values too. The sum of large ones could be infinite; this is not."""
        value, count = self.value, self.count
        for one in values:
            count += 1
            value += (one - value) / count
        return Mean(value=value, count=count)


@dataclass(frozen=True, kw_only=True)
class LossMeans(Settings):
    """What is known of the losses of the steps so far.

    recent: of the steps since the last record; tail: of those that `tail_start` names. A run that is made
    longer when its tail has begun goes on with it, unless the longer run's tail is still to begin.
    """

    recent: Mean = setting("Of the steps since the last record.", default=Mean())
    tail: Mean = setting("Of the last steps of the run.", default=Mean())

    def after(
        self, start: int, losses: Sequence[float], logged: Sequence[int], steps: int
    ) -> tuple[LossMeans, list[float]]:
        """The same after the steps from `start` on of a run of `steps`, and the mean of each record.

        logged: the steps that have a record.
        """
        means, first, recent = [], 0, self.recent
        for step in logged:
            end = step - start + 1
            means.append(recent.extended(losses[first:end]).value)
            first, recent = end, Mean()
        recent = recent.extended(losses[first:])
        to_come = tail_start(steps) - start
        tail = (Mean() if to_come >= 0 else self.tail).extended(losses[max(0, to_come) :])
        return LossMeans(recent=recent, tail=tail), means

    def has_diverged(self, vocab_size: int) -> bool:
        """Whether the tail is worse than any model that has learned something, or nothing, can be.

        To guess among all tokens costs log V nats; a run of fewer than FEWEST steps tells nothing.
        """
        return self.tail.count >= FEWEST and self.tail.value > DIVERGED * math.log(vocab_size)


def tail_start(steps: int) -> int:
    """The first of the last steps of a run: a TAIL of it, and at least FEWEST."""
    return max(0, steps - max(FEWEST, math.ceil(TAIL * steps)))
