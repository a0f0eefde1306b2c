"""Real workers and drivers, killed with SIGKILL: no row is lost, none is doubled, and all are the same."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import motegpt
from motegpt.errors import MotegptError
from motegpt.sweeps import executors
from motegpt.sweeps.models import models_in
from motegpt.sweeps.store import read_rows
from tests.test_sweep import NAMES, without

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads the processes of the system from /proc"),
]
SWEEP = """
data = "names.txt"
preset = "microgpt"
engine = "array"
[fixed]
steps = 20
n_embd = 8
n_head = 2
block_size = 4
[grid]
lr = {log_from = 1e-3, log_to = 1e-1, points = 10}
n_layer = [1, 2]
[repeat]
seed = {from = 1, to = 5}
"""
COUNT = 100
SILENT = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
LIMIT = 60  # seconds, for a machine that has other work


@pytest.fixture
def table(tmp_path):
    """The file of a sweep of COUNT trainings, which takes a few seconds."""
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    (tmp_path / "sweep.toml").write_text(SWEEP)
    return tmp_path / "sweep.toml"


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """The rows of the sweep, trained one after the other without being disturbed."""
    folder = tmp_path_factory.mktemp("expected")
    (folder / "names.txt").write_text("\n".join(NAMES))
    (folder / "sweep.toml").write_text(SWEEP)
    return without(motegpt.sweep(folder / "sweep.toml", threads=1))


def begun(*words):
    """The process of a command."""
    return subprocess.Popen(
        [sys.executable, "-m", "motegpt", *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def ended(process):
    """The exit code and the messages of a process."""
    out, err = process.communicate(timeout=LIMIT)
    return process.returncode, (out + err).decode()


def until(condition):
    """Wait for a condition; its value."""
    limit = time.monotonic() + LIMIT
    while not (value := condition()):
        assert time.monotonic() < limit
        time.sleep(0.005)
    return value


def written(out):
    """The number of whole lines in the file of rows."""
    path = out / "rows.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def workers_of(pid):
    """The processes that train for a driver."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            if parent == pid and b"spawn_main" in (status.parent / "cmdline").read_bytes():
                found.append(int(status.parent.name))
    return found


def check(out, expected):
    """Every row is there, once, and what it would be without kills."""
    rows = read_rows(out)
    assert len(rows) == COUNT == written(out)
    assert without(rows) == expected


@pytest.mark.parametrize(
    ("shares", "how"), [((0.1, 0.6), ()), ((0.3,), ("--processes", "2"))], ids=["threads", "processes"]
)
def test_a_driver_that_is_killed_loses_no_row(table, expected, tmp_path, shares, how):
    out = tmp_path / "out"
    for share in shares:
        process = begun("sweep", table, "--out", out, *how)
        until(lambda: written(out) > share * COUNT)  # noqa: B023
        left = workers_of(process.pid)
        process.kill()
        process.communicate()
        until(lambda: not any(os.path.exists(f"/proc/{pid}/exe") for pid in left))  # noqa: B023  # they end too
        assert written(out) < COUNT
    assert ended(begun("sweep", table, "--out", out, *how))[0] == 0
    check(out, expected)


def test_a_worker_that_is_killed_loses_no_row(table, expected, tmp_path):
    out = tmp_path / "out"
    process = begun("sweep", table, "--out", out, "--processes", 2)
    until(lambda: written(out) > 20)
    os.kill(workers_of(process.pid)[0], signal.SIGKILL)
    code, text = ended(process)
    assert code == 0, text
    check(out, expected)
    assert max(row["attempts"] for row in read_rows(out).values()) == 2


def test_ctrl_c_ends_with_everything_saved(table, expected, tmp_path):
    out, how = tmp_path / "out", ("--processes", 2)
    process = begun("sweep", table, "--out", out, *how)
    until(lambda: written(out) > 10)
    process.send_signal(signal.SIGINT)
    code, text = ended(process)
    assert code == 130
    assert f"{written(out)} of 100 trainings" in text
    assert "the same command continues" in text
    assert written(out) < COUNT
    assert ended(begun("sweep", table, "--out", out, *how))[0] == 0
    check(out, expected)


