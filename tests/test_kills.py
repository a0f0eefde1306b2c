"""SIGKILL at random moments: only the steps since the last checkpoint are lost, and the end is the same."""

import json
import multiprocessing
import os
import random
import signal
import time
from contextlib import redirect_stderr, redirect_stdout
from itertools import count

import pytest

from motegpt.api.gpt import GPT
from motegpt.cli import main
from motegpt.training.run_folder import RunFolder

KILLS = 50
EVERY = 20
STEPS = 160
RUN = ["--preset", "microgpt", "--engine", "array", "--steps", STEPS, "--log-every", 10, "--n-embd", 8,
       "-n", 3, "--keep", 3, "--checkpoint-every", EVERY, "--val-fraction", 0.1, "--eval-every", 20,
       "--patience", 6]  # fmt: skip
FORK = multiprocessing.get_context("fork")


def train(words):
    """The command line in a process of its own, which is there at once."""

    def run():
        with open(os.devnull, "w") as nothing, redirect_stdout(nothing), redirect_stderr(nothing):
            main(["train", *map(str, words)])

    process = FORK.Process(target=run)
    process.start()
    return process


def to_the_end(folder):
    """Go on with what a kill has left, as a person would; a run that is done says so."""
    started, done = (folder / "trainer.safetensors").exists(), finished(folder)
    process = train(["--resume", folder] if started else [*RUN, "--out", folder, "--overwrite"])
    process.join()
    assert process.exitcode == (2 if done else 0)


def finished(folder):
    return (folder / "trainer.safetensors").exists() and saved_steps(folder) == STEPS


def everything(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


def saved_steps(folder):
    run = RunFolder(folder)
    return run.trainer_state(run.config(), run.tokenizer()).done


def logged_steps(folder):
    return max([0, *(record["step"] for record in RunFolder(folder).metrics())])


@pytest.mark.slow
def test_fifty_runs_killed_at_random_moments_reach_the_same_end(tmp_path):
    for name in ("whole", "once more"):  # the first has imports to do
        began = time.monotonic()
        train([*RUN, "--out", tmp_path / name]).join()
    duration, chance = time.monotonic() - began, random.Random(1)
    expected = everything(tmp_path / "whole")
    assert len(RunFolder(tmp_path / "whole").kept_steps()) == 3
    killed = on_the_way = 0
    for i in count():
        folder = tmp_path / f"run{i}"
        process = train([*RUN, "--out", folder])
        time.sleep(chance.uniform(0, duration))
        process.kill()
        process.join()
        killed += process.exitcode == -signal.SIGKILL
        if (folder / "trainer.safetensors").exists():
            assert logged_steps(folder) - saved_steps(folder) <= EVERY
            GPT.load(folder)
            on_the_way += 0 < saved_steps(folder) < STEPS
        to_the_end(folder)
        assert everything(folder) == expected, f"run {i}"
        if killed == KILLS:
            break
    assert on_the_way > KILLS / 4


def test_killed_again_and_again(tmp_path):
    """One run, killed after each little step forward."""
    whole = train([*RUN, "--out", tmp_path / "whole"])
    whole.join()
    folder, words, kills = tmp_path / "run", [*RUN, "--out", tmp_path / "run"], 0
    while not finished(folder):
        before = _moved(folder)
        process = train(words)
        while process.is_alive() and _moved(folder) == before:
            time.sleep(0.001)
        time.sleep(0.002 * (kills % 8))
        process.kill()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
        words = ["--resume", folder]
    to_the_end(folder)
    assert kills >= 5
    assert everything(folder) == everything(tmp_path / "whole")
    steps = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps))


def _moved(folder):
    trainer = folder / "trainer.safetensors"
    return trainer.stat().st_mtime_ns if trainer.exists() else 0
