"""Means of the noisy training loss, stored in checkpoints."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from motegpt.config.fields import Settings, setting

TAIL_FRACTION, MIN_TAIL_STEPS = 0.1, 100  # the last steps of a run, to detect divergence
DIVERGENCE_FACTOR = 2.0  # relative to the loss of uniform guessing


@dataclass(frozen=True, kw_only=True)
class Mean(Settings):
    """A running mean, which does not depend on how values are grouped."""

    value: float = setting("The mean; 0 if empty.", default=0.0)
    count: int = setting("Number of values.", default=0, at_least=0)

    def extended(self, values: Iterable[float]) -> Mean:
        """The mean including these values."""
        value, count = _extended(self.value, self.count, values)
        return Mean(value=value, count=count) if count != self.count else self


EMPTY = Mean()


def _extended(mean: float, count: int, values: Iterable[float]) -> tuple[float, int]:
    """Mean and number including more values, without a sum that could overflow."""
    for value in values:
        count += 1
        mean += (value - mean) / count
    return mean, count


@dataclass(frozen=True, kw_only=True)
class LossMeans(Settings):
    """Mean losses of a run so far.

    recent: since the last record; tail: from `tail_start` on. If a run is extended, the tail continues unless
    that of the longer run has not started yet.
    """

    recent: Mean = setting("Mean loss since the last record.", default=EMPTY)
    tail: Mean = setting("Mean loss of the last steps of the run.", default=EMPTY)

    def after(
        self, start: int, losses: Sequence[float], logged: Sequence[int], steps: int
    ) -> tuple[LossMeans, list[float]]:
        """The means after the steps from `start` on, and the mean of each record.

        logged: the steps with a record; steps: number of steps of the run.
        """
        means, first, recent = [], 0, self.recent
        for step in logged:
            end = step - start + 1
            means.append(_extended(recent.value, recent.count, losses[first:end])[0])
            first, recent = end, EMPTY
        recent = recent.extended(losses[first:])
        offset = tail_start(steps) - start
        tail = (EMPTY if offset >= 0 else self.tail).extended(losses[max(0, offset) :])
        return LossMeans(recent=recent, tail=tail), means

    def has_diverged(self, vocab_size: int) -> bool:
        """Whether the tail is far above log V, the loss of uniform guessing; False for a short tail."""
        return self.tail.count >= MIN_TAIL_STEPS and self.tail.value > DIVERGENCE_FACTOR * math.log(
            vocab_size
        )


def tail_start(steps: int) -> int:
    """The first step of the tail of a run."""
    return max(0, steps - max(MIN_TAIL_STEPS, math.ceil(TAIL_FRACTION * steps)))
