"""The specification is the one list of tensors: a tensor added to it is found everywhere."""

import json
import re
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest

from motegpt import GPT
from motegpt.cli.summary import sizes
from motegpt.config.sections import ModelConfig, model_and_training
from motegpt.data.plan import DocumentPlan
from motegpt.engines import cost, make_engine, why_unavailable
from motegpt.engines.base import Snapshot
from motegpt.errors import RunFolderError, SettingError
from motegpt.evaluation.gradcheck import check_engine
from motegpt.model import spec as parameters
from motegpt.model.rng import make_rng
from motegpt.model.spec import ONES, ZEROS, Role, Tensor, initialize, named_views, normal, tensors
from tests.conftest import (
    ENGINES_HERE,
    VOCABULARY,
    random_batch,
    random_sequences,
    small_engine,
    small_settings,
)
from tests.tolerances import LOSSES, relative_error

ADDED = (
    Tensor("gain", (3,), Role.GAIN, ONES, "extra"),
    Tensor("layer0.bias", (5,), Role.BIAS, ZEROS, "extra"),
    Tensor("layer0.kernel", (2, 3, 2), Role.WEIGHT, normal(0.5), "extra"),
    Tensor("factor", (2, 4), Role.WEIGHT, normal(0.5), "extra", products=2),
)
SIZE = 3 + 5 + 12 + 8
CARRIES_ANY = [name for name in ENGINES_HERE if name != "native"]
needs_core = pytest.mark.skipif(why_unavailable("native") is not None, reason="the core was not built")


def small_model(**changes):
    return model_and_training(small_settings(**changes), VOCABULARY)[0]


@pytest.fixture
def added(monkeypatch):
    """Every model has the tensors of ADDED too, after its own."""
    own = parameters._tensors
    monkeypatch.setattr(parameters, "_tensors", lambda model: [*own(model), *ADDED])


def test_an_added_tensor_counts(added, monkeypatch):
    model = small_model()
    assert tensors(model)[-len(ADDED) :] == ADDED
    with_added = parameters.parameter_count(model), cost.product_count(model), cost.gathered_count(model)
    groups = sizes(model)
    monkeypatch.undo()
    model = small_model()  # one keeps its tensors
    assert with_added == (
        parameters.parameter_count(model) + SIZE,
        cost.product_count(model) + 2 * 8,
        cost.gathered_count(model) + SIZE,
    )
    assert groups == {**sizes(model), "extra": SIZE}


def test_an_added_tensor_has_initial_values_and_a_view(added):
    model = small_model()
    values = initialize(model, make_rng("python", 1))
    assert list(values["gain"]) == [1.0] * 3
    assert list(values["layer0.bias"]) == [0.0] * 5
    assert 0.1 < np.std(values["layer0.kernel"]) < 1
    flat = np.arange(parameters.parameter_count(model))
    views = named_views(flat, model)
    assert {name: view.shape for name, view in views.items()} == {
        one.name: one.shape for one in tensors(model)
    }
    assert np.concatenate([view.ravel() for view in views.values()]).tolist() == flat.tolist()
    views["layer0.kernel"][1, 2, 1] = -1
    assert flat[-8 - 1] == -1


@pytest.mark.parametrize("name", CARRIES_ANY)
def test_engines_carry_an_added_tensor(added, name):
    settings = small_settings(weight_decay=0.1, steps=3)
    engine, plain = small_engine(name, settings), small_engine("array", settings)
    w = engine.export().parameters
    assert {one.name: one.shape for one in tensors(engine.model)} == {key: x.shape for key, x in w.items()}
    loss, gradients = engine.gradients(random_batch(1))
    assert loss == pytest.approx(plain.gradients(random_batch(1))[0])
    assert not any(gradients[one.name].any() for one in ADDED)
    engine.train(DocumentPlan(random_sequences(2, 9, 6), 2, "documents"), 0, 3)
    state = engine.export()
    after = state.parameters
    again = make_engine(name, engine.model, engine.settings)
    again.load(Snapshot({key: x.ravel() for key, x in after.items()}, state.slots))
    for key, x in again.export().parameters.items():
        np.testing.assert_array_equal(x, after[key])
    with pytest.raises(ValueError, match=r"load: layer0.kernel expected shape \(2, 3, 2\), got "):
        engine.load({**w, "layer0.kernel": np.zeros(11)})


