"""How far a sweep is."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable

from motegpt.config.text import counted
from motegpt.sweeps.store import Row
from motegpt.training.many import FAILED, OK

LOST = "lost"  # beside the statuses of training/many.py
RETRIED = (FAILED, LOST)  # statuses that another attempt may change
FIRST_SECONDS = 1.0  # without an estimate of the time left


class Status:
    """Counts of trainings by how they ended, and the time left. total: of this part of the sweep."""

    def __init__(self, total: int, ended: Iterable[Row] = ()) -> None:
        self.total = total
        self.counts = Counter(row["status"] for row in ended)
        self._began, self._worked = time.monotonic(), 0.0
        self.seconds_left: float | None = None
        self.workers: int | None = None  # that there are now, if known

    @property
    def done(self) -> int:
        """Trainings that ended."""
        return self.counts.total()

    def add(self, rows: Iterable[Row], ended: float, waiting: float) -> None:
        """Some trainings ended. ended, waiting: seconds of trainings, of these and of those left."""
        self.counts.update(row["status"] for row in rows)
        self._worked += ended
        elapsed = time.monotonic() - self._began
        if self._worked and elapsed > FIRST_SECONDS:
            self.seconds_left = elapsed * waiting / self._worked

    def __str__(self) -> str:
        """120 of 630 trainings, 3 diverged, about 40 s left"""
        parts = [f"{self.done:,} of {counted(self.total, 'training')}"]
        parts += [f"{count:,} {status}" for status, count in sorted(self.counts.items()) if status != OK]
        if self.workers == 0 and self.done < self.total:
            parts.append("waiting for workers")
        elif self.seconds_left is not None and self.done < self.total:
            parts.append(f"{about(self.seconds_left)} left")
        return ", ".join(parts)


def about(seconds: float) -> str:
    """An estimated time."""
    return f"about {duration(seconds)}" if seconds >= 1 else "under 1 s"


def duration(seconds: float) -> str:
    """40 s, 12 min, 3.5 h or 2.1 days"""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"
