"""Ctrl-C, signals, pipes that close, and the live bar of a terminal."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time

import pytest

from motegpt.training.run_folder import RunFolder

pytestmark = pytest.mark.slow
SLOW = ("--engine", "scalar", "--log-every", "1")


def started(tmp_path, *words):
    """Start a training on the scalar engine, with an empty folder for temporary files."""
    (tmp_path / "tmp").mkdir()
    return subprocess.Popen(
        [sys.executable, "-m", "motegpt", "train", "--preset", "microgpt", *SLOW, *words],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "TMPDIR": str(tmp_path / "tmp")},
    )  # fmt: skip


def temporary_run(tmp_path):
    """The one run in the folder for temporary files."""
    (folder,) = (tmp_path / "tmp").iterdir()
    return folder


def interrupted_run(tmp_path, *words, number=signal.SIGINT):
    """Signal a training on the scalar engine after its first step; exit code, output, errors."""
    process = started(tmp_path, *words)
    for line in process.stdout:
        if line.startswith('{"event": "step"') or line.startswith("step"):
            break
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def test_ctrl_c_finishes_the_step_saves_and_prints_how_to_resume(motegpt, tmp_path):
    code, out, err = interrupted_run(tmp_path, "--out", "run")
    assert (code, out.count("sample")) == (130, 0)
    assert "motegpt train --resume run" in err
    assert "Traceback" not in err
    done = int(re.search(r"interrupted after step (\d+)", err)[1])
    assert motegpt("train", "--resume", "run", "--until", done + 1).code == 0
    assert motegpt("sample", "run", "-n", 1).code == 0


def test_ctrl_c_without_a_folder_prints_samples_and_saves(motegpt, tmp_path):
    words = ("--steps", "120", "-n", "3")
    code, out, err = interrupted_run(tmp_path, *words)
    assert code == 130
    assert re.fullmatch(
        "(sample  .: .*\n){3}", out.partition("--- inference (new, hallucinated names) ---\n")[2]
    )
    done, run = re.search(r"interrupted after step (\d+); motegpt train --resume (\S+)", err).groups()
    assert f"saved {run} after step {done}" in err
    assert run == str(temporary_run(tmp_path))
    assert motegpt("train", "--resume", run).code == 0
    assert motegpt("train", "--preset", "microgpt", *SLOW, *words, "--out", "whole").code == 0
    for name in ("trainer.safetensors", "model.safetensors", "metrics.jsonl", "config.json"):
        assert (temporary_run(tmp_path) / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_ctrl_c_during_these_samples_stops_at_once(tmp_path):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = started(tmp_path, "-n", "1000000")
    signal.signal(signal.SIGINT, before)
    next(line for line in process.stdout if line.startswith("step"))
    process.send_signal(signal.SIGINT)
    deadline = time.monotonic() + 30
    while not list((tmp_path / "tmp").glob("*/trainer.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - began < 5
    assert process.returncode == 130
    assert f"motegpt train --resume {temporary_run(tmp_path)}" in err
    assert "Traceback" not in err


def test_sigterm_without_a_folder_saves_and_generates_nothing(tmp_path):
    code, out, err = interrupted_run(tmp_path, number=signal.SIGTERM)
    assert (code, out.count("sample")) == (130, 0)
    assert f"saved {temporary_run(tmp_path)} after step" in err


def test_an_interruption_as_json(tmp_path):
    code, out, _ = interrupted_run(tmp_path, "--json", "-n", "2")
    samples, end = (json.loads(line) for line in out.splitlines()[-2:])
    assert (code, samples["event"], len(samples["samples"])) == (130, "samples", 2)
    assert (end["event"], end["interrupted"], end["run"]) == ("end", True, str(temporary_run(tmp_path)))


@pytest.fixture
def ctrl_c(monkeypatch, tmp_path):
    """Interrupt a training in this process at its first report; returns its folder for temporary files."""
    from motegpt.cli import console

    for kind in (console.Report, console.PlainReport):
        monkeypatch.setattr(kind, "show", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    return tmp_path / "tmp"


def test_an_interruption_with_quiet_names_the_run(motegpt, ctrl_c):
    ctrl_c.mkdir()
    ended = motegpt("train", "--engine", "array", "--quiet", "-n", 2)
    assert (ended.code, ended.out.count("sample"), ended.out.count("\n")) == (130, 2, 2)
    (run,) = ctrl_c.iterdir()
    assert re.search(rf"interrupted after step \d+; motegpt train --resume {run}\n$", ended.err)
    assert motegpt("sample", run, "-n", 1).code == 0


def test_a_run_that_cannot_be_saved_prints_the_reason_and_samples(motegpt, ctrl_c):
    ended = motegpt("train", "--engine", "array", "-n", 1)
    assert (ended.code, ended.out.count("sample  1: ")) == (130, 1)
    assert f"the run could not be saved: [Errno 2] No such file or directory: '{ctrl_c}" in ended.err
    assert ended.err.endswith("nothing was saved\n")


def test_a_live_bar_on_a_terminal(tmp_path):
    """On a pseudo-terminal of 80 columns: a bar with speed and time left, then the plain lines."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "motegpt", "train", "--preset", "microgpt", "--engine", "scalar",
         "--steps", "40", "-n", "2"],
        cwd=tmp_path, stdout=child, stderr=child, stdin=child,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"},
    )  # fmt: skip
    os.close(child)
    seen, deadline = b"", time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            piece = os.read(parent, 65536)
        except OSError:
            break
        if not piece:
            break
        seen += piece
    os.close(parent)
    assert process.wait(timeout=30) == 0
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen.decode())
    assert "steps/s" in text
    assert re.search(r"loss \d", text)
    assert "nan" not in text.partition("sample  1")[0]
    assert "tokens/s" in text
    assert re.search(r"\d+/40", text)
    assert "step   40 /   40 | loss" in text
    assert "sample  2: " in text


