"""Closed standard streams, and pipes whose reader has exited."""

import os
import shlex
import subprocess
import sys

import pytest

from motegpt.training.run_folder import RunFolder

MOTEGPT = [sys.executable, "-m", "motegpt"]
TRAIN = [
    "train",
    "--preset",
    "microgpt",
    "--engine",
    "array",
    "--steps",
    "40",
    "--log-every",
    "1",
    "--out",
    "new",
]
COMMANDS = [
    ["--help"], ["--version"], ["show", "run"], ["sample", "run", "-n", "3000"], ["score", "run", "anna"],
    ["score", "run", "-"], ["eval", "run", "--samples", "3"], ["plot", "run"], ["data", "check"], ["cost"],
    ["graph", "a"], ["gradcheck", "--engine", "array", "--n-embd", "4"], ["bench", "--list"],
    ["completion", "bash"], ["train", "--help"], TRAIN, [*TRAIN, "--json"],
]  # fmt: skip
MADE = {"plot": "run-loss.png", "graph": "a.svg"}  # the file that the command writes


@pytest.fixture
def folder(motegpt, tmp_path):
    """A folder with a run."""
    assert motegpt("train", "--engine", "array", "--steps", 3, "-n", 1, "--out", "run").code == 0
    return tmp_path


def check_made(folder, words):
    """The files that a command writes exist."""
    assert words[0] not in MADE or (folder / MADE[words[0]]).exists()
    if words[:6] == TRAIN[:6]:
        assert [record["step"] for record in RunFolder(folder / "new").metrics()] == list(range(1, 41))
        assert (folder / "new" / "trainer.safetensors").exists()


@pytest.mark.parametrize(
    ("words", "unbuffered"),
    [*((words, "") for words in COMMANDS), (["show", "run"], "1"), (TRAIN, "1")],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_a_pipe_without_a_reader(folder, words, unbuffered):
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(
        [*MOTEGPT, *words], cwd=folder, stdout=writer, stderr=subprocess.PIPE, input="anna\n" * 9, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered}, check=False,
    )  # fmt: skip
    os.close(writer)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr in ("", "saved new after step 40\n") or words[0] == "eval"
    assert "Traceback" not in ended.stderr
    check_made(folder, words)


@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_closed_stream(folder, words, closed):
    ended = subprocess.run(
        ["bash", "-c", f"{shlex.join([*MOTEGPT, *words])} {closed}"],
        cwd=folder, capture_output=True, text=True, input="anna\n", check=False,
    )  # fmt: skip
    no_input = words == ["score", "run", "-"] and "<&-" in closed
    writes_or_checks = words[0] in (*MADE, "gradcheck") or words[:6] == TRAIN[:6]
    assert ended.returncode == (2 if no_input else 0 if writes_or_checks else 1), ended.stderr
    if not writes_or_checks and "2>&-" not in closed:
        assert ended.stderr.endswith(
            "motegpt: expected an open standard output, got a closed one; try > /dev/null\n"
        )
    assert "Traceback" not in ended.stderr
    check_made(folder, words)


def test_closed_standard_input_is_an_error(folder):
    words = f"{shlex.join([*MOTEGPT, 'score', 'run', '-'])} <&-"
    ended = subprocess.run(["bash", "-c", words], cwd=folder, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "motegpt: score: expected lines on standard input, got a closed one\n"


def test_the_exit_code_of_gradcheck_does_not_depend_on_a_reader(folder):
    program = """
import os, sys
from motegpt.engines.array import ops
from motegpt.cli import main
ops.BACKWARD[ops.rmsnorm] = lambda dy, saved: dy * saved.r
reader, writer = os.pipe()
os.close(reader)
os.dup2(writer, 1)
main(["gradcheck", "--engine", "array"])
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)


def test_log_messages_without_a_reader_keep_the_results(folder):
    reader, writer = os.pipe()
    os.close(reader)
    words = [*MOTEGPT, "eval", "run", "--samples", "0"]  # logs that no data were held out
    ended = subprocess.run(words, cwd=folder, stdout=subprocess.PIPE, stderr=writer, text=True, check=False)
    os.close(writer)
    assert ended.returncode == 0
    assert "nats" in ended.stdout


def test_errors_without_a_reader_keep_their_code(folder):
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run([*MOTEGPT, "show", "nowhere"], cwd=folder, stderr=writer, check=False)
    os.close(writer)
    assert ended.returncode == 2


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk_is_a_one_line_error(folder):
    for words in (["show", "run"], ["sample", "run"], ["train", "--help"]):
        with open("/dev/full", "w") as full:
            ended = subprocess.run(
                [*MOTEGPT, *words], cwd=folder, stdout=full, stderr=subprocess.PIPE, text=True, check=False
            )
        assert (ended.returncode, ended.stderr) == (1, "motegpt: No space left on device\n")


def test_files_never_get_the_descriptor_of_a_closed_stream(folder):
    """What a library writes to a closed standard error must not land in a file of the run."""
    program = """
import os, sys
from motegpt import __main__
from motegpt.training import loop as train
save = train.Trainer.save
def shout(trainer):
    os.write(1, b"shouted"), os.write(2, b"shouted")
    save(trainer)
train.Trainer.save = shout
sys.argv = ["motegpt", "train", "--engine", "array", "--steps", "3", "-n", "1", "--out", "new"]
__main__.main()
"""
    words = f"{shlex.join([sys.executable, '-c', program])} <&- >&- 2>&-"
    assert subprocess.run(["bash", "-c", words], cwd=folder, check=False).returncode == 0
    assert not [path for path in (folder / "new").iterdir() if b"shouted" in path.read_bytes()]
