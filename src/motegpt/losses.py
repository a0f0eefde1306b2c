"""Means of the training loss, which a checkpoint keeps: a single step's loss is mostly chance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from motegpt.settings import Settings, setting


@dataclass(frozen=True, kw_only=True)
class Mean(Settings):
    """The mean of some values, to be continued: it does not depend on how many are taken at a time."""

    value: float = setting("The mean; 0 of nothing.", default=0.0)
    count: int = setting("Of how many values.", default=0, at_least=0)

    def of_more(self, values: Iterable[float]) -> Mean:
        """The mean of these values too. The sum of large ones could be infinite; this is not."""
        value, count = self.value, self.count
        for one in values:
            count += 1
            value += (one - value) / count
        return Mean(value=value, count=count)


@dataclass(frozen=True, kw_only=True)
class LossMeans(Settings):
    """What is known of the losses of the steps so far."""

    recent: Mean = setting("Of the steps since the last record.", default=Mean())

    def after(self, losses: Sequence[float], logged: Sequence[int]) -> tuple[LossMeans, list[float]]:
        """The same after some more steps, and the mean of each record; logged: which of them have one."""
        means, first, recent = [], 0, self.recent
        for at in logged:
            means.append(recent.of_more(losses[first : at + 1]).value)
            first, recent = at + 1, Mean()
        return LossMeans(recent=recent.of_more(losses[first:])), means
