"""Where trainings run: threads, processes, a Dask cluster, or any concurrent.futures.Executor."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from importlib import import_module
from multiprocessing import get_context, parent_process
from threading import Event, Thread
from typing import Any

from motegpt.config.fields import Kind
from motegpt.config.text import shortened
from motegpt.errors import LibraryUnavailable, UsageError
from motegpt.sweeps.store import Row
from motegpt.sweeps.work import Group, Work, run_group
from motegpt.system.libraries import imports_for
from motegpt.system.processors import available_processors

CONNECT_SECONDS = 30
ASK_SECONDS = 2
MAX_WORKERS = 10_000


class Pool:
    """An executor with the number of groups that it can work on at once.

    make: makes the executor, again after it broke if `can_remake`; slots: asked often, as clusters grow;
    ahead: groups per slot that are handed out, so that no worker waits for this process.
    """

    def __init__(
        self, make: Callable[[], Executor], slots: Callable[[], int], can_remake: bool = False, ahead: int = 2
    ) -> None:
        self._make, self.slots, self.can_remake, self._ahead = make, slots, can_remake, ahead
        self._executor = make()
        self.made = 1

    @property
    def capacity(self) -> int:
        """The number of groups to hand out at once."""
        return max(1, self.slots()) * self._ahead

    def submit(self, work: Work, group: Group) -> Future[list[Row] | None]:
        """Train at the points of a group; None as of run_group."""
        return self._executor.submit(run_group, work, group)

    def remake(self) -> None:
        """Another executor in place of one that broke."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._executor = self._make()
        self.made += 1

    def check(self) -> None:
        """BrokenExecutor if the workers are gone for good, whatever becomes of the groups that they have."""

    def stop(self) -> None:
        """Let what runs come to an end early, where that is possible."""

    def close(self, at_once: bool = False) -> None:
        """Give the workers back. at_once: what runs is not wanted; else nothing runs."""


class Threads(Pool):
    """Threads of this process: while the core computes it holds no lock."""

    def __init__(self, count: int) -> None:
        super().__init__(lambda: ThreadPoolExecutor(count, "sweep"), lambda: count, ahead=1)
        self._stopped, self._abandoned = Event(), Event()

    def submit(self, work: Work, group: Group) -> Future[list[Row] | None]:
        return self._executor.submit(run_group, work, group, self._stopped.is_set, self._abandoned.is_set)

    def stop(self) -> None:
        self._stopped.set()

    def close(self, at_once: bool = False) -> None:
        if at_once:
            self._abandoned.set()
        self._executor.shutdown(wait=not at_once, cancel_futures=True)


class Processes(Pool):
    """Processes on this machine, made again when one of them is killed."""

    def __init__(self, count: int) -> None:
        self._count = count
        super().__init__(self._started, lambda: count, can_remake=True)

    def _started(self) -> Executor:
        return ProcessPoolExecutor(self._count, get_context("spawn"), _begin_worker)

    def close(self, at_once: bool = False) -> None:
        processes = list((getattr(self._executor, "_processes", None) or {}).values()) if at_once else []
        for process in processes:
            process.kill()
        self._executor.shutdown(wait=not at_once, cancel_futures=True)


class Dask(Pool):
    """The workers of a Dask cluster, which may join and leave at any time."""

    def __init__(self, address: str) -> None:
        with imports_for("sweep: `dask`", LibraryUnavailable):
            distributed: Any = import_module("distributed")
        try:
            distributed.comm.get_address_host(address)  # else a Client tries a bad address for a minute
            self._client = distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError) as error:
            raise UsageError(
                "dask: expected the address of a scheduler, as in tcp://host:8786, got "
                f"{shortened(address)}: {error}; start one: dask scheduler"
            ) from None
        self._address, self._threads, self._asked = address, 0, -math.inf
        super().__init__(lambda: self._client.get_executor(pure=False), self._count)

    def submit(self, work: Work, group: Group) -> Future[list[Row] | None]:
        try:
            return super().submit(work, group)
        finally:
            self.check()

    def check(self) -> None:
        if self._client.status in ("closing", "closed"):  # what it has now may never end
            raise BrokenExecutor(
                f"no scheduler at {self._address} for {CONNECT_SECONDS} s; start one: dask scheduler"
            )

    def _count(self) -> int:
        """The threads of all workers, asked for every ASK_SECONDS while the scheduler answers."""
        if self._client.status == "running" and time.monotonic() > self._asked + ASK_SECONDS:
            with suppress(OSError):  # it has just gone; the client looks for it for CONNECT_SECONDS
                self._threads = sum(self._client.nthreads().values())
            self._asked = time.monotonic()
        return self._threads

    def close(self, at_once: bool = False) -> None:
        if self._client.status == "running":
            self._executor.shutdown(wait=False)
        self._client.close(timeout=CONNECT_SECONDS)


def _begin_worker() -> None:
    """In a process: leave Ctrl-C, which reaches all processes of a terminal, to the first; end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Wait for the first process to end, however it does."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def pool_maker(
    threads: int | None = None,
    processes: int | None = None,
    dask: str | None = None,
    executor: Executor | None = None,
    workers: int | None = None,
) -> Callable[[], Pool]:
    """What makes the pool that is asked for, by default one thread per processor.

    workers: of `executor`, by default as many as it has. UsageError for more than one, or a bad number.
    """
    asked = {"threads": threads, "processes": processes, "dask": dask, "executor": executor}
    given = [name for name, value in asked.items() if value is not None]
    if len(given) > 1:
        raise UsageError(f"{given[1]}: expected it without `{given[0]}`, got both; leave one out")
    if workers is not None and executor is None:
        raise UsageError("workers: expected an executor, got none; set `threads` or `processes`")
    if executor is not None:
        if not isinstance(executor, Executor):
            raise UsageError(f"executor: expected a concurrent.futures.Executor, got {shortened(executor)}")
        count = _count("workers", workers or getattr(executor, "_max_workers", available_processors()))
        return lambda: Pool(lambda: executor, lambda: count)
    if dask is not None:
        return partial(Dask, dask)
    if processes is not None:
        return partial(Processes, _count("processes", processes))
    return partial(Threads, _count("threads", available_processors() if threads is None else threads))


def _count(name: str, value: Any) -> int:
    """A number of workers."""
    found: int = Kind(int, "", at_least=1, at_most=MAX_WORKERS).check(name, value)
    return found
