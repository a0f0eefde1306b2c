"""Libraries that are imported when they are needed: what to say where one cannot be.

One that is not installed is told from one that is and cannot be loaded: for lack of memory, or because its
files do not fit this machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from motegpt.errors import UsageError

CORE = "motegpt.engines.native._core"
INSTALL = {  # module -> what it is, and how to get it; any other is installed by its own name
    "numpy": "NumPy: pip install numpy",
    "torch": "PyTorch: pip install 'motegpt[torch]'",
    "matplotlib": "matplotlib: pip install 'motegpt[plot]'",
    CORE: "its compiled core: install a C++20 compiler (GCC 12, Clang 15 or newer) and reinstall motegpt",
}


@contextmanager
def requires(what: str, error: type[UsageError]) -> Iterator[None]:
    """Turn a failure to import what `what` needs into one line, raised as `error`."""
    try:
        yield
    except (ImportError, OSError, MemoryError) as failure:
        raise error(f"{what} {why_not(failure)}") from failure


def why_not(failure: BaseException) -> str:
    """needs NumPy: pip install numpy    or    cannot be loaded (libblas.so: cannot allocate memory)"""
    name = failure.name if isinstance(failure, ModuleNotFoundError) else None
    if name is not None and (name in INSTALL or "." not in name):
        return f"needs {INSTALL.get(name, f'{name}: pip install {name}')}"
    if isinstance(failure, MemoryError):
        return "cannot be loaded (out of memory)"
    return f"cannot be loaded ({_reason(failure)})"


def _reason(failure: BaseException) -> str:
    """The last line of the first cause: libraries wrap it into advice of many lines."""
    while failure.__cause__ is not None:
        failure = failure.__cause__
    lines = [line.strip() for line in str(failure).splitlines() if line.strip()]
    return lines[-1] if lines else type(failure).__name__
