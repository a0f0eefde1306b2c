"""Resuming in Python is resuming on the command line; what cannot be asked for together is refused."""

import json

import pytest

from motegpt import GPT, DataError, RunFolderError, SettingError, UsageError
from motegpt.training.run_folder import RunFolder

WORDS = ["anna", "hanna", "nan", "hana"]
QUICK = {"steps": 12, "engine": "array", "log_every": 2, "seed": 3}


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


def stopped(place, at=6, docs=WORDS, **more):
    """A run in a folder that was left after a step."""
    training = GPT.training(docs, out=place, **{**QUICK, **more}, preset="microgpt")
    next(record for record in training if record.step == at)
    del training
    return place


@pytest.fixture
def listed(tmp_path):
    (tmp_path / "list.txt").write_text("\n".join(WORDS))
    return tmp_path / "list.txt"


def test_a_run_goes_on_as_if_it_had_never_stopped(tmp_path, listed):
    whole = GPT.train(listed, out=tmp_path / "whole", **QUICK, preset="microgpt")
    model = GPT.train(resume=stopped(tmp_path / "parts", docs=listed))
    assert files(tmp_path / "parts") == files(tmp_path / "whole")
    assert model.generate(5, seed=1) == whole.generate(5, seed=1)
    assert [record.step for record in model.records] == [8, 10, 12]


def test_documents_in_memory_are_given_again(tmp_path):
    GPT.train(WORDS, out=tmp_path / "whole", **QUICK, preset="microgpt")
    stopped(tmp_path / "parts")
    with pytest.raises(DataError, match=r"documents in memory; pass it as `docs`, with `resume=.*parts'`"):
        GPT.train(resume=tmp_path / "parts")
    with pytest.raises(DataError, match="does not match the recorded training data"):
        GPT.train(["other", "words"], resume=tmp_path / "parts")
    GPT.train(iter(WORDS), resume=str(tmp_path / "parts"))
    assert files(tmp_path / "parts") == files(tmp_path / "whole")


def test_step_by_step_with_callbacks_and_other_settings(tmp_path):
    seen = []
    stopped(tmp_path / "run")
    training = GPT.training(WORDS, resume=tmp_path / "run", steps=20, log_every=4)
    assert next(iter(training)).step == 8
    model = GPT.train(WORDS, resume=tmp_path / "run", callbacks=seen.append)
    assert [record.step for record in seen] == [12, 16, 20]
    assert model.config.train.steps == 20
    assert [record["step"] for record in RunFolder(tmp_path / "run").metrics()] == [
        1, 2, 4, 6, 8, 12, 16, 20,
    ]  # fmt: skip


def test_going_back_to_a_checkpoint_and_another_engine(tmp_path):
    stopped(tmp_path / "run", 8, checkpoint_every=2, keep=4)
    training = GPT.training(WORDS, resume=tmp_path / "run", checkpoint=4, engine="scalar")
    assert next(iter(training)).step == 6
    assert training.model.config.engine == "scalar"


def test_the_command_line_goes_on_with_it_and_it_with_the_command_line(motegpt, tmp_path, listed):
    stopped(tmp_path / "run", docs=listed)
    ended = motegpt("train", "--resume", "run", "--until", 9)
    assert "resumed after step 6" in ended.out
    assert [record.step for record in GPT.training(resume="run")] == [10, 12]


@pytest.mark.parametrize(
    ("given", "kind", "said"),
    [
        ({"out": "x"}, UsageError, "expected no `preset`, `out` or `overwrite`"),
        ({"preset": "microgpt"}, UsageError, "expected no `preset`"),
        ({"overwrite": True}, UsageError, "expected no `preset`"),
        ({"n_embd": 8}, UsageError, "n_embd cannot change within a run; start a new one with `out`"),
        ({"steps": 5}, UsageError, "steps: expected at least 6"),
        ({"steps": 6}, UsageError, "has completed all 6 steps; set a larger `steps` to continue"),
        ({"checkpoint": 5}, RunFolderError, "has no checkpoint of step 5"),
        ({"checkpoint": "x"}, RunFolderError, "checkpoint"),
        ({"learning_rate": 1}, SettingError, "did you mean lr"),
        ({"resume": 5}, RunFolderError, "resume: expected a path, got 5"),
        ({"resume": "nowhere"}, RunFolderError, "no such run folder"),
        (
            {"resume": None, "checkpoint": 3},
            UsageError,
            "checkpoint: expected a run to resume, got none; set `resume`",
        ),
    ],
)
def test_what_does_not_go_together(tmp_path, given, kind, said):
    place = stopped(tmp_path / "run")
    before = files(place)
    with pytest.raises(UsageError, match=said) as error:
        GPT.train(WORDS, **{"resume": place, **given})
    assert error.type is kind
    assert files(place) == before
    GPT.train(WORDS, resume=place)  # which is not locked


def test_another_run_may_be_replaced(tmp_path):
    stopped(tmp_path / "run")
    with pytest.raises(RunFolderError, match="`overwrite=True`"):
        GPT.train(WORDS, out=tmp_path / "run", **QUICK, preset="microgpt")
    GPT.train(WORDS, out=tmp_path / "run", overwrite=True, **{**QUICK, "steps": 3}, preset="microgpt")
    assert json.loads((tmp_path / "run" / "config.json").read_text())["train"]["steps"] == 3


def test_the_command_line_says_it_with_flags(motegpt):
    assert motegpt("train", "--engine", "array", "--steps", 3, "--out", "run").code == 0
    for words, said in (
        (["--resume", "run"], "set a larger --steps to continue"),
        (["--resume", "run", "--out", "x"], "expected no --preset, --out or --overwrite"),
        (["--checkpoint", "3"], "expected a run to resume, got none; set --resume"),
        (["--out", ""], "out: expected a path, got ''"),
        ([""], "documents: expected a path, got ''"),
    ):
        ended = motegpt("train", *words)
        assert (ended.code, ended.err.count("\n"), ended.out) == (2, 1, "")
        assert said in ended.err


def test_data_that_are_gone_are_asked_for_as_an_argument(motegpt, tmp_path, listed):
    assert motegpt("train", "list.txt", "--engine", "array", "--steps", 3, "--out", "run").code == 0
    listed.unlink()
    ended = motegpt("train", "--resume", "run", "--steps", 5)
    assert "is not found here; pass it as DATA, with --resume run" in ended.err
