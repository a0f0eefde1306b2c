"""Validation during training: the right numbers, the best parameters kept, early stopping, going back."""

import json
import re

import numpy as np
import pytest

from motegpt.api.gpt import GPT
from motegpt.config.presets import settings_of
from motegpt.data.corpus import corpus_of, read_corpus
from motegpt.data.split import split_documents
from motegpt.errors import RunFolderError
from motegpt.evaluation.nll import mean_nll
from motegpt.training.build import prepare, resume
from motegpt.training.run_folder import RunFolder
from motegpt.training.validation import ValidationSet
from tests.conftest import ENGINES_HERE

FEW = ["anna", "hanna", "nan", "han", "ann", "nah", "hana", "anah", "nanna", "hah"]
# A model that soon learns its few documents by heart, and forgets what the others have in common.
OVERFITTING = {"steps": 400, "lr": 0.05, "val_fraction": 0.3, "eval_every": 10, "log_every": 100, "n": 2}


HELD_OUT = split_documents(FEW, 0.3, 42)[1]


def begin(tmp_path=None, name="run", documents=FEW, engine="array", **changes):
    trainer = prepare(corpus_of(documents), {**settings_of("microgpt"), **OVERFITTING, **changes}, engine)
    if tmp_path is not None:
        trainer.folder = RunFolder.create(tmp_path / name, trainer.config, trainer.tokenizer)
    return trainer


def records_of(trainer, until=None):
    return [record for chunk in trainer.run(until) for record in chunk.records]


@pytest.mark.parametrize("engine", ENGINES_HERE)
def test_evaluations_come_when_asked_and_are_of_the_held_out_documents(engine):
    trainer = begin(engine=engine, steps=12, eval_every=5, dtype="float64")
    records = records_of(trainer)
    evaluated = {record.step: record.val_loss for record in records if record.val_loss is not None}
    assert list(evaluated) == [1, 5, 10, 12]
    sequences = trainer.tokenizer.encode_documents(HELD_OUT)
    assert evaluated[12] == pytest.approx(mean_nll(trainer.engine, sequences), abs=1e-12)


