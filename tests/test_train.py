"""The loop: resuming is never having stopped, and what happens when something goes wrong."""

import json
import math
import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from motegpt.api.gpt import GPT
from motegpt.config.presets import settings_of
from motegpt.data.corpus import read_corpus
from motegpt.errors import DataError, TrainingDiverged, UsageError
from motegpt.training.build import prepare, resume
from motegpt.training.events import CHUNK_SECONDS, next_chunk_size
from motegpt.training.losses import LossMeans, Mean, tail_start
from motegpt.training.run_folder import RunFolder
from tests.conftest import ENGINES_HERE

SHORT = {"steps": 12, "batch_size": 2, "log_every": 3, "sample_every": 4, "n": 3}


def begin(tmp_path, name, engine="array", preset="microgpt", **changes):
    trainer = prepare(
        read_corpus(None), {**settings_of(preset), "dtype": "float64", **SHORT, **changes}, engine
    )
    trainer.folder = RunFolder.create(tmp_path / name, trainer.config, trainer.tokenizer)
    return trainer


def finish(trainer, until=None):
    return list(trainer.run(until))


def everything(folder):
    """The bytes of the run that training decides."""
    return {
        name: (folder / name).read_bytes()
        for name in ("trainer.safetensors", "model.safetensors", "metrics.jsonl")
    }


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES_HERE)
@pytest.mark.parametrize("preset", ["microgpt", "oxidized", "zeroclaw"])
@pytest.mark.parametrize("stop", [1, 5, 8])
def test_stop_and_resume_is_never_having_stopped(tmp_path, engine, preset, stop):
    whole = finish(begin(tmp_path, "whole", engine, preset))
    first = finish(begin(tmp_path, "parts", engine, preset), until=stop)
    second = finish(resume(RunFolder(tmp_path / "parts"), read_corpus(None), {}, None))
    assert everything(tmp_path / "parts") == everything(tmp_path / "whole")
    drawn = [chunk.samples for chunk in whole if chunk.samples]
    assert [chunk.samples for chunk in first + second if chunk.samples] == drawn


def test_records_are_the_logged_steps(tmp_path):
    trainer = begin(tmp_path, "run")
    records = [record for chunk in finish(trainer) for record in chunk.records]
    assert [record.step for record in records] == [1, 3, 6, 9, 12]
    written = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert written == [record.values() for record in records]
    assert records[0].lr == 0.01
    assert records[-1].tokens == trainer.plan.tokens(0, 12)


@pytest.mark.parametrize(
    "changes", [{}, {"val_fraction": 0.2, "eval_every": 5}, {"preset": "zeroclaw"}], ids=str
)
def test_a_record_has_the_mean_of_all_losses_since_the_one_before(tmp_path, changes):
    chunks = finish(begin(tmp_path, "run", **changes))
    losses = [loss for chunk in chunks for loss in chunk.losses]
    records, last = [record for chunk in chunks for record in chunk.records], 0
    for record in records:
        assert record.mean_loss == pytest.approx(sum(losses[last : record.step]) / (record.step - last))
        last = record.step
    assert records[0].mean_loss == records[0].loss


def test_the_mean_of_large_losses_is_finite():
    losses, (mean,) = LossMeans().after(0, [1e308, 1.5e308, 1e308], [2], 9)
    assert mean == pytest.approx(1e308 * (3.5 / 3))
    assert losses.recent == Mean()


def test_means_do_not_depend_on_how_many_losses_are_taken_at_a_time():
    losses, logged = [1 / n for n in range(1, 301)], [9, 28, 250]
    whole, expected = LossMeans().after(0, losses, logged, 300)
    means, found = LossMeans(), []
    for start, end in pairwise([0, 7, 10, 199, 200, 201, 260, 300]):
        within = [step for step in logged if start <= step < end]
        means, some = means.after(start, losses[start:end], within, 300)
        found += some
    assert (means, found) == (whole, expected)
    assert whole.tail.value == pytest.approx(sum(losses[200:]) / 100)


@pytest.mark.parametrize(("steps", "start"), [(1, 0), (99, 0), (100, 0), (101, 1), (1000, 900), (5001, 4500)])
def test_the_tail_is_a_tenth_and_at_least_a_hundred_steps(steps, start):
    assert tail_start(steps) == start