def test_the_scalar_engine_names_each_number(added):
    engine = small_engine("scalar", small_settings())
    names = list(engine.names().values())
    assert names[0] == "wte[0,0]"
    assert names[-SIZE:][:4] == ["gain[0]", "gain[1]", "gain[2]", "layer0.bias[0]"]
    assert names[-9] == "layer0.kernel[1,2,1]"
    assert engine.values()["layer0.kernel"] == engine.export().parameters["layer0.kernel"].tolist()


@needs_core
def test_the_native_engine_refuses_a_tensor_that_it_does_not_know(added):
    reason = r"native engine does not compute with \w+.*`engine='array'`"
    with pytest.raises(SettingError, match=reason) as one:
        make_engine("native", *model_and_training(small_settings(), VOCABULARY))
    assert "\n" not in str(one.value)


@needs_core
@pytest.mark.parametrize("shape", [(8,), (1, 8), (7,)])
@pytest.mark.parametrize("name", ["layer0.ln1_gain", "layer0.ln2_bias", "layer1.ln1_gain", "ln1_gain", "z"])
def test_the_native_engine_refuses_a_vector_that_no_operation_takes(monkeypatch, name, shape):
    own, extra = parameters._tensors, Tensor(name, shape, Role.GAIN, ONES, "extra")
    monkeypatch.setattr(parameters, "_tensors", lambda model: [*own(model), extra])
    with pytest.raises(SettingError, match=f"the native engine does not compute with {name};"):
        make_engine("native", *model_and_training(small_settings(n_layer=2), VOCABULARY))


@pytest.mark.parametrize("name", CARRIES_ANY)
def test_the_gradient_check_sees_an_added_tensor(added, name):
    shape = {"n_layer": 1, "n_embd": 4, "n_head": 2, "block_size": 4}
    checks = list(check_engine(name, "microgpt", shape, seed=1))
    assert all(check.passed for check in checks)
    assert {one.name for one in ADDED} <= {check.parameter for check in checks}


def test_a_run_holds_an_added_tensor(added, monkeypatch, tmp_path):
    GPT.train(["anna", "bob"], engine="array", steps=2, preset="microgpt").save(tmp_path / "run")
    loaded = GPT.load(tmp_path / "run", engine="scalar")
    assert loaded.engine.export().parameters["layer0.kernel"].shape == (2, 3, 2)
    monkeypatch.undo()
    with pytest.raises(RunFolderError, match="safetensors: "):
        GPT.load(tmp_path / "run")


@pytest.mark.parametrize("update", [{"adam": "corrected"}, {"adam": "folded"}, {"optimizer": "sgd"}], ids=str)
@pytest.mark.parametrize("name", ENGINES_HERE)
def test_the_role_decides_on_weight_decay(monkeypatch, name, update):
    monkeypatch.setattr(parameters, "DECAYED", frozenset({Role.EMBEDDING}))
    plan = DocumentPlan(random_sequences(2, 9, 6), 2, "documents")
    settings = small_settings(**update, schedule="constant", lr=0.1)
    before = small_engine(name, settings).export().parameters
    without, decayed = (
        trained(name, {**settings, "weight_decay": weight_decay}, plan) for weight_decay in (0.0, 0.5)
    )
    for key, w in decayed.items():
        shrunk = 0.1 * 0.5 * before[key] if key in ("wte", "wpe") else 0.0
        assert relative_error(w, without[key] - shrunk) < LOSSES["float64"], key


def trained(name, settings, plan):
    """The parameters after one step."""
    engine = small_engine(name, settings)
    engine.train(plan, 0, 1)
    return engine.export().parameters


@pytest.mark.parametrize(
    ("tied", "zero_init", "n_layer"), [(False, False, 1), (True, False, 3), (False, True, 2)]
)
def test_no_draw_depends_on_what_other_tensors_start_as(tied, zero_init, n_layer):
    model = small_model(tied=tied, zero_init=zero_init, n_layer=n_layer)
    values, rng = initialize(model, make_rng("python", 3)), make_rng("python", 3)
    for tensor in tensors(model):
        draws = [rng.gauss(0.0, model.init_std) for _ in range(tensor.size)]
        zero = zero_init and tensor.name.endswith(("attn_wo", "mlp_fc2"))
        assert list(values[tensor.name]) == ([0.0] * tensor.size if zero else draws)


