"""Training reports: plain lines, JSON, --quiet, and messages on resuming with other settings."""

import json
import re

import pytest

from motegpt.training.run_folder import RunFolder
from tests.conftest import ENGINES_HERE

QUICK = ("--steps", 6, "--engine", "array", "-n", 2, "--log-every", 3)


def events(text):
    return [json.loads(line) for line in text.splitlines()]


def test_json_events(motegpt, tmp_path):
    ended = motegpt("train", *QUICK, "--json", "--val-fraction", 0.1, "--out", "run")
    assert (ended.code, ended.err) == (0, "")
    printed = events(ended.out)
    assert [event.pop("event") for event in printed] == [
        "begin",
        "step",
        "step",
        "step",
        "samples",
        "end",
    ]
    assert printed[0]["documents"] == 98
    assert printed[0]["done"] == 0
    written = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert printed[1:4] == written
    assert len(printed[4]["samples"]) == 2
    best = min(written, key=lambda record: record["val_loss"])
    assert printed[5] == {"done": 6, "interrupted": False, "run": "run",
                       "best": {"step": best["step"], "val_loss": best["val_loss"]},
                       "diverged": False}  # fmt: skip


def printed_losses(out):
    return [float(loss) for loss in re.findall(r"^step +\d+ / +\d+ \| loss (\S+)", out, re.MULTILINE)]


@pytest.mark.parametrize("engine", ["scalar", "array"])  # the scalar one has double precision alone
@pytest.mark.parametrize("preset", ["microgpt", "oxidized", "zeroclaw"])
def test_a_run_of_a_reference_program_prints_the_losses_of_single_steps(motegpt, tmp_path, preset, engine):
    words = ("train", "--preset", preset, "--engine", engine, "--until", 9, "--log-every", 4)
    for name, more in (("plain", ()), ("more", ("--checkpoint-every", 3, "--keep", 2, "-n", 3))):
        ended = motegpt(*words, *more, "--out", name)
        records = RunFolder(tmp_path / name).metrics()
        assert printed_losses(ended.out) == [round(record["loss"], 4) for record in records]
        assert records[-1]["mean_loss"] != records[-1]["loss"]


@pytest.mark.parametrize(
    "change", [("--steps", 999), ("--seed", 7), ("--lr", 0.02), ("--n-embd", 8)], ids=str
)
def test_other_runs_print_means_since_the_previous_line(motegpt, tmp_path, change):
    words = ("train", "--engine", "array", "--until", 9, "--log-every", 4, *change)
    ended = motegpt(*words, "--out", "run")
    records = RunFolder(tmp_path / "run").metrics()
    assert printed_losses(ended.out) == [round(record["mean_loss"], 4) for record in records]
    assert printed_losses(ended.out)[1:] != [round(record["loss"], 4) for record in records][1:]


def test_quiet_prints_only_the_last_samples(motegpt, tmp_path):
    words = ("train", *QUICK, "--sample-every", 3)
    loud, quiet = motegpt(*words, "--out", "loud"), motegpt(*words, "--out", "quiet", "--quiet")
    assert (quiet.code, quiet.err) == (0, "")
    assert quiet.out.splitlines() == loud.out.splitlines()[-2:]
    assert [line[:11] for line in quiet.out.splitlines()] == ["sample  1: ", "sample  2: "]
    assert motegpt("train", *QUICK, "--until", 2, "--quiet", "--out", "part").out == ""
    for name in ("model.safetensors", "trainer.safetensors", "metrics.jsonl"):
        assert (tmp_path / "quiet" / name).read_bytes() == (tmp_path / "loud" / name).read_bytes()
    wrong = motegpt("train", "none.txt", "--quiet")
    assert (wrong.code, wrong.err.count("\n")) == (2, 1)


@pytest.mark.parametrize("engine", [name for name in ENGINES_HERE if name != "array"])
def test_resuming_with_another_engine_is_logged(motegpt, tmp_path, engine):
    assert motegpt("train", *QUICK, "--until", 3, "--out", "run").code == 0
    before = RunFolder(tmp_path / "run").metrics()
    ended = motegpt("train", "--resume", "run", "--engine", engine, "--log-every", 3)
    assert ended.code == 0
    assert f"resuming with the {engine} engine in float64, after the array engine in float64" in ended.err
    assert RunFolder(tmp_path / "run").metrics()[: len(before)] == before
    assert RunFolder(tmp_path / "run").config().engine == engine


def test_resuming_in_another_precision_is_logged(motegpt):
    assert motegpt("train", *QUICK, "--until", 3, "--out", "run").code == 0
    ended = motegpt("train", "--resume", "run", "--dtype", "float32")
    assert ended.code == 0
    assert "resuming with the array engine in float32, after the array engine in float64" in ended.err
    same = motegpt("train", "--resume", "run", "--steps", 9)
    assert "going on" not in same.err


def test_resuming_from_an_earlier_checkpoint(motegpt, tmp_path):
    assert motegpt("train", *QUICK, "--checkpoint-every", 2, "--keep", 3, "--out", "run").code == 0
    ended = motegpt("train", "--resume", "run", "--checkpoint", 2)
    assert ended.code == 0, ended.err
    assert "resumed after step 2" in ended.out
    sampled = motegpt("sample", "run", "--checkpoint", 4, "--seed", 1, "-n", 3)
    assert sampled.code == 0
    assert sampled.out != motegpt("sample", "run", "--seed", 1, "-n", 3).out
    for words in (["train", "--checkpoint", 2], ["train", "--resume", "run", "--checkpoint", 3],
                  ["sample", "run", "--checkpoint", 3]):  # fmt: skip
        wrong = motegpt(*words)
        assert (wrong.code, wrong.err.count("\n")) == (2, 1)