def test_only_a_whole_tail_far_above_guessing_has_diverged():
    def diverged(steps, losses):
        return LossMeans().after(0, losses, [], steps)[0].has_diverged(26)

    bound = 2 * math.log(26)
    assert diverged(100, [bound + 0.01] * 100)
    assert not diverged(100, [bound - 0.01] * 100)
    assert not diverged(99, [1e9] * 99)
    assert not diverged(1000, [1e9] * 900 + [3.0] * 100)
    assert diverged(1000, [3.0] * 900 + [bound + 0.01] * 100)


def test_divergence_depends_on_the_last_steps_of_a_longer_run():
    means, _ = LossMeans().after(0, [1e9] * 200, [], 200)
    assert means.has_diverged(26)
    assert means.after(200, [3.0] * 300, [], 500)[0].tail == Mean(value=3.0, count=100)
    assert means.after(200, [1e9] * 20, [], 220)[0].tail.count == 120


def test_a_checkpoint_without_means_can_be_resumed(tmp_path, monkeypatch):
    """As it was written before there were any; its best loss was another mean."""
    trainer, write = begin(tmp_path, "run", val_fraction=0.2), RunFolder._write_tensors

    def as_before(folder, name, tensors, metadata):
        kept = {key: value for key, value in metadata.items() if key != "losses"}
        write(folder, name, tensors, {**kept, "best": kept.get("best") and {**kept["best"], "loss": 0.5}})

    monkeypatch.setattr(RunFolder, "_write_tensors", as_before)
    finish(trainer, until=8)
    monkeypatch.undo()
    state = trainer.folder.trainer_state(trainer.config, trainer.tokenizer)
    assert (state.losses, state.best.step, state.best.loss) == (None, 6, 0.5)
    again = resume(RunFolder(tmp_path / "run"), read_corpus(None), {}, None)
    assert again.best == trainer.best
    records = [record for chunk in finish(again) for record in chunk.records]
    assert [record.step for record in records] == [9, 12]
    assert records[0].mean_loss == records[0].loss


def test_zeroclaw_counts_from_0_and_writes_from_1(tmp_path):
    records = [r for chunk in finish(begin(tmp_path, "run", preset="zeroclaw")) for r in chunk.records]
    assert [record.step for record in records] == [1, 4, 7, 10, 12]


def test_samples_come_where_they_were_asked_for(tmp_path):
    chunks = finish(begin(tmp_path, "run"))
    assert [chunk.done for chunk in chunks if chunk.samples] == [1, 4, 8, 12]
    assert all(len(chunk.samples) == 3 for chunk in chunks if chunk.samples)


def test_checkpoints_are_written_on_the_way(tmp_path):
    trainer = begin(tmp_path, "run", checkpoint_every=5, sample_every=None)
    saved = [trainer.saved for _ in trainer.run()]
    assert {5, 10, 12} <= set(saved)


def test_an_interrupt_ends_after_the_steps_in_hand_and_saves(tmp_path):
    trainer = begin(tmp_path, "run")
    for chunk in trainer.run(interrupted=lambda: trainer.done >= 4):
        assert chunk.done <= 12
    assert 4 <= trainer.done < 12
    config = trainer.folder.config()
    assert trainer.folder.trainer_state(config, trainer.tokenizer).done == trainer.done


@pytest.mark.parametrize("engine", ENGINES_HERE)
def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, engine):
    trainer = begin(tmp_path, "run", engine, checkpoint_every=2, sample_every=None, lr=1e200)
    with pytest.raises(TrainingDiverged) as error:
        finish(trainer)
    said = str(error.value)
    assert re.search("the loss of step|left parameters that are not finite", said)
    assert "smaller `lr` (it was 1e+200)" in said
    assert "last good checkpoint" in said


def test_a_run_that_ends_far_above_guessing_is_saved_and_reported(motegpt, tmp_path):
    words = ("train", "--engine", "array", "--steps", 300, "--lr", 1000, "-n", 2)
    ended = motegpt(*words, "--out", "run")
    assert (ended.code, ended.out.splitlines()[-1][:11]) == (1, "sample  2: ")
    (line,) = [line for line in ended.err.splitlines() if line.startswith("motegpt: ")]
    assert re.match(
        r"motegpt: train: the run has diverged: the mean loss of its last 100 steps is \S+, that of "
        r"uniform guessing 3\.258; try a smaller --lr \(it was 1000\) or --clip-norm 1$", line
    )  # fmt: skip
    assert "saved run after step 300" in ended.err
    assert RunFolder(tmp_path / "run").metrics()[-1]["step"] == 300
    quiet = motegpt(*words, "--json", "--quiet")
    assert (quiet.code, quiet.err.count("\n")) == (1, 1)
    assert json.loads(quiet.out.splitlines()[-1])["diverged"] is True
    assert motegpt("sample", "run", "-n", 1).code == 0


