"""Frozen tensors and learning rates by group, on every engine."""

import json
from functools import cache

import numpy as np
import pytest

from motegpt import GPT, SettingError
from motegpt.config.sections import TrainConfig, model_and_training
from motegpt.data.plan import DocumentPlan
from motegpt.engines import engine_class, why_unavailable
from motegpt.model.rng import make_rng
from motegpt.model.spec import initialize, tensors
from motegpt.ngrams.contexts import Contexts
from motegpt.optim.groups import FROZEN, groups_of
from tests.conftest import (
    ARCHITECTURES,
    ENGINES_HERE,
    VOCABULARY,
    random_sequences,
    small_settings,
)

NAMES = ["anna", "bob", "carla", "dora", "emil", "hannah"]
TINY = {"preset": "microgpt", "n_embd": 4, "n_head": 2, "block_size": 6, "steps": 6, "log_every": 3}
NATIVE = pytest.mark.skipif(why_unavailable("native") is not None, reason="the core was not built")
STEPS = 9  # beyond the first decay of tables
NGRAMS = {"ngram_orders": 3, "ngram_weight_decay": 3.0}
MIXED = {"frozen": ["wte", "*attn_wk*", "ngram3"], "lr_scale": ["*=0.5", "layer0.mlp_fc1=2", "ngram2=0.25"]}
OPTIMIZERS = {
    "adam": {"weight_decay": 0.1, "clip_norm": 0.7},
    "folded": {"adam": "folded", "clip_value": 0.05},
    "sgd": {"optimizer": "sgd", "lr": 0.1, "weight_decay": 0.1, "clip_norm": 0.5},
}


