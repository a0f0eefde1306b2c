"""Parameters kept at log-spaced steps: which steps, loading them, killing and resuming the run."""

import numpy as np
import pytest

import motegpt
from motegpt import GPT, RunFolderError, UsageError
from motegpt.training.events import next_log_spaced
from motegpt.training.run_folder import RunFolder

NAMES = ["anna", "bob", "carla", "dora"]
TINY = {"preset": "microgpt", "n_embd": 4, "n_head": 1, "block_size": 6, "engine": "array", "log_every": 7}


def kept(folder, step):
    return GPT.load(folder, checkpoint=step).parameters


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def test_steps_double_up_to_512_and_are_then_multiples_of_1000():
    steps = [0]
    while steps[-1] < 4000:
        steps.append(next_log_spaced(steps[-1]))
    assert steps == [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000, 2000, 3000, 4000]
    assert [next_log_spaced(step) for step in (3, 5, 511, 513, 999, 1001)] == [4, 8, 512, 1000, 1000, 2000]


def test_kept_parameters_are_those_of_a_run_that_ends_there(tmp_path):
    GPT.train(NAMES, steps=11, schedule="constant", checkpoint_at="log", out=tmp_path / "run", **TINY)
    assert motegpt.checkpoints(tmp_path / "run") == [0, 1, 2, 4, 8]
    for step in (1, 4, 8):
        ended = GPT.train(NAMES, steps=step, schedule="constant", **TINY)
        assert same(kept(tmp_path / "run", step), ended.parameters)
    assert not same(kept(tmp_path / "run", 0), kept(tmp_path / "run", 1))


def test_without_the_setting_none_are_kept(tmp_path):
    GPT.train(NAMES, steps=5, out=tmp_path / "run", **TINY)
    assert motegpt.checkpoints(tmp_path / "run") == []
    with pytest.raises(RunFolderError, match="no such run"):
        motegpt.checkpoints(tmp_path / "nothing")


def test_a_resumed_run_keeps_what_one_that_never_stopped_keeps(tmp_path):
    settings = {**TINY, "steps": 20, "checkpoint_at": "log", "checkpoint_every": 5, "keep": 9}
    GPT.train(NAMES, out=tmp_path / "whole", **settings)
    GPT.train(NAMES, out=tmp_path / "parts", **settings)
    (tmp_path / "parts" / "parameters-16.safetensors").write_bytes(b"of a killed process")
    (tmp_path / "parts" / "parameters-4.safetensors").unlink()  # before the checkpoint: stays missing
    GPT.train(NAMES, resume=tmp_path / "parts", checkpoint=5)
    assert motegpt.checkpoints(tmp_path / "parts") == [0, 1, 2, 5, 8, 10, 15, 16, 20]
    for step in (0, 1, 2, 8, 16):
        assert same(kept(tmp_path / "parts", step), kept(tmp_path / "whole", step))


def test_resuming_deletes_those_of_later_steps(tmp_path):
    settings = {**TINY, "steps": 20, "checkpoint_at": "log", "checkpoint_every": 5, "keep": 9}
    GPT.train(NAMES, out=tmp_path / "run", **settings)
    GPT.train(NAMES, resume=tmp_path / "run", checkpoint=5, steps=7)
    assert RunFolder(tmp_path / "run").steps_of_parameters() == [0, 1, 2, 4]


def test_they_can_be_fine_tuned_but_not_resumed(tmp_path):
    GPT.train(NAMES, steps=9, out=tmp_path / "run", checkpoint_at="log", **TINY)
    with pytest.raises(RunFolderError, match="parameters alone were kept"):
        GPT.train(NAMES, resume=tmp_path / "run", checkpoint=4, steps=30)
    with pytest.raises(RunFolderError, match="kept steps: 0, 1, 2, 4, 8"):
        GPT.load(tmp_path / "run", checkpoint=3)
    tuned = GPT.load(tmp_path / "run", checkpoint=4).fine_tune(NAMES, preset="microgpt", steps=2)
    assert tuned.config.base.step == 4


def test_overwriting_a_run_deletes_them(tmp_path):
    GPT.train(NAMES, steps=9, out=tmp_path / "run", checkpoint_at="log", **TINY)
    GPT.train(NAMES, steps=2, out=tmp_path / "run", overwrite=True, **TINY)
    assert motegpt.checkpoints(tmp_path / "run") == []


def test_show_lists_them(tmp_path, motegpt):
    GPT.train(NAMES, steps=9, out=tmp_path / "run", checkpoint_at="log", **TINY)
    assert "parameters of steps: 0, 1, 2, 4, 8" in " ".join(motegpt("show", tmp_path / "run").out.split())


def test_an_unknown_spacing_is_refused():
    with pytest.raises((motegpt.SettingError, UsageError), match="checkpoint_at: expected one of log"):
        GPT.train(NAMES, steps=1, checkpoint_at="linear", **TINY)
