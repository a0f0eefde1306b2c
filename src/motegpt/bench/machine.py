"""What a figure was measured on."""

from __future__ import annotations

import os
import platform
import subprocess  # noqa: TID251  # a command the user gave, or our own
import sys
from pathlib import Path

from motegpt.engines import why_unavailable

PEAK_SIZE, PEAK_RUNS = 1024, 9
PEAK_PROGRAM = f"""
import time
import numpy as np
a, b = np.random.rand(2, {PEAK_SIZE}, {PEAK_SIZE}).astype(np.{{dtype}})
times = []
for _ in range({PEAK_RUNS} + 1):
    began = time.perf_counter()
    a @ b
    times.append(time.perf_counter() - began)
print(2.0 * {PEAK_SIZE} ** 3 / min(times[1:]))
"""
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "VECLIB_MAXIMUM_THREADS": "1"}


def processor() -> str:
    """The processor's name, as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def commit() -> str:
    """The commit this package was run from, if it lies in a checkout."""
    words = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"


def describe() -> dict[str, str]:
    """Machine, interpreter, libraries and commit."""
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
    """Compiler and processor level of the native core."""
    reason = why_unavailable("native")
    if reason is not None:
        return {"compiler": "none", "level": "none"}
    from motegpt.engines.native import _core

    return {"compiler": _core.compiler(), "level": f"{_core.levels()[0]} of {', '.join(_core.levels())}"}


def matrix_peak(dtype: str) -> float:
    """Operations a second of one core in NumPy's matrix product, the best of several runs.

    Measured in a process of its own, where the number of threads can still be set.
    """
    program = PEAK_PROGRAM.format(dtype=dtype)
    environment = {**os.environ, **ONE_THREAD}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    return float(done.stdout)