LONG = [*FEW, *(a + b for a in FEW for b in FEW)]  # beyond the block


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"loss_mean": "tokens"}, {"format": "stream"}], ids=str)
@pytest.mark.parametrize("engine", ENGINES_HERE)
def test_the_last_figure_is_that_of_eval_to_the_last_digit(motegpt, tmp_path, engine, changes):
    (tmp_path / "long.txt").write_text("\n".join(LONG))
    settings = {"steps": 40, "block_size": 8, "val_fraction": 0.3, "eval_every": 10, "n": 1, **changes}
    flags = [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", value)]
    ended = motegpt(
        "train", "--preset", "microgpt", "long.txt", "--engine", engine, *flags, "--out", "run", "--json"
    )
    assert ended.code == 0, ended.err
    told = [json.loads(line) for line in ended.out.splitlines()]
    found = json.loads(motegpt("eval", "run", "--samples", 0, "--json").out)
    assert told[-1]["best"]["val_loss"] == found["nats_per_token"]["model"]
    assert told[0]["validation"] == {"tokens": found["tokens"], "sample": found["tokens"]}
    steps = {event["step"]: event.get("val_loss") for event in told if event["event"] == "step"}
    assert steps[told[-1]["best"]["step"]] == found["nats_per_token"]["model"]


@pytest.mark.parametrize("changes", [{}, {"format": "stream"}], ids=str)
def test_evaluations_on_the_way_look_at_a_sample_of_fixed_size(monkeypatch, changes):
    monkeypatch.setattr("motegpt.training.validation.SAMPLE", 50)
    documents = [" ".join(LONG)] if changes else LONG
    trainers = [begin(documents=documents, block_size=8, steps=30, **changes) for _ in range(2)]
    sample = trainers[0].validation.data.sample
    assert sample == trainers[1].validation.data.sample
    assert 30 < sum(window.targets for window in sample) <= 50
    evaluated = [record.val_loss for record in records_of(trainers[0]) if record.val_loss is not None]
    validation, engine = trainers[0].validation, trainers[0].engine
    assert evaluated[-1] == mean_nll(engine, validation.data.sequences, sample)
    assert evaluated[-1] != validation.full_loss(engine)
    assert trainers[0].best.loss == min(evaluated)


def test_a_sample_meets_every_kind_of_window(monkeypatch):
    """Of documents in two windows each it takes first and second ones."""
    monkeypatch.setattr("motegpt.training.validation.SAMPLE", 300)
    sample = ValidationSet([[0] * 13] * 100, 8, 27).sample
    assert {window.start for window in sample} == {0, 4}
    assert sum(window.targets for window in sample) <= 300
    assert len({window.sequence for window in sample}) > 25


def test_a_window_longer_than_the_sample_is_evaluated_all_the_same(monkeypatch):
    monkeypatch.setattr("motegpt.training.validation.SAMPLE", 3)
    assert len(ValidationSet([[0] * 13] * 5, 8, 27).sample) == 1


def test_a_sample_is_told_once_and_the_end_uses_all(motegpt, tmp_path, monkeypatch):
    monkeypatch.setattr("motegpt.training.validation.SAMPLE", 50)
    (tmp_path / "long.txt").write_text("\n".join(LONG))
    words = ("train", "long.txt", "--steps", 60, "--val-fraction", 0.3, "--engine", "array", "-n", 1)
    ended = motegpt(*words, "--out", "run")
    (said,) = [line for line in ended.err.splitlines() if line.startswith("validation:")]
    sampled, tokens = re.search(r"the same (\d+) of (\d+) held-out tokens", said).groups()
    assert int(sampled) <= 50 < int(tokens)
    found = json.loads(motegpt("eval", "run", "--samples", 0, "--json").out)
    assert found["tokens"] == int(tokens)
    loss = found["nats_per_token"]["model"]
    assert f"validation loss {loss:.4f} on all {tokens} held-out tokens" in ended.err
    assert "held-out tokens" not in motegpt(*words, "--quiet").err


def test_held_out_documents_are_never_in_the_plan():
    trainer = begin(documents=FEW * 3)
    learned = {trainer.tokenizer.decode(sequence[1:-1]) for sequence in trainer.plan.sequences}
    assert learned == set(FEW) - set(HELD_OUT)
    assert len(trainer.plan.sequences) + len(trainer.validation.data.sequences) == 30


def test_without_held_out_documents_nothing_changes():
    with_none = begin(val_fraction=0.0, steps=5)
    assert with_none.validation is None
    assert all(record.val_loss is None for record in records_of(with_none))


def test_evaluating_changes_no_step():
    losses = [[record.loss for record in records_of(begin(steps=30, log_every=1, eval_every=every))]
              for every in (1, 7, 30)]  # fmt: skip
    assert losses[0] == losses[1] == losses[2]


def test_early_stopping_and_the_best_parameters(tmp_path):
    trainer = begin(tmp_path, patience=3)
    records = records_of(trainer)
    evaluated = [(record.val_loss, record.step) for record in records if record.val_loss is not None]
    best_loss, best_step = min(evaluated)
    assert trainer.done < 400
    assert [step for _, step in evaluated if step > best_step] == [best_step + 10 * i for i in (1, 2, 3)]
    folder = RunFolder(tmp_path / "run")
    config, tokenizer = folder.config(), folder.tokenizer()
    state = folder.trainer_state(config, tokenizer)
    assert (state.done, state.best.step, state.best.loss) == (trainer.done, best_step, best_loss)
    best, last = GPT.load(tmp_path / "run"), GPT.load(tmp_path / "run", checkpoint="last")
    sequences = trainer.validation.data.sequences
    assert mean_nll(best.engine, sequences) == pytest.approx(best_loss, abs=1e-12)
    assert mean_nll(last.engine, sequences) == pytest.approx(evaluated[-1][0], abs=1e-12)


def test_the_last_samples_are_those_of_the_best_parameters(tmp_path, monkeypatch):
    drawn_with = []
    monkeypatch.setattr(
        "motegpt.training.loop.generate_sequentially",
        lambda engine, *rest: drawn_with.append(engine.export().parameters) or ["x"],
    )
    trainer = begin(tmp_path, patience=3)
    records_of(trainer)
    (drawn,) = drawn_with
    np.testing.assert_array_equal(drawn["wte"], trainer.best_parameters()["wte"])
    assert not np.array_equal(drawn["wte"], trainer.engine.export().parameters["wte"])


@pytest.mark.parametrize("stop", [15, 95, 110])
def test_resuming_remembers_the_best_and_the_patience(tmp_path, stop):
    whole, parts = begin(tmp_path, "whole", patience=3), begin(tmp_path, "parts", patience=3)
    records_of(whole)
    records_of(parts, until=stop)
    again = resume(RunFolder(tmp_path / "parts"), corpus_of(FEW), {}, None)
    records_of(again)
    for path in (tmp_path / "whole").iterdir():
        assert (tmp_path / "parts" / path.name).read_bytes() == path.read_bytes(), path.name
    assert again.best_parameters().keys() == whole.best_parameters().keys()


def test_more_patience_makes_a_stopped_run_go_on(motegpt, tmp_path):
    (tmp_path / "few.txt").write_text("\n".join(FEW))
    flags = [word for name, value in OVERFITTING.items() for word in (f"--{name.replace('_', '-')}", value)]
    ended = motegpt(
        "train",
        "--preset",
        "microgpt",
        "few.txt",
        *flags,
        "--patience",
        3,
        "--out",
        "run",
        "--engine",
        "array",
    )
    assert ended.code == 0
    assert "stopped early" in ended.err
    stopped = motegpt("train", "--resume", "run")
    assert (stopped.code, stopped.err.count("\n")) == (2, 1)
    assert "set a larger --patience to continue" in stopped.err
    assert motegpt("train", "--resume", "run", "--patience", 30).code == 0


def test_checkpoints_are_kept_and_a_run_can_go_back_to_one(tmp_path):
    trainer = begin(tmp_path, steps=50, checkpoint_every=10, keep=3, val_fraction=0.0)
    records_of(trainer)
    folder = RunFolder(tmp_path / "run")
    assert folder.kept_steps() == [30, 40, 50]
    end = everything(tmp_path / "run")
    again = resume(folder, corpus_of(FEW), {}, None, step=40)
    assert again.done == 40
    records_of(again)
    assert everything(tmp_path / "run") == end
    with pytest.raises(RunFolderError, match="has no checkpoint of step 20; kept steps: 30, 40, 50"):
        folder.trainer_state(folder.config(), folder.tokenizer(), 20)


def test_going_back_forgets_what_came_after(tmp_path):
    records_of(begin(tmp_path, steps=60, checkpoint_every=10, keep=4))
    folder = RunFolder(tmp_path / "run")
    records_of(resume(folder, corpus_of(FEW), {"lr": 0.001}, None, step=30), until=40)
    assert folder.kept_steps() == [30, 40]
    assert [record["step"] for record in folder.metrics()][-1] == 40
    state = folder.trainer_state(folder.config(), folder.tokenizer())
    assert (state.done, state.best.step) == (40, 40)


def test_one_process_at_a_time(tmp_path):
    trainer = begin(tmp_path, steps=5)
    chunks = trainer.run()
    next(chunks)
    other = RunFolder(tmp_path / "run")
    with pytest.raises(RunFolderError, match="another process is training in this folder"):
        resume(other, corpus_of(FEW), {}, None)
    with pytest.raises(RunFolderError, match="another process is training"):
        RunFolder.create(tmp_path / "run", trainer.config, trainer.tokenizer, overwrite=True)
    assert [record.step for chunk in chunks for record in chunk.records][-1] == 5
    RunFolder.create(tmp_path / "run", trainer.config, trainer.tokenizer, overwrite=True)


def test_metrics_and_console_show_the_validation_loss(motegpt, tmp_path):
    ended = motegpt("train", "--steps", 4, "--engine", "array", "--val-fraction", 0.2, "--out", "run")
    assert " | val " in ended.out.splitlines()[4]
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records if "val_loss" in record] == [1, 4]


