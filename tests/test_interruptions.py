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

SLOW = ("--engine", "scalar", "--log-every", "1")


def started(tmp_path, *words):
    """A training of the scalar engine; its folder for temporary files is empty."""
    (tmp_path / "tmp").mkdir()
    return subprocess.Popen(
        [sys.executable, "-m", "motegpt", "train", *SLOW, *words],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "TMPDIR": str(tmp_path / "tmp")},
    )  # fmt: skip


def rescued(tmp_path):
    """The one run in the folder for temporary files."""
    (folder,) = (tmp_path / "tmp").iterdir()
    return folder


def interrupted_run(tmp_path, *words, number=signal.SIGINT):
    """A training of the scalar engine that gets a signal once it has shown a step: code, output, errors."""
    process = started(tmp_path, *words)
    for line in process.stdout:
        if line.startswith('{"event": "step"') or line.startswith("step"):
            break
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def test_ctrl_c_finishes_the_step_saves_and_says_how_to_go_on(motegpt, tmp_path):
    code, out, err = interrupted_run(tmp_path, "--out", "run")
    assert (code, out.count("sample")) == (130, 0)
    assert "motegpt train --resume run" in err
    assert "Traceback" not in err
    done = int(re.search(r"interrupted after step (\d+)", err)[1])
    assert motegpt("train", "--resume", "run", "--until", done + 1).code == 0
    assert motegpt("sample", "run", "-n", 1).code == 0


def test_ctrl_c_without_a_folder_shows_samples_and_saves_all_the_same(motegpt, tmp_path):
    words = ("--steps", "120", "-n", "3")
    code, out, err = interrupted_run(tmp_path, *words)
    assert code == 130
    assert re.fullmatch(
        "(sample  .: .*\n){3}", out.partition("--- inference (new, hallucinated names) ---\n")[2]
    )
    done, run = re.search(r"interrupted after step (\d+); motegpt train --resume (\S+)", err).groups()
    assert f"saved {run} after step {done}" in err
    assert run == str(rescued(tmp_path))
    assert motegpt("train", "--resume", run).code == 0
    assert motegpt("train", *SLOW, *words, "--out", "whole").code == 0
    for name in ("trainer.safetensors", "model.safetensors", "metrics.jsonl", "config.json"):
        assert (rescued(tmp_path) / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize("ignored", [False, True])  # as in a script's background
def test_ctrl_c_while_these_samples_are_drawn_stops_at_once(tmp_path, ignored):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN if ignored else signal.default_int_handler)
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
    assert f"motegpt train --resume {rescued(tmp_path)}" in err
    assert "Traceback" not in err


def test_a_request_to_end_without_a_folder_saves_and_draws_nothing(tmp_path):
    code, out, err = interrupted_run(tmp_path, number=signal.SIGTERM)
    assert (code, out.count("sample")) == (130, 0)
    assert f"saved {rescued(tmp_path)} after step" in err


def test_an_interruption_as_json(tmp_path):
    code, out, _ = interrupted_run(tmp_path, "--json", "-n", "2")
    samples, end = (json.loads(line) for line in out.splitlines()[-2:])
    assert (code, samples["event"], len(samples["samples"])) == (130, "samples", 2)
    assert (end["event"], end["interrupted"], end["run"]) == ("end", True, str(rescued(tmp_path)))


@pytest.fixture
def ctrl_c(monkeypatch, tmp_path):
    """Ctrl-C as soon as a training in this process reports; its folder for temporary files."""
    from motegpt.views import console

    for kind in (console.Report, console.PlainReport):
        monkeypatch.setattr(kind, "show", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    return tmp_path / "tmp"


def test_an_interruption_in_silence_names_the_run(motegpt, ctrl_c):
    ctrl_c.mkdir()
    ended = motegpt("train", "--engine", "array", "--quiet", "-n", 2)
    assert (ended.code, ended.out.count("sample"), ended.out.count("\n")) == (130, 2, 2)
    (run,) = ctrl_c.iterdir()
    assert re.search(rf"interrupted after step \d+; motegpt train --resume {run}\n$", ended.err)
    assert motegpt("sample", run, "-n", 1).code == 0


def test_a_run_that_cannot_be_saved_says_why_and_shows_its_samples(motegpt, ctrl_c):
    ended = motegpt("train", "--engine", "array", "-n", 1)
    assert (ended.code, ended.out.count("sample  1: ")) == (130, 1)
    assert f"the run could not be saved: [Errno 2] No such file or directory: '{ctrl_c}" in ended.err
    assert ended.err.endswith("nothing was saved\n")


def test_a_live_bar_on_a_terminal(tmp_path):
    """On a pseudo-terminal of 80 columns: a bar with speed and time left, then the plain lines."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "motegpt", "train", "--engine", "scalar", "--steps", "40", "-n", "2"],
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


def test_a_closed_pipe_ends_the_training_in_silence():
    command = f"{sys.executable} -m motegpt train --engine array --steps 2000 --log-every 1 | head -2"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout.splitlines()[0] == "num docs: 98"
    assert "Traceback" not in done.stderr


def test_a_reader_who_leaves_does_not_cost_the_training(motegpt):
    """The pipe closes while the scalar engine trains; what was done is saved."""
    command = (
        f"{sys.executable} -m motegpt train --engine scalar --steps 200 --log-every 1 --out run | head -6"
    )
    subprocess.run(["bash", "-c", command], capture_output=True, check=True)
    ended = motegpt("train", "--resume", "run", "--until", 199)
    assert ended.code == 0, ended.err
    assert int(re.search(r"resumed after step (\d+)", ended.out)[1]) >= 1


def test_a_request_to_end_saves(tmp_path):
    code, _, err = interrupted_run(tmp_path, "--out", "run", number=signal.SIGTERM)
    assert code == 130
    assert "saved run after step" in err


def test_a_folder_with_a_space_is_quoted_in_what_to_type(motegpt, tmp_path):
    _, _, err = interrupted_run(tmp_path, "--out", "my run")
    assert "motegpt train --resume 'my run'" in err
    assert "--resume 'my run'," in motegpt("train", "--out", "my run").err
