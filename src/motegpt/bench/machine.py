"""Description and peak speed of the machine."""

from __future__ import annotations

import os
import platform
import subprocess  # noqa: TID251  # git alone
import time
from pathlib import Path

from motegpt.engines import why_unavailable
from motegpt.system.libraries import installed_version

PEAK_ROUNDS, PEAK_RUNS = 100_000, 60  # a round does up to 48 multiply-adds of vectors


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
    return {
        "processor": f"{processor()}, {os.cpu_count()} cores",
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": str(installed_version("numpy")),
        "torch": installed_version("torch") or "none",
        "motegpt": f"{installed_version('motegpt')} ({commit()})",
        **native_build(),
    }


def native_build() -> dict[str, str]:
    """Compiler and instruction set of the native core."""
    known = levels()
    if not known:
        return {"compiler": "none", "level": "none"}
    from motegpt.engines.native import _core

    return {"compiler": _core.compiler(), "level": f"{known[0]} of {', '.join(known)}"}


def levels() -> list[str]:
    """The levels of the native core that can run here, the fastest first; empty without the core."""
    if why_unavailable("native") is not None:
        return []
    from motegpt.engines.native import _core

    return _core.levels()


def multiply_add_peak(dtype: str, level: str) -> float:
    """Operations/s of multiply-adds in registers on one core, the best of many short runs."""
    from motegpt.engines.native import _core

    def speed(rounds: int) -> float:
        began = time.perf_counter()
        return _core.multiply_add(level, dtype, rounds) / (time.perf_counter() - began)

    return max(speed(PEAK_ROUNDS) for _ in range(PEAK_RUNS))