@pytest.mark.parametrize("keep", ["all", "best"])
def test_a_kill_leaves_whole_models(table, expected, tmp_path, keep):
    out = tmp_path / "out"
    for share in (0.05, 0.3, 0.5):
        process = begun("sweep", table, "--out", out, "--keep", keep, "--threads", 1)
        until(lambda: written(out) > share * COUNT)  # noqa: B023
        process.kill()
        process.communicate()
        for path in models_in(out).values():
            motegpt.GPT.load(path)
    assert ended(begun("sweep", table, "--out", out, "--keep", keep))[0] == 0
    check(out, expected)
    best = min(expected.values(), key=lambda row: (row["loss"], row["key"]))["key"]
    assert sorted(models_in(out)) == (sorted(expected) if keep == "all" else [best])
    assert not list(out.glob("*/.*"))


def free_port():
    """A port of this machine that nothing uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def is_listening(address):
    """Whether a process takes connections."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(address.rpartition(":")[2]))) == 0


@contextmanager
def cluster(folder, workers):
    """The address of a Dask scheduler, and its workers, which are processes without nannies."""
    dask = shutil.which("dask", path=str(Path(sys.executable).parent)) or pytest.skip("needs dask")
    address = f"tcp://127.0.0.1:{free_port()}"

    def start(*words):
        return subprocess.Popen([sys.executable, dask, *words], cwd=folder, **SILENT)

    scheduler = start("scheduler", "--host", address, "--no-dashboard")
    until(lambda: is_listening(address))
    started = [
        start(
            "worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", folder
        )
        for _ in range(workers)
    ]
    try:
        yield address, [*started, scheduler]
    finally:
        for process in (*started, scheduler):
            process.kill()
            process.wait()


def test_dask_workers_may_be_killed(table, expected, tmp_path):
    pytest.importorskip("distributed")
    out = tmp_path / "out"
    with cluster(tmp_path, 2) as (address, workers):
        process = begun("sweep", table, "--out", out, "--dask", address, "--keep", "all")
        until(lambda: written(out) > 20)
        workers[0].kill()
        code, text = ended(process)
        assert code == 0, text
    check(out, expected)
    assert sorted(models_in(out)) == sorted(expected)


def test_documents_in_memory_reach_a_worker_that_is_started_later(table, expected, tmp_path):
    pytest.importorskip("distributed")
    written = {**tomllib.loads(table.read_text()), "data": NAMES}
    with cluster(tmp_path, 1) as (address, (first, _)):
        later = []

        def replace(status):
            if status.done > 20 and not later:
                later.append(subprocess.Popen(first.args, cwd=tmp_path, **SILENT))
                first.kill()

        try:
            rows = motegpt.sweep(written, dask=address, progress=replace)
        finally:
            for process in later:
                process.kill()
                process.wait()
        assert later
    assert {row["loss"] for row in rows} == {row["loss"] for row in expected.values()}


def test_a_dask_scheduler_that_is_killed_is_an_error_and_loses_no_row(table, expected, tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(executors, "CONNECT_SECONDS", 5)
    with cluster(tmp_path, 2) as (address, processes):

        def kill_scheduler(status):
            if status.done > 20:
                processes[-1].kill()

        with pytest.raises(MotegptError, match=r"no scheduler at tcp://.* rows kept; the same call"):
            motegpt.sweep(table, out=tmp_path / "out", dask=address, progress=kill_scheduler)
    assert 20 < written(tmp_path / "out") < COUNT
    motegpt.sweep(table, out=tmp_path / "out")
    check(tmp_path / "out", expected)


@pytest.mark.parametrize("address", ["nonsense://a:1", "127.0.0.1", ""])
def test_an_address_without_a_scheduler_is_one_line_at_once(table, tmp_path, address):
    pytest.importorskip("distributed")
    process = begun("sweep", table, "--out", tmp_path / "out", "--dask", address)
    code, text = ended(process)
    assert code == 2
    assert re.fullmatch(
        rf"motegpt: dask: expected .* scheduler.*got {address!r}.*start one: dask scheduler\n", text
    )


def test_a_row_is_one_line_of_json(expected):
    assert json.loads(json.dumps(expected)) == expected
