"""Statistics at logged steps: their values, they change nothing, and cost nothing elsewhere."""

import json
import math

import numpy as np
import pytest

from motegpt import GPT
from motegpt.data.plan import DocumentPlan
from motegpt.training import statistics
from motegpt.training.statistics import activation_statistics, fixed_batch
from tests.conftest import ENGINES_HERE, small_engine, small_settings

NAMES = ["anna", "bob", "carla", "dora", "emil", "hannah"]
TINY = {
    "preset": "microgpt",
    "n_embd": 4,
    "n_head": 2,
    "block_size": 6,
    "log_every": 4,
    "steps": 9,
    "seed": 3,
}
NGRAMS = {
    "ngram_orders": 3,
    "ngram_min_count": 1,
    "ngram_dropout": 0.3,
    "dropout": 0.2,
    "ngram_weight_decay": 1.0,
}


def trained(engine, **settings):
    dtype = {} if engine == "scalar" else {"dtype": "float64"}
    return GPT.train(NAMES, engine=engine, **{**TINY, **dtype, **settings})


def watched(model):
    return [one.statistics for one in model.records]


@pytest.mark.parametrize("engine", ENGINES_HERE)
def test_they_change_no_bit_of_the_training(engine):
    settings = {**NGRAMS, "val_fraction": 0.2, "eval_every": 3, "clip_norm": 0.5}
    plain, seen = trained(engine, **settings), trained(engine, log_statistics=True, **settings)
    without = [{**one.values()} for one in plain.records]
    assert [
        {name: value for name, value in one.values().items() if "/" not in name} for one in seen.records
    ] == without
    for name, values in plain.parameters.items():
        np.testing.assert_array_equal(seen.parameters[name], values)
    assert watched(plain) == [None] * len(without)
    assert None not in watched(seen)


@pytest.mark.parametrize("engine", ENGINES_HERE)
def test_engines_agree(engine):
    expected, found = (watched(trained(one, log_statistics=True, **NGRAMS)) for one in ("array", engine))
    for a, b in zip(expected, found, strict=True):
        assert b == {name: pytest.approx(value, rel=1e-6, abs=1e-9) for name, value in a.items()}


def test_the_update_of_sgd_is_lr_times_the_gradient():
    model = trained("array", log_statistics=True, optimizer="sgd", momentum=0.0, lr=0.1)
    for record in model.records:
        found = record.statistics
        for name in model.parameters:
            update = found[f"update_ratio/{name}"] * found[f"weight_norm/{name}"]
            assert update == pytest.approx(record.lr * found[f"gradient_norm/{name}"], rel=1e-9)
    for name, values in model.parameters.items():
        assert found[f"weight_norm/{name}"] == pytest.approx(np.linalg.norm(values), rel=1e-12)


def test_gradients_are_those_before_clipping():
    free, clipped = (
        watched(trained("array", log_statistics=True, **more)) for more in ({}, {"clip_norm": 0.01})
    )
    assert clipped[0]["gradient_norm/wte"] == free[0]["gradient_norm/wte"]


def test_rows_without_a_token_have_no_gradient():
    model = trained("array", log_statistics=True, block_size=16)
    assert 0 < watched(model)[0]["gradient_zeros/wte"] < 1
    assert watched(model)[0]["gradient_zeros/wpe"] >= (16 - 8) / 16


def still_engine():
    """An engine whose layer adds nothing: uniform attention, hidden channels that are all 0."""
    engine = small_engine("array", small_settings(log_statistics=True))
    values = engine.parameters()
    for name in ("attn_wq", "attn_wo", "mlp_fc1", "mlp_fc2"):
        values[f"layer0.{name}"] = np.zeros_like(values[f"layer0.{name}"])
    engine.load(values)
    return engine, values


def test_activations_of_a_layer_that_adds_nothing():
    engine, values = still_engine()
    found = activation_statistics(engine, values, [[0, 1, 2, 3], [4, 5]])
    assert found["dead/layer0"] == 1.0
    assert found["rms/layer0.attn_out"] == found["rms/layer0.mlp_out"] == 0.0
    assert found["rms/layer0.resid_pre"] == found["rms/layer0.resid_post"] == pytest.approx(1.0, abs=1e-3)
    uniform = np.mean([math.log(2), math.log(3), math.log(4), math.log(2)])
    assert found["attention_entropy/layer0.head0"] == pytest.approx(uniform, rel=1e-12)
    assert activation_statistics(engine, values, [[0]])["attention_entropy/layer0.head0"] == 0.0


