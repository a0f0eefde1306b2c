"""What a sweep costs beside its trainings, in processor time.

    python benchmarks/sweeps.py
    python benchmarks/sweeps.py --kill SWEEP [--dask]

Trainings of the microgpt preset in single precision, 1,000 steps each, once by `train_many` and once by
`sweep` with its rows on disk, in turn; the least of several repetitions. Times are those of this process and
the processes it has started, without what starting them takes, which a sweep of one training measures.

With --kill 10,000 shorter trainings run in a command that is killed three times with SIGKILL; at the end
every row has to be there once, with the numbers that a sweep in threads has. With --dask the workers are two
of a Dask scheduler on this machine; each kill of the command kills one of them a little before, and another
begins.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import motegpt
from motegpt.sweeps.store import read_rows

TRAININGS, REPETITIONS = 100, 5
TABLE: dict[str, Any] = {"preset": "microgpt", "fixed": {"steps": 1000, "dtype": "float32"}}
WAYS: dict[str, dict[str, Any]] = {"threads": {"threads": 1}, "processes": {"processes": 1}}
MANY: dict[str, Any] = {  # 10,000 trainings
    "preset": "microgpt",
    "fixed": {"steps": 100, "dtype": "float32", "val_fraction": 0.1, "split_seed": 1},
    "grid": {"n_embd": [8, 16, 24, 32], "lr": {"log_from": 1e-3, "log_to": 1e-1, "points": 25}},
    "repeat": {"seed": {"from": 0, "to": 99}},
}
CHANGING = ("seconds", "host", "attempts", "key", "index")
KILLS = (0.15, 0.4, 0.75)  # shares of the rows after which a worker of Dask is killed
BETWEEN = 0.05  # share of the rows from then until the command is killed


def table_of(count: int) -> dict[str, Any]:
    """A sweep over seeds."""
    return {**TABLE, "repeat": {"seed": {"from": 1, "to": count}}}


def seconds(work: Callable[[], object]) -> float:
    """Processor time of some work, in this process and those that it starts and ends."""
    before = os.times()
    work()
    after = os.times()
    return sum(after[:4]) - sum(before[:4])


def swept(count: int, **how: Any) -> None:
    """A sweep with its rows on disk."""
    with tempfile.TemporaryDirectory() as folder:
        motegpt.sweep(table_of(count), out=folder, **how)


def trained() -> None:
    """The same trainings without a sweep."""
    points = [{"preset": "microgpt", **TABLE["fixed"], "seed": seed} for seed in range(1, TRAININGS + 1)]
    assert all(row["status"] == "ok" for row in motegpt.train_many(points, threads=1))


def overhead() -> None:
    """Print the time of a training in each way."""
    works: dict[str, Callable[[], object]] = {"train_many": trained}
    for name, how in WAYS.items():
        works[name] = lambda how=how: swept(TRAININGS, **how)
        works[f"{name}, start"] = lambda how=how: swept(1, **how)
    times: dict[str, float] = {}
    for _ in range(REPETITIONS):
        for name, work in works.items():
            times[name] = min(times.get(name, float("inf")), seconds(work))
    each = 1000 * times["train_many"] / TRAININGS
    print(f"train_many          {each:6.2f} ms per training")
    for name in WAYS:
        started = times[f"{name}, start"] - times["train_many"] / TRAININGS
        took = 1000 * (times[name] - started) / TRAININGS
        print(f"sweep, {name:12} {took:6.2f} ms per training, {100 * (took / each - 1):+.1f} %")
        print(f"{'':20}{started:6.2f} s to start and end")


def written(out: Path) -> int:
    """The number of whole lines in the file of rows."""
    path = out / "rows.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def killed(out: Path, how: Sequence[str], disturb: Callable[[], object]) -> None:
    """Run MANY in a command that is killed, and check its rows. disturb: called before each kill."""
    file = out.with_suffix(".toml")
    file.write_text("\n".join(_toml(MANY)))
    command = [sys.executable, "-m", "motegpt", "sweep", str(file), "--out", str(out), *how]
    began, total = time.monotonic(), 10_000
    for share in KILLS:
        process = subprocess.Popen(command)
        wait_for(out, share * total)
        disturb()
        wait_for(out, (share + BETWEEN) * total)
        process.kill()
        process.wait()
        print(f"killed after {written(out):,} rows")
    subprocess.run(command, check=True)
    took = time.monotonic() - began
    rows = read_rows(out)
    assert len(rows) == total == written(out), (len(rows), written(out))
    began = time.monotonic()
    expected = {row["key"]: _numbers(row) for row in motegpt.sweep(MANY)}
    assert {key: _numbers(row) for key, row in rows.items()} == expected
    in_threads = time.monotonic() - began
    print(f"{total:,} rows, each once, in {took:.0f} s; equal to those of threads, {in_threads:.0f} s")


def wait_for(out: Path, rows: float) -> None:
    """Wait until the file has so many rows."""
    while written(out) < rows:
        time.sleep(0.01)


@contextmanager
def cluster(folder: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """The address of a Dask scheduler with two workers, and a call that kills one and starts another."""
    log, dask = (folder / "dask.log").open("ab"), str(Path(sys.executable).with_name("dask"))

    def start(*words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([dask, *words, "--no-dashboard"], cwd=folder, stdout=log, stderr=log)

    def worker() -> subprocess.Popen[bytes]:
        return start("worker", address, "--nthreads", "1", "--no-nanny")

    def replace() -> None:
        workers[0].kill()
        workers[0].wait()
        workers[:] = [workers[1], worker()]
        print("killed a worker, began another")

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    scheduler = start("scheduler", "--host", address)
    workers = [worker(), worker()]
    try:
        yield address, replace
    finally:
        for process in (*workers, scheduler):
            process.terminate()
            process.wait()


def _numbers(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in CHANGING}


def _toml(table: dict[str, Any]) -> list[str]:
    """A table of tables as TOML."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in table.items() if not isinstance(value, dict)]
    for name, values in table.items():
        if isinstance(values, dict):
            lines.append(f"[{name}]")
            for key, value in values.items():
                inner = isinstance(value, dict)
                text = ", ".join(f"{k} = {v}" for k, v in value.items()) if inner else json.dumps(value)
                lines.append(f"{key} = {{{text}}}" if inner else f"{key} = {text}")
    return lines


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kill", type=Path, metavar="SWEEP", help="a new folder")
    parser.add_argument("--dask", action="store_true", help="with --kill: on two workers of a Dask scheduler")
    arguments = parser.parse_args()
    if arguments.kill is None:
        overhead()
    elif arguments.dask:
        with tempfile.TemporaryDirectory() as folder, cluster(Path(folder)) as (address, replace):
            killed(arguments.kill, ("--dask", address), replace)
    else:
        killed(arguments.kill, ("--processes", "2"), lambda: None)


if __name__ == "__main__":
    main()