def run(name, settings, count=STEPS, parts=1):
    """An engine after some steps on 2 sequences per step, trained in parts; and its initial parameters."""
    model, train = model_and_training({**settings, "batch_size": 2, "steps": 20}, VOCABULARY)
    sequences = random_sequences(1, 8, model.block_size)
    plan = DocumentPlan(sequences, 2, "documents")
    contexts = Contexts.of_plan(plan, 3, 1) if model.ngram_orders else Contexts()
    model = model.replace(ngram_rows=contexts.sizes)
    engine = engine_class(name)(model, train, contexts)
    chance = np.random.default_rng(0)
    start = {
        one.name: np.reshape(values, one.shape) + 0.1 * chance.standard_normal(one.shape)
        for one, values in zip(tensors(model), initialize(model, make_rng("python", 5)).values(), strict=True)
    }
    engine.load(start)
    for part in range(parts):
        first, last = (count * at // parts for at in (part, part + 1))
        engine.train(plan, first, last - first)
    return engine, start


def settings_for(architecture, **changes):
    small = {"n_embd": 4, "block_size": 5}
    return small_settings(**{**small, **ARCHITECTURES.get(architecture, {}), **changes})


@cache
def reference(architecture, optimizer):
    """What the scalar engine computes."""
    return run("scalar", settings_for(architecture, **NGRAMS, **MIXED, **OPTIMIZERS[optimizer]))[0].export()


@pytest.mark.parametrize("name", ENGINES_HERE)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_frozen_tensor_keeps_every_bit(name, optimizer):
    engine, start = run(name, settings_for("rms", **NGRAMS, **MIXED, **OPTIMIZERS[optimizer]))
    after, slots = engine.parameters(), engine.export().slots
    frozen = {one for one, group in engine.groups.of.items() if group == FROZEN}
    assert frozen == {"wte", "layer0.attn_wk", "layer0.attn_wk_bias", "ngram3"}
    for one, values in after.items():
        before = start[one].astype(values.dtype)
        if one in frozen:
            np.testing.assert_array_equal(values, before, err_msg=one)
            assert not any(slot[one].any() for slot in slots.values()), one
        else:
            assert (values != before).any(), one


@pytest.mark.parametrize("name", ENGINES_HERE[1:])
@pytest.mark.parametrize(
    ("architecture", "optimizer"), [*(("rms", optimizer) for optimizer in OPTIMIZERS), ("gpt2", "adam")]
)
def test_engines_agree(name, optimizer, architecture):
    settings = settings_for(architecture, **NGRAMS, **MIXED, **OPTIMIZERS[optimizer])
    expected, found = reference(architecture, optimizer), run(name, settings)[0].export()
    for tensor, values in expected.parameters.items():
        np.testing.assert_allclose(found.parameters[tensor], values, rtol=1e-9, atol=1e-11, err_msg=tensor)
    for slot, arrays in expected.slots.items():
        for tensor, values in arrays.items():
            np.testing.assert_allclose(found.slots[slot][tensor], values, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("name", ENGINES_HERE)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_scale_of_all_tensors_is_another_learning_rate(name, optimizer):
    chosen = settings_for(
        "today", **{"lr": 0.02, **OPTIMIZERS[optimizer]}, schedule="cosine", lr_min=0.002, **NGRAMS
    )
    scaled = {**chosen, "lr_scale": ["*=0.3"]}
    slower = {**chosen, "lr": chosen["lr"] * 0.3, "lr_min": chosen["lr_min"] * 0.3}
    a, b = (run(name, settings)[0].export() for settings in (scaled, slower))
    for tensor, values in a.parameters.items():
        np.testing.assert_array_equal(b.parameters[tensor], values)


@pytest.mark.parametrize("name", ENGINES_HERE)
def test_a_scale_of_one_changes_nothing(name):
    chosen = settings_for("today", **NGRAMS, clip_norm=0.5)
    a, b = (
        run(name, {**chosen, **more})[0].parameters() for more in ({}, {"lr_scale": ["weight=1", "wte=1.0"]})
    )
    for tensor, values in a.items():
        np.testing.assert_array_equal(b[tensor], values)


@pytest.mark.parametrize("name", ENGINES_HERE)
def test_the_norm_that_is_limited_is_that_of_the_trained_tensors(name):
    """Of SGD without momentum, the first update is then lr · clip_norm long."""
    sgd = {"optimizer": "sgd", "momentum": 0.0, "lr": 0.5, "schedule": "constant", "clip_norm": 0.01}
    engine, start = run(name, settings_for("today", frozen=["lm_head", "wte"], **sgd), count=1)
    moved = [engine.parameters()[one] - values for one, values in start.items()]
    assert np.sqrt(sum(float(np.square(part).sum()) for part in moved)) == pytest.approx(0.5 * 0.01, rel=1e-9)


@pytest.mark.parametrize("name", ENGINES_HERE)
def test_chunks_and_loading_change_nothing(name):
    settings = settings_for("rms", **NGRAMS, **MIXED, **OPTIMIZERS["adam"])
    whole, parts = (run(name, settings, parts=parts)[0].export() for parts in (1, 4))
    for tensor, values in whole.parameters.items():
        np.testing.assert_array_equal(parts.parameters[tensor], values)


@NATIVE
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("width", [4, 12, 40, 72])
def test_the_core_freezes_parts_of_its_joined_matrices(dtype, width):
    """Queries, keys and values are one matrix of the core, their biases one row, at every level."""
    from motegpt.engines.native import _core

    frozen = ["layer0.attn_wk", "layer0.attn_wq_bias", "layer0.mlp_gate_bias", "layer0.mlp_fc1", "ngram2"]
    for level in _core.levels():
        for threads in (1, 2):
            settings = settings_for(
                "rms", n_embd=width, n_kv_head=1, dtype=dtype, level=level, threads=threads,
                frozen=frozen, lr_scale=["gain=2", "*_wv*=0.5"], **NGRAMS,
                **OPTIMIZERS["adam" if dtype == "float64" else "sgd"],  # Adam divides noise by noise
            )  # fmt: skip
            native, start = run("native", settings)
            array, _ = run("array", {**settings, "dtype": "float64", "level": None, "threads": None})
            for tensor, values in array.parameters().items():
                near = {"float64": 1e-9, "float32": 2e-3}[dtype]
                np.testing.assert_allclose(
                    native.parameters()[tensor], values, rtol=near, atol=near, err_msg=tensor
                )
            for tensor in frozen:
                np.testing.assert_array_equal(native.parameters()[tensor], start[tensor].astype(dtype))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("wte, layer0.*", ("wte", "layer0.*")),
        (["wte"], ("wte",)),
        (("wte", "wpe"), ("wte", "wpe")),
        (None, None),
    ],
)
def test_forms_of_frozen(given, expected):
    assert GPT.train(NAMES, engine="array", frozen=given, **TINY).config.train.frozen == expected


@pytest.mark.parametrize(
    "given",
    [{"embedding": 0.1, "layer0.*": 2}, "embedding=0.1,layer0.*=2", ["embedding=0.1", "layer0.*=2"]],
    ids=str,
)
def test_forms_of_lr_scale(given):
    train = GPT.train(NAMES, engine="array", lr_scale=given, **TINY).config.train
    assert train.lr_scales == [("embedding", 0.1), ("layer0.*", 2.0)]
    assert TrainConfig.of(train.values()) == train