def test_a_channel_that_is_active_somewhere_is_not_dead():
    engine, values = still_engine()
    values["layer0.mlp_fc1"][0] = 1.0
    values["layer0.mlp_fc1"][1] = -1.0
    shares = {activation_statistics(engine, values, [[i] for i in range(n)])["dead/layer0"] for n in (6,)}
    assert shares <= {30 / 32, 31 / 32}


def test_padding_does_not_count():
    engine = small_engine("array", small_settings())
    rows = [[0, 1, 2, 3, 4], [5], [2, 1]]
    together = activation_statistics(engine, engine.parameters(), rows)
    squares = [
        activation_statistics(engine, engine.parameters(), [row])["rms/layer0.attn_out"] ** 2 for row in rows
    ]
    mean = np.average(squares, weights=[len(row) for row in rows])
    assert together["rms/layer0.attn_out"] == pytest.approx(math.sqrt(mean), rel=1e-12)


@pytest.mark.parametrize("activation", ["gelu", "swiglu", "squared_relu"])
def test_only_relus_die(activation):
    engine = small_engine("array", small_settings(activation=activation, n_layer=2))
    found = activation_statistics(engine, engine.parameters(), [[0, 1]])
    assert ("dead/layer1" in found) == (activation == "squared_relu")


def test_the_fixed_batch_is_short():
    plan = DocumentPlan([[0, 1, 2, 0], [0, 1, 0]], 1, "documents")
    assert sum(map(len, fixed_batch(plan))) == statistics.POSITIONS
    assert fixed_batch(plan)[:2] == [[0, 1, 2], [0, 1]]


def test_without_the_setting_nothing_is_computed(monkeypatch):
    monkeypatch.setattr(statistics, "Watch", None)
    trained("array")
    with pytest.raises(TypeError):
        trained("array", log_statistics=True)


def test_only_logged_steps_are_watched(monkeypatch):
    steps, watch = [], statistics.Watch
    monkeypatch.setattr(
        statistics, "Watch", lambda engine, plan, step: steps.append(step) or watch(engine, plan, step)
    )
    model = trained("array", log_statistics=True, val_fraction=0.2, eval_every=3)
    assert [step + 1 for step in steps] == [one.step for one in model.records] == [1, 3, 4, 6, 8, 9]


def test_a_run_has_them_in_its_records_and_resumes(tmp_path, motegpt):
    settings = ("--engine", "array", "--n-embd", 4, "--log-every", 4, "--log-statistics")
    motegpt("train", *settings, "--steps", 12, "--out", "whole")
    motegpt("train", *settings, "--steps", 12, "--until", 6, "--out", "parts")
    motegpt("train", "--resume", "parts")
    assert (tmp_path / "parts/metrics.jsonl").read_bytes() == (tmp_path / "whole/metrics.jsonl").read_bytes()
    last = json.loads((tmp_path / "whole/metrics.jsonl").read_text().splitlines()[-1])
    assert last["step"] == 12
    assert last["update_ratio/layer0.attn_wq"] > 0


def test_a_picture_has_a_curve_for_each_tensor(tmp_path, motegpt):
    pytest.importorskip("matplotlib")
    from motegpt.plots.statistics import statistic_figure
    from motegpt.views.runs import Run

    GPT.train(NAMES, out=tmp_path / "run", engine="array", log_statistics=True, **TINY)
    run = Run.read(str(tmp_path / "run"))
    (axes,) = statistic_figure(run, "update_ratio").axes
    for line in axes.lines:
        steps, values = line.get_data()
        assert list(steps) == [record["step"] for record in run.records]
        assert list(values) == [record[f"update_ratio/{line.get_label()}"] for record in run.records]
    assert {line.get_label() for line in axes.lines} == GPT.load(tmp_path / "run").parameters.keys()
    assert motegpt("plot", "run", "--statistic", "rms", "--x", "tokens").out == "run-statistic-rms.png\n"
    assert "it has gradient_norm, gradient_zeros" in motegpt("plot", "run", "--statistic", "size").err
    assert "got both" in motegpt("plot", "run", "--statistic", "rms", "--attention", "a").err
    GPT.train(NAMES, out=tmp_path / "plain", engine="array", **TINY)
    assert "train with --log-statistics" in motegpt("plot", "plain", "--statistic", "rms").err
