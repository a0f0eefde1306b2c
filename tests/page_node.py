"""Run the page's JavaScript modules in Node: JSON in, JSON out."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.browser import REQUIRED

SCRIPTS, JS = Path(__file__).parent / "page", Path(__file__).parents[1] / "src/motegpt/page/js"
OLDEST_NODE = (20, 19)  # the first that recognizes modules in files *.js


def _versions() -> dict[str, tuple[int, ...]]:
    """The version of each node here: the system's, and the one that Playwright brings."""
    playwright = find_spec("playwright")
    folders = playwright.submodule_search_locations if playwright else []
    found = [shutil.which("node"), *(shutil.which("node", path=f"{one}/driver") for one in folders or [])]
    return {node: _version(node) for node in found if node}


def _version(node: str) -> tuple[int, ...]:
    printed = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.match(r"v(\d+)\.(\d+)", printed)
    return tuple(map(int, version.groups())) if version else (0,)


NODE = next((node for node, version in _versions().items() if version >= OLDEST_NODE), None)
NEEDED = "needs node {}.{} or newer: pip install playwright, which brings one".format(*OLDEST_NODE)
needs_node = pytest.mark.skipif(NODE is None and not os.environ.get(REQUIRED), reason=NEEDED)


def run_script(name: str, given: Any, timeout: float = 300) -> Any:
    """The JSON that tests/page/<name>.mjs prints; `given`: the JSON on its standard input."""
    assert NODE is not None, NEEDED
    ended = subprocess.run(
        [NODE, "--no-warnings", str(SCRIPTS / f"{name}.mjs")],
        input=json.dumps(given),
        capture_output=True,
        encoding="utf-8",
        timeout=timeout,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    return json.loads(ended.stdout)
