"""How many processors this process may use: its affinity and the quota of its container, not the machine's.

A container is often given a few processors' time on a machine with many: a thread for each of those would
wait for the others' turn at every barrier. Standard library only.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

MAX_THREADS = 256  # of one training

# Where the cpu controller of version 1 is mounted. Version 2 has a single tree.
V1 = ("sys/fs/cgroup/cpu", "sys/fs/cgroup/cpu,cpuacct")
V2 = ("sys/fs/cgroup", "sys/fs/cgroup/unified")


def available_processors(root: Path = Path("/")) -> int:
    """How many threads are worth starting, at least 1 and at most MAX_THREADS."""
    quota = cpu_quota(root)
    count = affinity() if quota is None else min(affinity(), int(quota))
    return min(max(1, count), MAX_THREADS)


def affinity() -> int:
    """How many processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_quota(root: Path) -> float | None:
    """Processors' time per time that the control groups of this process allow; None without a limit.

    root: where proc/self/cgroup and sys/fs/cgroup are found. A limit of any group above counts too, and so
    does that of the mount itself: inside a container, the paths may be those of the machine outside.
    """
    quotas = [
        quota
        for version, path in _groups(root)
        for mount in (V2 if version == 2 else V1)
        for group in _with_those_above(root / mount, path)
        if (quota := _quota_v2(group) if version == 2 else _quota_v1(group)) is not None
    ]
    return min(quotas, default=None)


def _groups(root: Path) -> Iterator[tuple[int, str]]:
    """Version and path of each control group that may limit processors: lines ID:CONTROLLERS:PATH."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        hierarchy, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if hierarchy == "0" and not controllers:
            yield 2, path
        elif "cpu" in controllers.split(","):
            yield 1, path


def _with_those_above(mount: Path, path: str) -> Iterator[Path]:
    """The folders of a group and of all that it is in, up to the mount."""
    relative = PurePosixPath(path.lstrip("/"))
    for part in (relative, *relative.parents):
        if ".." not in part.parts:
            yield mount / part


def _quota_v2(group: Path) -> float | None:
    """cpu.max: `150000 100000` is the time allowed in a period, both in µs; `max 100000` is no limit."""
    return _ratio(*_read(group / "cpu.max").split()[:2])


def _quota_v1(group: Path) -> float | None:
    """cpu.cfs_quota_us and cpu.cfs_period_us, a quota of -1 being no limit."""
    return _ratio(_read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us"))


def _ratio(quota: str = "", period: str = "") -> float | None:
    try:
        allowed, of = int(quota), int(period)
    except ValueError:
        return None
    return allowed / of if allowed > 0 and of > 0 else None


def _read(path: Path) -> str:
    """The text of a small file; empty if it cannot be read."""
    try:
        return path.read_text("ascii")
    except (OSError, UnicodeDecodeError):
        return ""
