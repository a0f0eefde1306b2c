"""Run the page's JavaScript modules in Node: JSON in, JSON out."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

SCRIPTS, JS = Path(__file__).parent / "page", Path(__file__).parents[1] / "src/motegpt/page/js"
OLDEST_NODE = 20


def why_no_node() -> str | None:
    """Why no script can run here; None if one can."""
    node = shutil.which("node")
    if node is None:
        return "needs node"
    found = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.match(r"v(\d+)", found)
    is_new = version is not None and int(version[1]) >= OLDEST_NODE
    return None if is_new else f"needs node {OLDEST_NODE} or newer, got {found.strip()}"


needs_node = pytest.mark.skipif(why_no_node() is not None, reason=why_no_node() or "")


def run_script(name: str, given: Any, timeout: float = 300) -> Any:
    """The JSON that tests/page/<name>.mjs prints; `given`: the JSON on its standard input."""
    ended = subprocess.run(
        ["node", "--experimental-default-type=module", "--no-warnings", str(SCRIPTS / f"{name}.mjs")],
        input=json.dumps(given),
        capture_output=True,
        encoding="utf-8",
        timeout=timeout,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    return json.loads(ended.stdout)