def test_training_continues_when_the_reader_exits(motegpt, tmp_path):
    """The pipe closes while the scalar engine trains; it trains to its end."""
    command = (
        f"{sys.executable} -m motegpt train --preset microgpt --engine scalar --steps 30 --log-every 1 "
        "--out run | head -6"
    )
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 6)
    assert done.stderr == "saved run after step 30\n"
    assert len(RunFolder(tmp_path / "run").metrics()) == 30


def test_sigterm_saves(tmp_path):
    code, _, err = interrupted_run(tmp_path, "--out", "run", number=signal.SIGTERM)
    assert code == 130
    assert "saved run after step" in err


def test_a_folder_with_a_space_is_quoted_in_commands(motegpt, tmp_path):
    _, _, err = interrupted_run(tmp_path, "--out", "my run")
    assert "motegpt train --resume 'my run'" in err
    assert "--resume 'my run'," in motegpt("train", "--out", "my run").err


SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
RESPONSE_SECONDS = 5.0  # on a busy machine; an idle one needs a tenth


def start(*words, **more):
    """Start a command in its own process group."""
    return subprocess.Popen(
        [sys.executable, "-m", "motegpt", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, **more,
    )  # fmt: skip


def signaled(process, number):
    """Send a signal and wait for the end: exit code, standard error, seconds."""
    began = time.monotonic()
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    return process.returncode, err, time.monotonic() - began


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("more", [("--temperature", "1"), ("--beams", "60000")], ids=" ".join)
def test_one_signal_ends_the_last_samples(motegpt, tmp_path, number, more):
    process = start("train", "--steps", "1", "-n", "2000000", *more, "--out", "run", cwd=tmp_path)
    metrics = tmp_path / "run" / "metrics.jsonl"
    while not (metrics.exists() and metrics.read_text()):
        time.sleep(0.01)
    time.sleep(0.2)
    code, err, seconds = signaled(process, number)
    assert (code, seconds < RESPONSE_SECONDS) == (130, True)
    assert "saved run after step 1" in err
    assert "Traceback" not in err
    assert motegpt("sample", "run", "-n", 1, "--beams", 1).code == 0


def test_one_signal_ends_the_printing_of_the_last_samples(tmp_path):
    process = start("train", "--steps", "1", "-n", "6000", "--out", "run", cwd=tmp_path)
    next(line for line in process.stdout if line.startswith("sample"))
    process.send_signal(signal.SIGINT)  # while it waits for the pipe to be read
    printed, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted after step 1" in err
    assert "sample 5999" not in printed


@pytest.mark.parametrize(("words", "number"), [
    *((["sample", "run", "-n", "100000000"], number) for number in SIGNALS),
    (["score", "run", "-"], signal.SIGTERM),
    (["eval", "run", "--samples", "10000000"], signal.SIGTERM),
    (["train", "--engine", "scalar", "--steps", "100000"], signal.SIGHUP),
])  # fmt: skip
def test_every_command_ends_with_a_line(motegpt, tmp_path, words, number):
    assert motegpt("train", "--steps", 2, "--engine", "array", "--out", "run").code == 0
    process = start(*words, cwd=tmp_path, stdin=subprocess.PIPE)
    time.sleep(1.0)
    code, err, seconds = signaled(process, number)
    assert (code, seconds < RESPONSE_SECONDS) == (130, True)
    assert err.splitlines()[-1].startswith(("motegpt: interrupted", "interrupted after step"))
    assert "Traceback" not in err


def processes():
    """Process id -> id of its parent, of all running processes."""
    listed = subprocess.run(["ps", "-Ao", "pid=,ppid=,stat="], capture_output=True, text=True, check=True)
    rows = [line.split() for line in listed.stdout.splitlines()]
    return {int(row[0]): int(row[1]) for row in rows if not row[2].startswith("Z")}


def children(pid):
    return [child for child, parent in processes().items() if parent == pid]


@pytest.mark.parametrize("number", [*SIGNALS, signal.SIGKILL])
@pytest.mark.parametrize("whole_group", [False, True], ids=["alone", "with its group"])
@pytest.mark.parametrize("after", [0.1, 1.0])  # while the measuring process imports, and while it measures
def test_an_interrupted_benchmark_leaves_no_process(number, whole_group, after):
    process = start("bench", "--engine", "array", "--work", "microgpt", "--runs", "1000")
    next(line for line in process.stdout if line.startswith("work"))
    time.sleep(after)
    measuring = set(children(process.pid))
    if whole_group:
        os.killpg(process.pid, number)
    code, err, _ = signaled(process, number)
    assert (code, err) == ((-number, "") if number == signal.SIGKILL else (130, "motegpt: interrupted\n"))
    deadline = time.monotonic() + RESPONSE_SECONDS
    while processes().keys() & measuring:
        assert time.monotonic() < deadline, "the process that measures is still there"
        time.sleep(0.05)
    assert measuring


def test_a_benchmark_reports_that_its_measuring_process_was_killed():
    process = start("bench", "--engine", "array", "--work", "microgpt", "--runs", "1000")
    next(line for line in process.stdout if line.startswith("work"))
    while not children(process.pid):
        time.sleep(0.05)
    os.kill(*children(process.pid), signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (
        1,
        "motegpt: bench: the process that measures ended with exit code -9\n",
    )


def test_an_ignored_hangup_stays_ignored(tmp_path):
    """As with nohup."""
    process = start(
        "train", "--preset", "microgpt", "--engine", "scalar", "--steps", "20", "--out", "run", cwd=tmp_path,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )  # fmt: skip
    next(line for line in process.stdout if line.startswith("step"))
    code, err, _ = signaled(process, signal.SIGHUP)
    assert (code, err) == (0, "saved run after step 20\n")


IN_AN_IMPORT = """
import os, signal, sys
from motegpt import __main__

class Interrupter:
    count = 0
    def find_spec(self, name, path=None, target=None):
        Interrupter.count += 1
        if Interrupter.count == {place}:
            os.kill(os.getpid(), signal.{name})

sys.argv = ["motegpt", "train", "--engine", "array", "--steps", "1"]
import motegpt.system.interrupts
sys.meta_path.insert(0, Interrupter())
__main__.main()
"""


@pytest.mark.parametrize("place", [1, 2, 3, 5, 8, 20, 50, 90, 130, 170])
def test_an_interrupt_in_any_import_ends_with_130(place):
    """Code that runs during an import may swallow an exception."""
    for name in ("SIGINT", "SIGTERM"):
        program = IN_AN_IMPORT.format(place=place, name=name)
        ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert (ended.returncode, ended.stderr) == (130, "motegpt: interrupted\n")
