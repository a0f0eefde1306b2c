"""Errors distinguish libraries that are not installed from those that cannot be loaded."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from motegpt.system.libraries import INSTALL

ABSENT = """raise ModuleNotFoundError("No module named 'numpy'", name="numpy")"""
NO_MEMORY = """
try:
    raise ImportError("libblas.so: failed to map segment from shared object")
except ImportError as error:
    raise ImportError("IMPORTANT: PLEASE READ THIS!\\n\\nMany lines of advice.\\n") from error
"""
MEMORY_ERROR = "raise MemoryError"
NO_PART = """raise ModuleNotFoundError("No module named 'torch._C'", name="torch._C")"""
SYSTEM = """raise OSError("libtorch.so: cannot allocate memory")"""
UNMAPPED = "libblas.so: failed to map segment from shared object"


def test_what_is_to_be_installed_is_what_pyproject_asks_for():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    extras = {
        "torch": "torch",
        "matplotlib": "plot",
        "gguf": "gguf",
        "psutil": "bench",
        "distributed": "dask",
    }
    for name, extra in extras.items():
        command = INSTALL[name].partition("pip install ")[2]
        assert re.findall(r"'(.*?)'", command) == optional[extra]


def run(folder, *words, **libraries):
    """Run a command with these libraries instead of the real ones."""
    for name, program in libraries.items():
        (folder / "fake" / name).mkdir(parents=True)
        (folder / "fake" / name / "__init__.py").write_text(program)
    environment = {**os.environ, "PYTHONPATH": str(folder / "fake")}
    return subprocess.run(
        [sys.executable, "-m", "motegpt", *words], cwd=folder, env=environment, capture_output=True, text=True
    )


@pytest.mark.parametrize(
    ("engine", "libraries", "message"),
    [
        ("array", {"numpy": ABSENT}, "the array engine needs NumPy: pip install numpy"),
        ("array", {"numpy": NO_MEMORY}, f"the array engine cannot be loaded ({UNMAPPED})"),
        ("array", {"numpy": MEMORY_ERROR}, "the array engine cannot be loaded (out of memory)"),
        ("native", {"numpy": ABSENT}, "the native engine needs NumPy: pip install numpy"),
        ("native", {"numpy": NO_MEMORY}, f"the native engine cannot be loaded ({UNMAPPED})"),
        ("torch", {"torch": ABSENT.replace("numpy", "torch")}, "the torch engine needs PyTorch: pip install"),
        ("torch", {"torch": NO_PART}, "the torch engine cannot be loaded (No module named 'torch._C')"),
        ("torch", {"torch": SYSTEM}, "the torch engine cannot be loaded (libtorch.so: cannot allocate"),
        ("scalar", {"numpy": ABSENT}, "this command needs NumPy: pip install numpy"),
        (
            "scalar",
            {"filelock": ABSENT.replace("numpy", "filelock")},
            "this command needs filelock: pip",
        ),
        ("array", {"filelock": NO_MEMORY}, f"this command cannot be loaded ({UNMAPPED})"),
    ],
)
def test_unavailable_engines(tmp_path, engine, libraries, message):
    ended = run(tmp_path, "train", "--engine", engine, "--steps", "1", "--out", "run", **libraries)
    assert ended.returncode == (1 if "this command" in message else 2)
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert message in ended.stderr


@pytest.mark.parametrize(
    ("library", "message"),
    [
        (ABSENT.replace("numpy", "matplotlib"), "plot needs matplotlib: pip install 'matplotlib>=3.8'"),
        (NO_MEMORY, f"plot cannot be loaded ({UNMAPPED})"),
    ],
)
def test_plot_without_matplotlib(motegpt, tmp_path, library, message):
    assert motegpt("train", "--engine", "array", "--steps", 2, "--out", "run").code == 0
    ended = run(tmp_path, "plot", "run", matplotlib=library)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1), ended.stderr
    assert message in ended.stderr


def test_missing_core(monkeypatch):
    """A missing core means a missing compiler; other failures are reported; the default is then array."""
    program = """
import sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "motegpt.engines.native._core":
            raise {failure}
sys.meta_path.insert(0, Finder())
from motegpt.cli import main
main(["train", "--steps", "1", "-n", "1"])
"""
    for failure, message in (
        ("ModuleNotFoundError(f'No module named {name!r}', name=name)", "needs its compiled core: install"),
        ("ImportError('_core.so: undefined symbol: x')", "cannot be loaded (_core.so: undefined symbol: x)"),
    ):  # fmt: skip
        ended = subprocess.run(
            [sys.executable, "-c", program.format(failure=failure)], capture_output=True, text=True
        )
        assert ended.returncode == 0, ended.stderr
        assert f"using the array engine: the native engine {message}" in ended.stderr