def test_divergence_is_determined_at_the_end_only(motegpt):
    words = ("train", "--engine", "array", "--steps", 300, "--lr", 1000, "-n", 1)
    assert motegpt(*words, "--until", 299, "--out", "run").code == 0
    ended = motegpt("train", "--resume", "run")
    assert ended.code == 1
    assert ended.err.splitlines()[-1] == motegpt(*words).err.splitlines()[-1]
    assert motegpt("train", "--engine", "array", "--steps", 99, "--lr", 1000, "-n", 1).code == 0


def test_a_model_that_diverged_is_not_lost_in_python():
    with pytest.warns(RuntimeWarning, match=r"the run has diverged: .* try a smaller `lr` .it was 1000"):
        model = GPT.train(["anna", "hanna"], steps=300, lr=1000, engine="array", preset="microgpt")
    assert len(model.generate(n=2, seed=1)) == 2


def test_divergence_names_the_checkpoint_that_is_left(tmp_path):
    trainer = begin(tmp_path, "run", checkpoint_every=2, sample_every=None)
    steps = trainer.engine.train

    def train(plan, start, count):
        return [math.nan if start + i >= 7 else loss for i, loss in enumerate(steps(plan, start, count))]

    trainer.engine.train = train
    with pytest.raises(
        TrainingDiverged, match="loss of step 8 is nan; last good checkpoint: after step 6 in"
    ):
        finish(trainer)
    assert trainer.folder.trainer_state(trainer.config, trainer.tokenizer).done == 6


def test_parameters_that_are_not_finite_are_never_saved(tmp_path):
    """The update of step 4 runs away; its loss was still fine, and a checkpoint is due right after it."""
    trainer = begin(tmp_path, "run", checkpoint_every=2, sample_every=None)
    export = trainer.engine.export

    def exploded():
        snapshot = export()
        if trainer.done >= 4:
            snapshot.parameters["wte"][0, 0] = math.inf
        return snapshot

    trainer.engine.export = exploded
    with pytest.raises(
        TrainingDiverged, match=r"step 4 left parameters that are not finite; last good .* step 2"
    ):
        finish(trainer)
    saved = trainer.folder.trainer_state(trainer.config, trainer.tokenizer)
    assert saved.done == 2
    assert np.isfinite(saved.snapshot.parameters["wte"]).all()


def test_a_run_is_resumable_from_its_first_moment(tmp_path):
    trainer = begin(tmp_path, "run")
    next(trainer.run())
    assert trainer.folder.trainer_state(trainer.config, trainer.tokenizer).done in (0, 1)


def test_changed_data_are_noticed(tmp_path):
    finish(begin(tmp_path, "run"), until=3)
    with pytest.raises(DataError, match="does not match the recorded training data"):
        resume(RunFolder(tmp_path / "run"), replace(read_corpus(None), sha256="0"), {}, None)


def test_a_run_keeps_its_shape_for_life(tmp_path):
    finish(begin(tmp_path, "run"), until=3)
    for name, value in (("n_embd", 32), ("shuffle", False), ("seed", 1), ("batch_size", 9)):
        with pytest.raises(UsageError, match=f"{name} cannot change"):
            resume(RunFolder(tmp_path / "run"), read_corpus(None), {name: value}, None)


def test_a_run_may_go_on_with_another_engine_and_other_steps(tmp_path):
    finish(begin(tmp_path, "run"), until=3)
    trainer = resume(RunFolder(tmp_path / "run"), read_corpus(None), {"steps": 6}, "scalar")
    assert trainer.engine.name == "scalar"
    assert finish(trainer)[-1].done == 6


def test_chunks_grow_to_their_time_and_no_further():
    assert next_chunk_size(1, CHUNK_SECONDS / 100) == 8
    assert next_chunk_size(8, CHUNK_SECONDS / 2) == 16
    assert next_chunk_size(8, CHUNK_SECONDS * 4) == 2
    assert next_chunk_size(1, CHUNK_SECONDS * 4) == 1
