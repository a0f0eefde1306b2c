"""Ctrl-C, signals, pipes that close, and the live bar of a terminal."""

import os
import pty
import re
import signal
import subprocess
import sys
import time

from motegpt.checkpoint import RunFolder


def interrupted_run(tmp_path, *words):
    """A training of the scalar engine that gets Ctrl-C once it has shown a step."""
    process = subprocess.Popen(
        [sys.executable, "-m", "motegpt", "train", "--engine", "scalar", "--log-every", "1", *words],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    for line in process.stdout:
        if line.startswith("step"):
            break
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    return process.returncode, err


def test_ctrl_c_finishes_the_step_saves_and_says_how_to_go_on(motegpt, tmp_path):
    code, err = interrupted_run(tmp_path, "--out", "run")
    assert code == 130
    assert "motegpt train --resume run" in err
    assert "Traceback" not in err
    done = int(re.search(r"interrupted after step (\d+)", err)[1])
    assert motegpt("train", "--resume", "run", "--until", done + 1).code == 0
    assert motegpt("sample", "run", "-n", 1).code == 0


def test_ctrl_c_without_a_folder_says_what_would_have_helped(tmp_path):
    code, err = interrupted_run(tmp_path)
    assert code == 130
    assert "--out RUN would have saved it" in err


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
    assert "tokens/s" in text
    assert re.search(r"\d+/40", text)
    assert "step   40 /   40 | loss" in text
    assert "sample  2: " in text


def test_a_reader_who_leaves_does_not_cost_the_training(motegpt, tmp_path):
    """The pipe closes while the scalar engine trains; it trains to its end."""
    command = (
        f"{sys.executable} -m motegpt train --engine scalar --steps 30 --log-every 1 --out run | head -6"
    )
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 6)
    assert done.stderr == "saved run after step 30\n"
    assert len(RunFolder(tmp_path / "run").metrics()) == 30


def test_a_request_to_end_saves(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "motegpt", "train", "--engine", "scalar", "--log-every", "1", "--out", "run"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    next(line for line in process.stdout if line.startswith("step"))
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "saved run after step" in err


def test_a_folder_with_a_space_is_quoted_in_what_to_type(motegpt, tmp_path):
    _, err = interrupted_run(tmp_path, "--out", "my run")
    assert "motegpt train --resume 'my run'" in err
    assert "--resume 'my run'," in motegpt("train", "--out", "my run").err
