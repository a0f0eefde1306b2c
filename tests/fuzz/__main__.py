"""Every target, or the named ones, for some seconds in all: python -m tests.fuzz [SECONDS] [TARGET...].

Prints the failing input and ends with 1 where something is found.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

NAMES = ("data", "ids", "toml", "run", "tensors", "hf", "file", "words")
PLANTED = "planted"  # has a bug, to see the fuzzer fail


def main() -> int:
    """Each in a process of its own; the exit code."""
    seconds, *names = sys.argv[1:] or ["60"]
    unknown = set(names) - {*NAMES, PLANTED}
    if unknown:
        print(f"fuzz: expected targets among {', '.join(NAMES)}, got {', '.join(unknown)}", file=sys.stderr)
        return 2
    chosen = names or NAMES
    return max([fuzz(name, max(1, int(seconds) // len(chosen))) for name in chosen])


def fuzz(name: str, seconds: int) -> int:
    """0 if a target held."""
    with tempfile.TemporaryDirectory(prefix="motegpt-fuzz-") as folder:
        command = [sys.executable, "-m", "tests.fuzz.one", name, str(seconds), folder]
        inside = {**os.environ, "TMPDIR": folder}  # libFuzzer ends without tidying up
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=inside, check=False
        )
        said = done.stdout.decode("utf-8", "replace")
        inputs = sorted(Path(folder).glob("found-*"))
        runs = [line.split()[-1] for line in said.splitlines() if "number_of_executed_units" in line]
        print(f"fuzz {name:8} {seconds:4} s {runs[-1] if runs else '?':>9} inputs  "
              f"{'held' if done.returncode == 0 else 'FAILED'}", flush=True)  # fmt: skip
        if done.returncode:
            print(said[-6000:])
        for path in inputs if done.returncode else []:
            print(f"the input, {path.name}: {path.read_bytes()!r}")
        return int(done.returncode != 0)


if __name__ == "__main__":
    sys.exit(main())
