"""Number of processors available to this process: its CPU affinity and the quota of its container.

Containers often get the time of a few processors on a machine with many. With one thread per processor of
the machine, threads would wait for each other at every barrier. Standard library only.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

MAX_THREADS = 256  # per training

# Mount points of the cpu controller in cgroups v1, and of the single tree in v2.
V1 = ("sys/fs/cgroup/cpu", "sys/fs/cgroup/cpu,cpuacct")
V2 = ("sys/fs/cgroup", "sys/fs/cgroup/unified")


def available_processors(root: Path = Path("/")) -> int:
    """The number of threads to start: 1 to MAX_THREADS."""
    quota = cpu_quota(root)
    count = affinity() if quota is None else min(affinity(), int(quota))
    return min(max(1, count), MAX_THREADS)


def affinity() -> int:
    """The number of processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_quota(root: Path) -> float | None:
    """The CPU quota of this process's control groups, in processors; None without a limit.

    root: contains proc/self/cgroup and sys/fs/cgroup. The limits of all ancestor groups and of the mount
    point apply too: inside a container, the paths may be those of the host.
    """
    quotas = [
        quota
        for version, path in _groups(root)
        for mount in (V2 if version == 2 else V1)
        for group in _with_ancestors(root / mount, path)
        if (quota := _quota_v2(group) if version == 2 else _quota_v1(group)) is not None
    ]
    return min(quotas, default=None)


def _groups(root: Path) -> Iterator[tuple[int, str]]:
    """Version and path of each control group that may limit processors, from lines ID:CONTROLLERS:PATH."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        hierarchy, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if hierarchy == "0" and not controllers:
            yield 2, path
        elif "cpu" in controllers.split(","):
            yield 1, path


def _with_ancestors(mount: Path, path: str) -> Iterator[Path]:
    """The folders of a group and of its ancestors, up to the mount point."""
    relative = PurePosixPath(path.lstrip("/"))
    for part in (relative, *relative.parents):
        if ".." not in part.parts:
            yield mount / part


def _quota_v2(group: Path) -> float | None:
    """From cpu.max: `150000 100000` is quota and period in µs; `max 100000` means no limit."""
    return _ratio(*_read(group / "cpu.max").split()[:2])


def _quota_v1(group: Path) -> float | None:
    """From cpu.cfs_quota_us and cpu.cfs_period_us; a quota of -1 means no limit."""
    return _ratio(_read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us"))


def _ratio(quota: str = "", period: str = "") -> float | None:
    try:
        time, interval = int(quota), int(period)
    except ValueError:
        return None
    return time / interval if time > 0 and interval > 0 else None


def _read(path: Path) -> str:
    """The text of a small file; empty if unreadable."""
    try:
        return path.read_text("ascii")
    except (OSError, UnicodeDecodeError):
        return ""
