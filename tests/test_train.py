"""The loop: resuming is never having stopped, and what happens when something goes wrong."""

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest

from motegpt.checkpoint import RunFolder
from motegpt.documents import read_corpus
from motegpt.errors import DataError, TrainingDiverged, UsageError
from motegpt.presets import settings_of
from motegpt.train import CHUNK_SECONDS, next_size, prepare, resume
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
        w, state = export()
        w["wte"][0, 0] = math.inf if trainer.done >= 4 else w["wte"][0, 0]
        return w, state

    trainer.engine.export = exploded
    with pytest.raises(
        TrainingDiverged, match=r"step 4 left parameters that are not finite; last good .* step 2"
    ):
        finish(trainer)
    saved = trainer.folder.trainer_state(trainer.config, trainer.tokenizer)
    assert saved.done == 2
    assert np.isfinite(saved.parameters["wte"]).all()


def test_a_run_is_resumable_from_its_first_moment(tmp_path):
    trainer = begin(tmp_path, "run")
    next(trainer.run())
    assert trainer.folder.trainer_state(trainer.config, trainer.tokenizer).done in (0, 1)


def test_changed_data_are_noticed(tmp_path):
    finish(begin(tmp_path, "run"), until=3)
    with pytest.raises(DataError, match="is not what the run began with"):
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
    assert next_size(1, CHUNK_SECONDS / 100) == 8
    assert next_size(8, CHUNK_SECONDS / 2) == 16
    assert next_size(8, CHUNK_SECONDS * 4) == 2
    assert next_size(1, CHUNK_SECONDS * 4) == 1
