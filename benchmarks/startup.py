"""The processor time of whole commands: how long a command takes before and after its work.

    python benchmarks/startup.py names.txt --runs 10

Commands alternate, each in a fresh process; a time is the shortest of its runs, user plus system time.
`python -c pass` and imports of libraries are what no change of motegpt can save.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path


def commands(data: Path) -> dict[str, list[str]]:
    """The words of each command by its name."""
    python, motegpt = [sys.executable, "-c"], [sys.executable, "-m", "motegpt"]
    train = [*motegpt, "train", str(data), "--preset", "microgpt"]
    return {
        "python -c pass": [*python, "pass"],
        "import click": [*python, "import click"],
        "import numpy": [*python, "import numpy"],
        "motegpt --help": [*motegpt, "--help"],
        "motegpt train DATA --preset microgpt": train,
        "motegpt train DATA --preset microgpt --steps 1 -n 1": [*train, "--steps", "1", "-n", "1"],
        "motegpt train --preset microgpt": [*motegpt, "train", "--preset", "microgpt"],
    }


def seconds(words: list[str], folder: str) -> float:
    """Processor time of a command; CalledProcessError if it fails."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(words, cwd=folder, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    """Print the shortest time of each command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="a file with a name in each line")
    parser.add_argument("--runs", type=int, default=10)
    arguments = parser.parse_args()
    times: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(arguments.runs):
            for name, words in commands(arguments.data.resolve()).items():
                times.setdefault(name, []).append(seconds(words, folder))
    for name, each in times.items():
        print(f"{min(each) * 1e3:6.0f} ms  {name}")


if __name__ == "__main__":
    main()