REFUSED = {
    "a misspelled tensor": ({"frozen": ["wtee"]}, r"frozen: expected tensors.*'wtee'.*did you mean wte\?"),
    "a misspelled role": ({"lr_scale": {"embeding": 0.1}}, "lr_scale: .*did you mean embedding"),
    "a layer too many": ({"frozen": "layer1.*"}, r"got 'layer1\.\*', which none matches; the model has wte,"),
    "everything": ({"frozen": ["*"]}, "frozen: expected a tensor that is left to train, got all"),
    "no number": ({"lr_scale": ["wte"]}, "lr_scale: expected a list of at most 100 texts NAME=NUMBER, with"),
    "zero": ({"lr_scale": {"wte": 0}}, "lr_scale: expected a list of at most 100 texts"),
    "infinity": ({"lr_scale": {"wte": float("inf")}}, "lr_scale: expected a list of at most 100 texts"),
    "a number": ({"frozen": 3}, "frozen: expected a list of at most 100 texts, or none, got 3"),
    "a thousand": ({"frozen": ["wte"] * 1000}, "frozen: expected a list of at most 100 texts, or none"),
    "numbers": ({"frozen": [3]}, "frozen: expected a list of at most 100 texts, or none"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case, tmp_path):
    settings, message = REFUSED[case]
    with pytest.raises(SettingError, match=message):
        GPT.train(NAMES, engine="array", out=tmp_path / "run", **settings, **TINY)
    assert not (tmp_path / "run").exists()


def test_the_last_factor_that_matches_counts():
    model, train = model_and_training(small_settings(lr_scale=["*=0.5", "wte=3", "embedding=2"]), VOCABULARY)
    groups = groups_of(model, train)
    rates = {name: groups.settings_of(name).lr / train.lr for name in groups.of}
    assert rates["wte"] == rates["wpe"] == pytest.approx(2.0)
    assert rates["lm_head"] == rates["layer0.attn_wq"] == pytest.approx(0.5)


def test_a_run_is_resumed_and_unfrozen_by_the_command_line(motegpt, tmp_path):
    common = ("--engine", "array", "--n-embd", 4, "--log-every", 4)
    flags = ("--frozen", "wte,layer0.attn_*", "--lr-scale", "embedding=0.5,weight=2")
    motegpt("train", *common, *flags, "--steps", 12, "--out", "whole")
    motegpt("train", *common, *flags, "--steps", 12, "--until", 5, "--out", "parts")
    motegpt("train", "--resume", "parts", "--until", 9)
    motegpt("train", "--resume", "parts", "--engine", "scalar", "--until", 10)
    assert json.loads((tmp_path / "parts/config.json").read_text())["train"]["frozen"] == [
        "wte",
        "layer0.attn_*",
    ]
    motegpt("train", "--resume", "parts", "--engine", "array")
    whole, parts = (GPT.load(tmp_path / one).parameters for one in ("whole", "parts"))
    for name, values in whole.items():
        np.testing.assert_allclose(parts[name], values, rtol=1e-9, atol=1e-12)
    ended = motegpt("train", "--resume", "parts", "--frozen", "none", "--steps", 20)
    assert ended.code == 0, ended.err
    assert (GPT.load(tmp_path / "parts").parameters["wte"] != whole["wte"]).any()
    ended = motegpt("train", "--steps", 1, "--frozen", "wtee")
    assert ended.code == 2
    assert "did you mean wte?" in ended.err


@NATIVE
def test_as_many_factors_as_the_setting_takes():
    names = [f"layer{i}.{one}" for i in range(26) for one in ("attn_wq", "attn_wk", "attn_wv", "attn_wo")]
    factors = {name: 1 + (i + 1) / 128 for i, name in enumerate(names[:100])}
    settings = small_settings(n_layer=26, n_embd=2, n_head=1, block_size=2, lr_scale=factors)
    model, train = model_and_training(settings, VOCABULARY)
    engine = engine_class("native")(model, train)
    assert len(engine.groups.settings) == 101
    with pytest.raises(SettingError, match="lr_scale"):
        train.replace(lr_scale={**factors, names[100]: 3})


def test_fine_tuning_with_frozen_layers():
    model = GPT.train(NAMES, engine="array", n_layer=2, **TINY)
    tuned = model.fine_tune(["nora", "lena"], preset="microgpt", steps=4, frozen=["embedding", "layer0.*"])
    changed = {name for name, values in tuned.parameters.items() if (values != model.parameters[name]).any()}
    assert changed == {name for name in model.parameters if name.startswith(("layer1", "lm_head"))}
