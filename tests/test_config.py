"""Validation of settings, completeness of presets, one-line errors."""

from dataclasses import FrozenInstanceError

import pytest

from motegpt.config.fields import kinds
from motegpt.config.presets import PRESETS, settings_of
from motegpt.config.sections import SECTIONS, ModelConfig, TrainConfig, section_of, section_values
from motegpt.data.tokenizers import FRAMINGS, TOKENIZERS
from motegpt.engines.array.ops import ACTIVATIONS
from motegpt.errors import SettingError
from motegpt.model.rng import GENERATORS
from motegpt.model.spec import parameter_count
from motegpt.optim import OPTIMIZERS
from motegpt.training.state import FORMATS, RunConfig


def model(preset="microgpt", **changes):
    return ModelConfig.of({"vocab_size": 27, **section_values(settings_of(preset), "model"), **changes})


@pytest.mark.parametrize(("preset", "count"), [("microgpt", 4192), ("oxidized", 4192), ("zeroclaw", 3632)])
def test_presets_are_complete_and_have_the_documented_sizes(preset, count):
    for section, config in SECTIONS.items():
        extra = {"vocab_size": 27} if section == "model" else {}
        config.of({**section_values(settings_of(preset), section), **extra})
    assert parameter_count(model(preset)) == count
    for name in PRESETS[preset]:
        section_of(name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_embd": 10}, r"n_embd: expected a multiple of n_head = 4, got 10; try `n_embd=12`"),
        ({"n_layer": 0}, r"n_layer: expected a whole number of at least 1 .* got 0"),
        ({"n_head": -2}, r"n_head: .* got -2"),
        ({"block_size": 1}, r"block_size: expected a whole number of at least 2 .* got 1"),
        ({"n_embd": 1.5}, r"n_embd: expected a whole number .* got 1.5"),
        ({"n_embd": "16"}, r"n_embd: expected a whole number .* got '16'"),
        ({"init_std": float("nan")}, r"init_std: .* got nan"),
        ({"activation": "gelu"}, r"activation: expected one of relu, squared_relu, got 'gelu'"),
        ({"n_layers": 2}, r"unknown setting 'n_layers'; did you mean n_layer\?"),
        ({"tied": 1}, r"tied: expected true or false, got 1"),
        ({"n_layer": True}, r"n_layer: expected a whole number .* got True"),
    ],
    ids=str,
)
def test_invalid_setting_error_is_one_line(changes, message):
    with pytest.raises(SettingError, match=message) as error:
        model(**changes)
    assert "\n" not in str(error.value)


def test_too_large_model():
    with pytest.raises(SettingError, match=r"at most 2,147,483,647 parameters, got 1,200,"):
        parameter_count(model(n_embd=10**6, n_layer=100, block_size=2))


def test_settings_are_frozen():
    with pytest.raises(FrozenInstanceError):
        model().n_embd = 3  # type: ignore[misc]


def test_duplicated_lists_agree():
    assert kinds(TrainConfig)["rng"].choices == tuple(GENERATORS)
    assert kinds(SECTIONS["data"])["framing"].choices == tuple(FRAMINGS)
    assert kinds(SECTIONS["data"])["tokenizer"].choices == tuple(TOKENIZERS)
    assert kinds(ModelConfig)["activation"].choices == tuple(ACTIVATIONS)
    assert kinds(RunConfig)["format"].choices == FORMATS
    assert kinds(TrainConfig)["optimizer"].choices == tuple(OPTIMIZERS)
    assert {owner for kind in kinds(TrainConfig).values() for owner in kind.optimizers} == set(OPTIMIZERS)


def test_lr_min_is_below_the_peak():
    with pytest.raises(SettingError, match="lr_min: expected at most lr"):
        TrainConfig.of(section_values({**settings_of("microgpt"), "lr_min": 1.0}, "train"))


def test_minus_zero_becomes_zero_in_every_setting():
    for config in SECTIONS.values():
        for name, kind in kinds(config).items():
            if kind.base is float and kind.at_least == 0:
                assert str(kind.check(name, -0.0)) == "0.0", name


def test_every_setting_belongs_to_one_section():
    names = [name for config in SECTIONS.values() for name in kinds(config)]
    assert len(names) == len(set(names))
    with pytest.raises(SettingError, match="did you mean temperature"):
        section_of("temprature")
