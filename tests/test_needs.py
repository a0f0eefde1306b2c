"""Settings that would have no effect are refused, in Python and on the command line."""

import pytest

from motegpt import GPT, SettingError
from motegpt.config.needs import NEEDED, check_needs, needs
from motegpt.config.sections import SECTIONS, section_of

from .test_cli import OTHER_VALUES

NAMES = ["anna", "hanna", "nan", "otto"]
SMALL = {"preset": "microgpt", "engine": "array", "steps": 3}


@pytest.mark.parametrize("name", needs())
def test_a_setting_needs_what_it_says(name):
    need, value = needs()[name], OTHER_VALUES[name]
    with pytest.raises(SettingError, match=rf"^{name}: expected {NEEDED[need]}, got none; do this, or leave"):
        check_needs({name: value}, {need: "do this"})
    check_needs({name: value}, dict.fromkeys(NEEDED.keys() - {need}, "do this"))
    section = SECTIONS[section_of(name)]
    if hasattr(section, name):  # its default value
        check_needs({name: getattr(section, name)}, {need: "do this"})


@pytest.mark.parametrize("name", [name for name, need in needs().items() if need == "folder"])
def test_checkpoints_need_a_folder(name, tmp_path):
    given = {name: OTHER_VALUES[name]}
    for method in (GPT.train, GPT.training):
        with pytest.raises(SettingError, match=f"{name}: expected a run folder to write to, got none; set"):
            method(NAMES, **SMALL, **given)
    model = GPT.train(NAMES, **SMALL, **given, out=tmp_path / "run")
    tuned = {"preset": "microgpt", "steps": 3}
    with pytest.raises(SettingError, match=f"{name}: expected a run folder"):
        model.fine_tune(NAMES, **tuned, **given)
    with pytest.raises(SettingError, match=f"{name}: expected a run folder"):
        GPT.train(NAMES, preset="auto", **given)
    GPT.train(NAMES, resume=tmp_path / "run", steps=4, **given)


def test_samples_are_generated_by_the_command_alone(motegpt):
    with pytest.raises(SettingError, match="sample_every: expected a training that generates samples"):
        GPT.train(NAMES, **SMALL, sample_every=2)
    words = ("train", "--preset", "microgpt", "--engine", "array", "--steps", 2, "--log-every", 1)
    assert motegpt(*words, "--sample-every", 1, "-n", 2).code == 0


def test_statistics_are_in_the_records_of_a_model_without_a_folder():
    assert GPT.train(NAMES, **SMALL, log_statistics=True).records[-1].statistics


def test_the_command_names_the_flag(motegpt):
    ended = motegpt("train", "--steps", 2, "--checkpoint-every", 1)
    assert (ended.code, ended.out) == (2, "")
    assert "expected a run folder to write to, got none; set --out, or leave it out" in ended.err
    words = ("train", "--preset", "microgpt", "--engine", "array", "--steps", 2, "--log-statistics")
    ended = motegpt(*words)
    assert (ended.code, ended.out) == (2, "")
    assert "log_statistics: expected records of the logged steps, got none; set --out, or --json" in ended.err
    assert "gradient_norm/wte" in motegpt(*words, "--json").out
