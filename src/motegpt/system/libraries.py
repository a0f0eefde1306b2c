"""Error messages for libraries that are imported on demand.

They distinguish a library that is not installed from one that cannot be loaded: for lack of memory, or
because its files do not match this machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from motegpt.errors import UsageError

CORE = "motegpt.engines.native._core"
# Module -> its name and how to install it; default: pip install MODULE. The requirements are those of
# pyproject.toml; `pip install 'motegpt[torch]'` works neither in a clone nor from PyPI.
INSTALL = {
    "numpy": "NumPy: pip install numpy",
    "torch": "PyTorch: pip install 'torch>=2.5'",
    "matplotlib": "matplotlib: pip install 'matplotlib>=3.8'",
    "tokenizers": "tokenizers: pip install 'tokenizers>=0.21'",
    "distributed": "Dask: pip install 'distributed>=2024.8'",
    "gguf": "gguf: pip install 'gguf>=0.17'",
    "tensorboardX": "tensorboardX: pip install 'tensorboardX>=2.6'",
    "psutil": "psutil: pip install 'psutil>=5.9'",
    CORE: "its compiled core: install a C++20 compiler (GCC 12, Clang 15 or newer) and reinstall motegpt",
}


@cache
def installed_version(name: str) -> str | None:
    """The version of an installed distribution; None where there is none."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None


@contextmanager
def imports_for(name: str, error: type[UsageError]) -> Iterator[None]:
    """Raise failed imports in this context as `error`: "plot needs matplotlib: pip install ..."."""
    try:
        yield
    except (ImportError, OSError, MemoryError) as failure:
        raise error(f"{name} {import_failure(failure)}") from failure


def import_failure(failure: BaseException) -> str:
    """needs NumPy: pip install numpy    or    cannot be loaded (libblas.so: cannot allocate memory)"""
    name = failure.name if isinstance(failure, ModuleNotFoundError) else None
    if name is not None and (name in INSTALL or "." not in name):
        return f"needs {INSTALL.get(name, f'{name}: pip install {name}')}"
    if isinstance(failure, MemoryError):
        return "cannot be loaded (out of memory)"
    return f"cannot be loaded ({_reason(failure)})"


def _reason(failure: BaseException) -> str:
    """The last line of the root cause; libraries wrap it in advice of many lines."""
    while failure.__cause__ is not None:
        failure = failure.__cause__
    lines = [line.strip() for line in str(failure).splitlines() if line.strip()]
    return lines[-1] if lines else type(failure).__name__
