"""Training in several processes: the numbers of one, resuming in another number, and when one dies."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from motegpt.engines import why_unavailable
from motegpt.training.run_folder import RunFolder
from tests.tolerances import relative_error
from tests.two_ranks import CASES, engine_of_case, results

pytestmark = [
    pytest.mark.skipif(why_unavailable("torch") is not None, reason="PyTorch is not installed"),
    pytest.mark.slow,
]

ROOT = Path(__file__).parents[1]
PATIENCE = 120  # seconds until a test gives up on its processes


def start(size, *words, cwd=ROOT):
    """The processes of one training, with the environment that torchrun gives them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    common |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    return [
        subprocess.Popen(
            [sys.executable, "-m", *map(str, words)],
            cwd=cwd,
            env={**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]


def finish(processes):
    """How they ended: (code, out, err) of each."""
    try:
        outputs = [process.communicate(timeout=PATIENCE) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, *output) for process, output in zip(processes, outputs, strict=True)]


def test_parts_and_processes_give_what_one_process_gives(tmp_path):
    """1 × 4, 2 × 2 and 4 × 1 parts of ragged batches, replicated and sharded, against the whole batch."""
    running = {2: start(2, "tests.two_ranks", tmp_path / "2", 2, 0, 1)}
    running[4] = start(4, "tests.two_ranks", tmp_path / "4", 1, 0)
    expected, single = (
        [results(engine_of_case(case, accumulate=parts), case[0]) for case in CASES] for parts in (1, 4)
    )
    for size, processes in running.items():
        ended = finish(processes)
        assert [code for code, _, _ in ended] == [0] * size, ended
    for number in range(len(CASES)):
        saved = [
            np.load(tmp_path / f"{name}.npz") for name in (f"2.{number}.0", f"2.{number}.1", f"4.{number}.0")
        ]
        for got in (single[number], *saved):
            assert set(got) == set(expected[number])
            for name, array in expected[number].items():
                bound = 1e-12 if name.startswith(("g.", "loss")) else 1e-9  # Adam divides by small roots
                assert relative_error(got[name], array) < bound, name


def test_a_run_goes_on_in_another_number_of_processes(motegpt, tmp_path):
    """One process, then torchrun's two with shards, then one: as if it had never stopped."""
    words = ("train", "--engine", "torch", "--steps", 12, "--batch-size", 4, "--log-every", 1, "-n", 2)
    assert motegpt(*words, "--out", "whole").code == 0
    assert motegpt(*words, "--out", "parts", "--until", 4).code == 0
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    two = subprocess.run(
        [*torchrun, "-m", "motegpt", "train", "--resume", "parts", "--until", "8", "--shard"],
        cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert two.returncode == 0, two.stderr
    assert [int(number) for number in re.findall(r"step +(\d+) /", two.stdout)] == [5, 6, 7, 8]
    assert two.stdout.count("num docs") == 1, "rank 0 alone speaks"
    assert motegpt("train", "--resume", "parts", "--no-shard").code == 0
    losses = [
        [json.loads(line)["loss"] for line in (tmp_path / run / "metrics.jsonl").read_text().splitlines()]
        for run in ("whole", "parts")
    ]
    assert losses[1] == pytest.approx(losses[0], abs=1e-9)


@pytest.mark.parametrize("shard", [(), ("--shard",)], ids=str)
def test_held_out_data_are_evaluated_by_the_first_process_alone(motegpt, tmp_path, shard):
    words = (
        "motegpt",
        "train",
        "--preset",
        "microgpt",
        "--steps",
        5,
        "--batch-size",
        2,
        "--val-fraction",
        0.2,
        "-n",
        1,
        *shard,
    )
    (code, out, err), (other, _, complained) = finish(start(2, *words, "--out", "run", cwd=tmp_path))
    assert (code, other) == (0, 0), err + complained
    assert "sample  1: " in out
    found = json.loads(motegpt("eval", "run", "--samples", 0, "--json").out)
    assert f"validation loss {found['nats_per_token']['model']:.4f}" in err


LONG = (
    "motegpt",
    "train",
    "--preset",
    "microgpt",
    "--steps",
    10**6,
    "--batch-size",
    2,
    "--log-every",
    1,
    "--checkpoint-every",
    5,
)


@pytest.mark.parametrize("dying", [0, 1])
def test_a_process_that_dies_ends_the_others_with_a_line_and_a_checkpoint(motegpt, tmp_path, dying):
    processes = start(2, *LONG, "--out", "run", cwd=tmp_path)
    for line in processes[0].stdout:
        if re.match("step +12 ", line):
            break
    processes[dying].kill()
    code, _, err = finish(processes)[1 - dying]
    assert code == 1
    (line,) = [line for line in err.splitlines() if line.startswith("motegpt")]
    assert "another of the 2 processes has ended" in line
    folder = RunFolder(tmp_path / "run")
    done = folder.trainer_state(folder.config(), folder.tokenizer()).done
    assert done >= 10
    assert dying == 0 or f"last good checkpoint: after step {done} in run" in line
    assert motegpt("train", "--resume", "run", "--until", done + 2).code == 0


def test_a_request_to_end_finishes_the_step_on_all_and_saves(motegpt, tmp_path):
    processes = start(2, *LONG, "--out", "run", cwd=tmp_path)
    next(line for line in processes[0].stdout if line.startswith("step"))
    for process in processes:
        process.terminate()
    (code, _, err), (other, said, complained) = finish(processes)
    assert (code, other) == (130, 0)
    assert "saved run after step" in err
    assert (said, complained) == ("", "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--batch-size", 3], "batch_size: expected a multiple of 2 (2 ranks"),
        (
            ["--batch-size", 2, "--accumulate", 2],
            "expected a multiple of 4 (2 ranks, each with accumulate = 2",
        ),
        (["--engine", "array"], "torchrun started 2 processes, but the array engine trains in one"),
        (["none.txt"], "no such file"),
    ],
    ids=str,
)
def test_wrong_use_is_one_line_of_one_process(motegpt, monkeypatch, words, said):
    """Nothing of it needs the others, so one process with their environment is enough to see it."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, lines in (("0", 1), ("1", 0)):
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("LOCAL_RANK", rank)
        ended = motegpt("train", *words)
        assert (ended.code, ended.err.count("\n"), ended.out) == (2, lines, "")
        assert said in ended.err or rank == "1"


def test_the_engine_trains_in_any_number_of_processes():
    assert engine_of_case(CASES[0]).why_not(processes=2) is None
