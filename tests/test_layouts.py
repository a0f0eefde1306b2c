"""GPT-2's and Llama's layouts: the tables lead there and back."""

from pathlib import Path

import numpy as np
import pytest

from motegpt.config.presets import settings_of
from motegpt.config.sections import ModelConfig, section_values
from motegpt.errors import RunFolderError
from motegpt.interchange.layouts import (
    GPT2,
    LAYOUTS,
    LLAMA,
    OWN,
    arrays_of,
    config_of,
    layout_of,
    model_of,
    parameters_of,
)
from motegpt.model.spec import tensors

SMALL = {"n_layer": 2, "n_embd": 12, "n_head": 3, "block_size": 8, "vocab_size": 7}


def model(preset, **changes):
    return ModelConfig.of({**section_values(settings_of(preset), "model"), **SMALL, **changes})


MODELS = {
    "gpt2": (GPT2, model("gpt2")),
    "gpt2 untied": (GPT2, model("gpt2", tied=False, n_hidden=10, activation="gelu")),
    "gpt2 relu": (GPT2, model("gpt2", activation="relu")),
    "llama": (LLAMA, model("llama")),
    "llama grouped": (LLAMA, model("llama", n_kv_head=1, tied=True, bias=True)),
    "microgpt": (OWN, model("microgpt")),
    "gpt2 without biases": (OWN, model("gpt2", bias=False)),
    "gpt2 grouped": (OWN, model("gpt2", n_kv_head=1)),
    "contexts": (OWN, model("llama", ngram_orders=3, ngram_rows=(5, 4), qk_norm=True)),
}


@pytest.fixture(params=MODELS)
def case(request):
    return MODELS[request.param]


def test_the_layout_of_a_model_is_found(case):
    layout, config = case
    assert layout_of(config) is layout


def test_settings_lead_there_and_back(case):
    layout, config = case
    found = model_of(layout, config_of(layout, config))
    kept = {"n_hidden": config.mlp_size, "zero_init": found.zero_init, "scaled_init": found.scaled_init}
    orders = {"rope_base": found.rope_base} if config.position != "rope" else {}
    assert found == config.replace(**kept, **orders)


def test_tensors_lead_there_and_back(case):
    layout, config = case
    rng = np.random.default_rng(1)
    parameters = {one.name: rng.normal(size=one.shape) for one in tensors(config)}
    arrays = arrays_of(layout, config, parameters)
    assert {entry.name: entry.shape for entry in layout.entries(config)} == {
        name: array.shape for name, array in arrays.items()
    }
    assert sum(array.size for array in arrays.values()) == sum(one.size for one in tensors(config))
    back = parameters_of(layout, config, arrays)
    assert back.keys() == parameters.keys()
    for name, array in parameters.items():
        assert (back[name] == array).all(), name


def test_gpt2_stacks_and_transposes():
    arrays = arrays_of(GPT2, MODELS["gpt2"][1], parameters := {
        one.name: np.full(one.shape, i) for i, one in enumerate(tensors(MODELS["gpt2"][1]))
    })  # fmt: skip
    name = "transformer.h.1.attn.c_attn"
    assert arrays[f"{name}.weight"].shape == (12, 36)
    for part, columns in zip("qkv", (slice(12), slice(12, 24), slice(24, 36)), strict=True):
        matrix, bias = (parameters[f"layer1.attn_w{part}{end}"] for end in ("", "_bias"))
        assert (arrays[f"{name}.weight"][:, columns] == matrix.T).all()
        assert (arrays[f"{name}.bias"][columns] == bias).all()


LLAMA_LIKE = config_of(LLAMA, MODELS["llama"][1])
GPT2_LIKE = config_of(GPT2, MODELS["gpt2"][1])


@pytest.mark.parametrize(
    ("layout", "changes", "named"),
    [
        (LLAMA, {"rope_scaling": {"rope_type": "linear", "factor": 2.0}}, "rope_scaling: rope_type"),
        (LLAMA, {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "rope_parameters: rope_type"),
        (LLAMA, {"rope_parameters": {"factor": 2.0}}, "rope_parameters: factor"),
        (LLAMA, {"rope_parameters": [1]}, "rope_parameters"),
        (LLAMA, {"sliding_window": 4096}, "sliding_window"),
        (LLAMA, {"attention_bias": True}, "mlp_bias"),
        (LLAMA, {"attention_bias": "a" * 5000}, "mlp_bias"),
        (LLAMA, {"hidden_act": "gelu"}, "hidden_act"),
        (LLAMA, {"hidden_act": ["silu"]}, "hidden_act"),
        (LLAMA, {"logits_scaling": 8.0}, "logits_scaling"),
        (LLAMA, {"head_dim": 8}, "head_dim"),
        (LLAMA, {"pretraining_tp": 2}, "pretraining_tp"),
        (LLAMA, {"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        (LLAMA, {"quantization_config": {"bits": 4}}, "quantization_config"),
        (GPT2, {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        (GPT2, {"scale_attn_weights": False}, "scale_attn_weights"),
        (GPT2, {"activation_function": "tanh"}, "activation_function"),
        (GPT2, {"add_cross_attention": True}, "add_cross_attention"),
    ],
)
def test_parts_that_are_not_supported_are_named(layout, changes, named):
    with pytest.raises(RunFolderError, match=f"^{named}: expected .{{0,300}}$"):
        model_of(layout, {**(LLAMA_LIKE if layout is LLAMA else GPT2_LIKE), **changes})


def test_missing_keys_have_their_default():
    assert model_of(GPT2, {"vocab_size": 9}) == model("gpt2", vocab_size=9, **{
        name: settings_of("gpt2")[name] for name in ("n_layer", "n_embd", "n_head", "block_size")
    }, scaled_init=False)  # fmt: skip
    old = {key: value for key, value in LLAMA_LIKE.items() if key not in ("rope_theta", "rope_parameters")}
    assert model_of(LLAMA, old).rope_base == 10_000
    assert model_of(LLAMA, {**old, "rope_parameters": {"rope_theta": 500.0}}).rope_base == 500
    assert model_of(LLAMA, {**old, "rope_theta": 500.0, "rope_scaling": None}).rope_base == 500
    assert model_of(GPT2, {**GPT2_LIKE, "activation_function": "gelu_pytorch_tanh"}).activation == "gelu_tanh"


@pytest.mark.parametrize("layout", [GPT2, LLAMA], ids=["gpt2", "llama"])
def test_the_page_has_the_tables(layout):
    page = (Path(__file__).parents[1] / "docs" / "interchange.md").read_text("utf-8")
    assert [row for row in table_rows(layout) if row not in page] == []


def table_rows(layout):
    """The rows of a layout in docs/interchange.md."""
    for module in layout.modules:
        parts = ", ".join(f"`{part}`".replace("{i}", "N") for part in module.parts)
        yield f"| {parts} | `{module.name.replace('{i}', 'N')}` | {'yes' * module.transposed} |"
    for key in layout.keys:
        words = ", ".join(
            f"`{theirs}`" + f" for {ours}" * (ours != theirs) for ours, theirs in (key.words or {}).items()
        )
        yield f"| `{key.setting}` | `{key.name}`{': ' * bool(words)}{words} |"


def test_every_layout_has_a_name():
    assert [layout.name for layout in LAYOUTS.values()] == list(LAYOUTS)