def test_a_validation_loss_that_is_not_finite_stops_the_run(monkeypatch):
    from motegpt.errors import TrainingDiverged

    monkeypatch.setattr("motegpt.training.validation.mean_loss", lambda *_: float("nan"))
    with pytest.raises(TrainingDiverged, match="the validation loss of step 1 is nan"):
        records_of(begin(steps=5))


def test_too_few_documents_to_hold_any_out(motegpt, tmp_path):
    (tmp_path / "one.txt").write_text("ab\nab\n")
    ended = motegpt("train", "one.txt", "--val-fraction", 0.1)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert read_corpus(tmp_path / "one.txt").documents == ["ab", "ab"]


def test_the_end_of_a_stream_is_held_out():
    text = ("the cat sat on the mat. " * 20)[:-1]
    trainer = begin(documents=[text], format="stream", block_size=8, steps=20, val_fraction=0.25)
    assert trainer.tokenizer.decode(trainer.plan.stream) == text[:359]
    (sequence,) = trainer.validation.data.sequences
    assert trainer.tokenizer.decode(sequence) == " " + text[359:]
    assert records_of(trainer)[-1].val_loss < 2.5


def everything(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_best_that_has_hardly_begun_is_said(motegpt):
    words = ("train", "--engine", "array", "--val-fraction", 0.5, "--lr", 1, "--steps", 30, "-n", 1)
    hint = "a smaller --eval-every"
    coarse = motegpt(*words, "--log-every", 30)
    assert "best after step 1:" in coarse.err
    assert hint in coarse.err
    assert hint not in motegpt(*words, "--eval-every", 1).err
    assert hint not in motegpt(*words, "--log-every", 30, "--lr", 0.001).err


def test_a_last_step_that_was_not_evaluated_is_said(motegpt):
    words = ("train", "--engine", "array", "--val-fraction", 0.5, "--steps", 30, "--until", 20)
    assert "step 20 was not evaluated, so step 1 is what one samples with; --checkpoint last" in (
        motegpt(*words, "--log-every", 30, "--out", "one").err
    )
    assert "was not evaluated" not in motegpt(*words, "--eval-every", 20, "--out", "two").err
    assert motegpt("sample", "one", "--checkpoint", "last").code == 0


def test_patience_without_held_out_data_is_said(motegpt):
    words = ("train", "--engine", "array", "--patience", 3, "--steps", 2, "-n", 1)
    assert "--val-fraction" in motegpt(*words).err
    assert "--val-fraction" not in motegpt(*words, "--val-fraction", 0.1).err


def test_nothing_is_kept_that_is_not_periodic(motegpt, tmp_path):
    motegpt("train", "--engine", "array", "--steps", 3, "--keep", 3, "-n", 1, "--out", "run")
    assert RunFolder(tmp_path / "run").kept_steps() == []
    assert "--checkpoint-every 100 with --keep 5" in motegpt("sample", "run", "--checkpoint", 3).err


def test_fewer_steps_than_are_done_are_refused(motegpt):
    motegpt("train", "--engine", "array", "--steps", 9, "--until", 5, "-n", 1, "--out", "run")
    refused = motegpt("train", "--resume", "run", "--steps", 4)
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "steps: expected at least 5, the completed steps of run, got 4" in refused.err
    assert "completed all 5 steps" in motegpt("train", "--resume", "run", "--steps", 5).err
    assert motegpt("train", "--resume", "run", "--steps", 6).code == 0
