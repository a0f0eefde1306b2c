"""The setting `level`: the instruction set that trains, recorded as used, refused where it is missing."""

import json

import pytest

from motegpt import GPT, SettingError
from motegpt.engines import engine_class, why_unavailable
from motegpt.training.run_folder import RunFolder

pytestmark = pytest.mark.skipif(
    why_unavailable("native") is not None, reason="the core was not built: no compiler was found"
)
NAMES = ["anna", "bob", "carla", "dora"]
TINY = {"preset": "microgpt", "n_embd": 20, "n_head": 2, "block_size": 6, "log_every": 10, "steps": 10}


def levels():
    from motegpt.engines.native import _core

    return _core.levels()


def test_the_level_that_trained_is_recorded(tmp_path):
    for level in (None, *levels()):
        out = tmp_path / str(level)
        model = GPT.train(NAMES, engine="native", level=level, out=out, **TINY)
        config = json.loads((out / "config.json").read_text())
        assert config["level"] == model.config.level == (level or levels()[0])
        assert config["train"]["level"] == level
        assert model.engine._logits_core().level == config["level"]
    model = GPT.train(NAMES, engine="array", **TINY)
    assert model.config.level is None


def test_levels_differ_in_the_last_digits_alone():
    losses = {
        level: [one.loss for one in GPT.train(NAMES, engine="native", level=level, **TINY).records]
        for level in levels()
    }
    for found in losses.values():
        assert found == pytest.approx(losses["baseline"], rel=1e-9)


@pytest.fixture
def old_processor(monkeypatch):
    """The core on a processor that has the baseline alone."""
    from motegpt.engines.native import _core

    monkeypatch.setattr(_core, "levels", lambda: ["baseline"])


def test_a_level_that_the_processor_lacks_is_refused(old_processor, tmp_path, motegpt):
    with pytest.raises(SettingError, match="this processor has, baseline, got avx512; leave it out, or try"):
        GPT.train(NAMES, engine="native", level="avx512", out=tmp_path / "run", **TINY)
    assert not (tmp_path / "run").exists()
    ended = motegpt("train", "--engine", "native", "--level", "avx2", "--steps", 1)
    assert ended.code != 0
    assert "--level baseline" in ended.err


def test_a_run_is_loaded_where_its_level_is_missing(tmp_path, old_processor):
    GPT.train(NAMES, engine="native", level="baseline", out=tmp_path / "run", **TINY)
    folder = RunFolder(tmp_path / "run")
    config = folder.config()
    folder.write_config(config.replace(level="avx512", train=config.train.replace(level="avx512")))
    assert len(GPT.load(tmp_path / "run").generate(2, seed=1)) == 2
    with pytest.raises(SettingError, match="try `level='baseline'`"):
        GPT.train(NAMES, resume=tmp_path / "run", steps=20)
    model = GPT.train(NAMES, resume=tmp_path / "run", steps=20, level="baseline")
    assert model.config.level == "baseline"


def test_the_budget_is_that_of_the_level():
    assert engine_class("native").level("baseline") == "baseline"
    training = {"preset": "microgpt", "seconds": 0.001, "engine": "native", "dtype": "float32"}
    steps = {
        level: GPT.training(NAMES, level=level, **training)._trainer.config.train.steps
        for level in ("baseline", levels()[0])
    }
    assert len(set(steps.values())) == len(steps)
