"""Description and peak speed of the machine."""

from __future__ import annotations

import os
import platform
import subprocess  # noqa: TID251  # git alone
import time
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from motegpt.engines import why_unavailable

PEAK_SIZE, PEAK_RUNS = 1024, 9


def processor() -> str:
    """The name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def commit() -> str:
    """The commit of the checkout that contains this package."""
    words = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"


def describe() -> dict[str, str]:
    """Processor, system, interpreter, libraries and commit."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        torch = version("torch")
    except PackageNotFoundError:
        torch = "none"
    return {
        "processor": f"{processor()}, {os.cpu_count()} cores",
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "torch": torch,
        "motegpt": f"{version('motegpt')} ({commit()})",
        **native_build(),
    }


def native_build() -> dict[str, str]:
    """Compiler and instruction set of the native core."""
    reason = why_unavailable("native")
    if reason is not None:
        return {"compiler": "none", "level": "none"}
    from motegpt.engines.native import _core

    return {"compiler": _core.compiler(), "level": f"{_core.levels()[0]} of {', '.join(_core.levels())}"}


def matrix_peak(dtype: str) -> float:
    """Operations/s of NumPy's matrix product on one core, the best of several runs."""
    a, b = np.random.default_rng(0).random((2, PEAK_SIZE, PEAK_SIZE)).astype(dtype)
    seconds = []
    with threadpool_limits(1):
        for _ in range(PEAK_RUNS + 1):  # the first run warms up
            began = time.perf_counter()
            a @ b
            seconds.append(time.perf_counter() - began)
    return 2.0 * PEAK_SIZE**3 / min(seconds[1:])