ROW = re.compile(r"\| `([^`]+)` \| \(([^)]+)\) \| (\w+) \| ([\w ]+) \| (\d) \| (.+) \|")
CONDITION = re.compile(r"`(\w+)(?: = ([\w\"]+))?`")
ARCHITECTURES_LISTED = [
    {"qk_norm": True, "bias": True, "norm_gain": True, "norm_bias": True, "final_norm": True,
     "activation": "swiglu", "n_kv_head": 1},
    {}, {"tied": True, "position": "none"}, {"bias": True, "norm": "layer", "norm_bias": True, "n_hidden": 3},
    {"activation": "swiglu", "final_norm": True, "norm_gain": True}, {"norm": "none", "position": "rope"},
]  # fmt: skip


@pytest.mark.parametrize("changes", ARCHITECTURES_LISTED, ids=str)
@pytest.mark.parametrize("n_layer", [1, 3])
def test_the_notation_lists_the_tensors(n_layer, changes):
    model = small_model(**{"n_layer": n_layer, "tied": False, **changes})
    rows = ROW.findall((Path(__file__).parent.parent / "docs/notation.md").read_text())
    rows = [row for row in rows if all(has(model, *one) for one in CONDITION.findall(row[-1]))]
    first = next(i for i, row in enumerate(rows) if row[0].startswith("layer{i}."))
    layer = [row for row in rows if row[0].startswith("layer{i}.")]
    layers = [(row[0].format(i=i), *row[1:]) for i in range(n_layer) for row in layer]
    written = [*rows[:first], *layers, *rows[first + len(layer) :]]
    assert [
        (name, shape_of(shape, model), role, group, int(products) + (model.tied and name == "wte"))
        for name, shape, role, group, products, _ in written
    ] == [(one.name, one.shape, one.role.value, one.group, one.products) for one in tensors(model)]


def has(model: ModelConfig, setting: str, value: str) -> bool:
    """Whether a model has a setting: one that is on, or of that value."""
    return getattr(model, setting) == (json.loads(value) if value else True)


def shape_of(text: str, model: ModelConfig) -> tuple[int, ...]:
    letters = {"V": model.vocab_size, "C": model.n_embd, "F": model.mlp_size, "K D": model.kv_size, "1": 1}
    letters["block_size"] = model.block_size
    return tuple(letters[letter] for letter in text.split(", "))


@pytest.mark.parametrize("position", ["learned", "rope"])
@pytest.mark.parametrize("qk_norm", [False, True])
def test_a_tensor_is_there_only_where_it_is_used(position, qk_norm):
    names = [one.name for one in tensors(small_model(position=position, qk_norm=qk_norm, n_layer=2))]
    assert ("wpe" in names) == (position == "learned")
    assert [name for name in names if "gain" in name] == [
        f"layer{i}.attn_q_gain" for i in range(2) if qk_norm
    ]


def test_gains_start_at_two_and_are_not_decayed():
    model = small_model(qk_norm=True)
    assert list(initialize(model, make_rng("python", 1))["layer0.attn_q_gain"]) == [2.0]
    assert {one.name for one in tensors(model) if not one.decayed} == {"layer0.attn_q_gain"}


@pytest.mark.parametrize(("n_embd", "n_head", "fitting"), [(6, 2, 8), (3, 3, 6), (15, 5, 20), (1, 1, 2)])
def test_heads_of_an_odd_width_cannot_be_rotated(n_embd, n_head, fitting):
    assert small_model(n_embd=n_embd, n_head=n_head).head_size % 2
    with pytest.raises(SettingError, match=f"n_embd: expected an even multiple .*; try `n_embd={fitting}`"):
        small_model(n_embd=n_embd, n_head=n_head, position="rope")
    assert small_model(n_embd=fitting, n_head=n_head, position="rope").head_size % 2 == 0


def test_the_flat_order_is_that_of_the_list():
    model = small_model(n_layer=2)
    starts = [0, *accumulate(one.size for one in tensors(model))]
    for start, view in zip(starts, named_views(np.arange(starts[-1]), model).values(), strict=False):
        assert view.flat[0] == start
