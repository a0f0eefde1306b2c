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
from motegpt.model.spec import parameter_count, tensors
from motegpt.optim import OPTIMIZERS
from motegpt.training.state import FORMATS, RunConfig


def model(preset="microgpt", **changes):
    return ModelConfig.of({"vocab_size": 27, **section_values(settings_of(preset), "model"), **changes})


LLAMA = 2 * 27 * 768 + 768 + 12 * (4 * 768 * 768 + 3 * 768 * 2048 + 2 * 768)  # head and tokens, norms, layers


@pytest.mark.parametrize(
    ("preset", "count"),
    [
        ("microgpt", 4192),
        ("oxidized", 4192),
        ("zeroclaw", 3632),
        ("gpt2", 124_439_808 - (50_257 - 27) * 768),
        ("llama", LLAMA),
    ],
)
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
        ({"activation": "silu"}, r"activation: expected one of relu, squared_relu, .*swiglu, got 'silu'"),
        ({"n_kv_head": 3}, r"n_kv_head: expected a divisor of n_head = 4, got 3; try `n_kv_head=1`"),
        ({"n_head": 8, "n_kv_head": 6}, r"n_kv_head: .* got 6; try `n_kv_head=2`"),
        ({"n_kv_head": 8}, r"n_kv_head: expected a divisor of n_head = 4, got 8; try `n_kv_head=4`"),
        ({"norm": "none", "final_norm": True}, r"final_norm: expected false with `norm='none'`, got true"),
        ({"norm": "none", "norm_gain": True}, r"norm_gain: expected false with `norm='none'`, got true"),
        ({"zero_init": True, "scaled_init": True}, r"scaled_init: expected false with `zero_init=True`"),
        ({"n_hidden": 0}, r"n_hidden: expected a whole number of at least 1 .* got 0"),
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


def test_gpt2_has_the_published_number_of_parameters():
    """Radford et al., 2019, with the weights that were released: 124,439,808, wte and the head shared."""
    assert parameter_count(model("gpt2", vocab_size=50_257)) == 124_439_808


def test_the_width_of_the_hidden_layer_is_that_of_llama():
    """11,008 of the 7B model is 2/3 · 4 · 4,096 up to a multiple of 256; here of 16."""
    assert model("llama", n_embd=4096, n_head=32).mlp_size == 10_928
    assert model("llama", n_embd=4096, n_head=32, n_hidden=11_008).mlp_size == 11_008
    assert [model("llama", n_embd=c, n_head=1).mlp_size for c in (4, 6, 16, 18, 96)] == [16, 16, 48, 48, 256]


def test_scaled_weights_begin_smaller_by_the_depth():
    """GPT-2: those that write to the residual stream by 1 / √(2 L)."""
    found = {one.name: one.init.std for one in tensors(model("gpt2", n_layer=8))}
    assert found["layer3.attn_wo"] == found["layer3.mlp_fc2"] == pytest.approx(0.02 / 4)
    assert found["layer3.attn_wq"] == found["wte"] == 0.02


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
