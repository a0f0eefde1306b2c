"""Hand out the trainings of a sweep to workers, in groups, and keep their rows.

A worker may be killed at any moment. Some executors run its group elsewhere by themselves; others fail every
group that they had, and are made again. Which training was to blame is then found by running each training of
those groups alone: one that takes its worker with it ALONE times is `lost`, and the others have their rows.

Documents in memory go to each worker once: a group is sent without them, and again with them if its worker,
which may be a new one, does not have them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Future, wait
from typing import NamedTuple

from motegpt.config.text import counted
from motegpt.errors import MotegptError, UsageError
from motegpt.sweeps.estimate import Queue
from motegpt.sweeps.executors import Pool
from motegpt.sweeps.status import LOST, Status
from motegpt.sweeps.store import Row
from motegpt.sweeps.table import Point
from motegpt.sweeps.work import Group, Work

ALONE = 3  # attempts of a training alone, after one in a group, before it is given up
MAX_BROKEN = 6  # executors, one after the other without any row: then it is not the trainings' fault
WAKE_SECONDS = 0.2  # between looks at signals


class Sent(NamedTuple):
    """A group that was handed out; made: by which of the pool's executors."""

    group: Group
    made: int


class Runner:
    """A run over points.

    attempts: of trainings that were tried before, by key; keep: writes rows to disk, before more groups are
    handed out.
    """

    def __init__(
        self,
        points: Iterable[tuple[str, Point]],
        pool: Pool,
        work: Work,
        status: Status,
        keep: Callable[[list[Row]], object],
        attempts: Mapping[str, int],
    ) -> None:
        self._queue, self._pool, self._work, self._keep = Queue(points), pool, work, keep
        self._status = status
        self._attempts = dict(attempts)
        self._alone = dict[str, int]()  # key -> times that the training alone took its worker with it
        self._suspects = deque[tuple[str, Point]]()
        self._sent = dict[Future[list[Row] | None], Sent]()
        self._without_documents = work.without_documents()
        self._broken = 0  # executors since the last row
        self._stopping = False

    def run(self, interrupted: Callable[[], bool] = lambda: False) -> Iterator[Status]:
        """Train at all points; yields now and then, after rows were kept or after WAKE_SECONDS.

        Once interrupted, waits for what runs and keeps it. UsageError if a worker cannot work at all.
        """
        while (self._queue or self._suspects or self._sent) and not interrupted():
            self._hand_out()
            yield from self._collect()
        self._stopping = True
        self._pool.stop()
        for future in list(self._sent):
            if future.cancel():
                del self._sent[future]
        while self._sent:
            yield from self._collect()

    def _hand_out(self) -> None:
        """Send groups to the pool. A suspect is sent alone, so that a worker is lost with it alone."""
        if self._suspects:
            if not self._sent:
                self._send([self._suspects.popleft()], self._without_documents)
            return
        capacity = self._pool.capacity
        while self._queue and len(self._sent) < capacity:
            self._send(self._queue.take(capacity), self._without_documents)

    def _send(self, group: Group, work: Work) -> None:
        try:
            future = self._pool.submit(work, group)
        except (RuntimeError, BrokenExecutor) as error:  # it broke since the last group
            future = Future()
            future.set_exception(error if isinstance(error, BrokenExecutor) else BrokenExecutor(str(error)))
        self._sent[future] = Sent(group, self._pool.made)

    def _collect(self) -> Iterator[Status]:
        """Wait for groups to end, and keep their rows."""
        ended, _ = wait(self._sent, WAKE_SECONDS, FIRST_COMPLETED)
        for future in ended:
            sent = self._sent.pop(future)
            error = CancelledError() if future.cancelled() else future.exception()
            if error is None:
                self._take(sent.group, future.result())
            elif isinstance(error, UsageError):
                raise error
            else:
                self._fail(sent, error)
        self._check_pool()
        yield self._status

    def _take(self, group: Group, rows: list[Row] | None) -> None:
        """What a worker returned: rows, or None if it does not have the documents."""
        if rows is not None:
            self._end(group, rows)
        elif not self._stopping:
            self._send(group, self._work)

    def _check_pool(self) -> None:
        try:
            self._pool.check()
        except BrokenExecutor as error:
            raise self._cannot_run(error) from error
        self._status.workers = self._pool.slots()

    def _end(self, group: Group, rows: list[Row]) -> None:
        """Keep the rows of a group; those of a group that was stopped early are fewer."""
        points = dict(group)
        for row in rows:
            row["attempts"] = self._attempts.get(row["key"], 0) + 1
        self._keep(rows)
        self._broken = 0
        for row in rows:
            self._queue.end(points[row["key"]], row.get("seconds") or 0.0)
        self._count(rows)

    def _count(self, rows: list[Row]) -> None:
        seconds = sum(row.get("seconds") or 0.0 for row in rows)
        waiting = sum(self._queue.predicted(point) for sent in self._sent.values() for _, point in sent.group)
        self._status.add(rows, seconds, waiting + self._queue.seconds)

    def _fail(self, sent: Sent, error: BaseException) -> None:
        """A group was lost with its worker, or its worker could not even begin: try each training alone."""
        if self._stopping:
            return
        if isinstance(error, ImportError):
            raise self._cannot_run(error, "install the same motegpt for the workers; ") from error
        if isinstance(error, BrokenExecutor) and sent.made == self._pool.made:
            self._remake(error)
        for key, point in sent.group:
            self._attempts[key] = self._attempts.get(key, 0) + 1
            if len(sent.group) == 1:
                self._alone[key] = self._alone.get(key, 0) + 1
            if self._alone.get(key, 0) < ALONE:
                self._suspects.append((key, point))
            else:
                self._give_up(key, point, error)

    def _remake(self, error: BaseException) -> None:
        self._broken += 1
        if not self._pool.can_remake or self._broken > MAX_BROKEN:
            raise self._cannot_run(error) from error
        self._pool.remake()

    def _cannot_run(self, error: BaseException, fix: str = "") -> MotegptError:
        kept = counted(self._status.done, "row")
        return MotegptError(
            f"sweep: the workers cannot run ({reason(error)}); {fix}{kept} kept; the same call continues"
        )

    def _give_up(self, key: str, point: Point, error: BaseException) -> None:
        """A row for a training whose worker is lost every time."""
        why = f"its worker was lost {self._attempts[key]} times: {reason(error)}"
        row = {"key": key, "status": LOST, "reason": why, **point, "attempts": self._attempts[key]}
        self._keep([row])
        self._count([row])


def reason(error: BaseException) -> str:
    """The kind and the first line of an error."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
