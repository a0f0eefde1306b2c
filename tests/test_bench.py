"""The benchmark: it verifies before it times, and says what it measured."""

import json
import re
import sys

import numpy as np
import pytest

from motegpt.bench.generation import model_of
from motegpt.bench.machine import levels, multiply_add_peak
from motegpt.bench.measure import Figure, Time, peak_share, verify, why_busy
from motegpt.bench.work import WORKLOADS, operations, problem_of
from motegpt.data.corpus import read_corpus
from motegpt.engines import fresh_engine
from motegpt.errors import MotegptError


def microgpt(dtype="float64"):
    return problem_of(WORKLOADS["microgpt"], read_corpus(None), dtype)


@pytest.mark.parametrize("engine", ["array", "scalar"])
def test_a_right_engine_is_passed(engine):
    problem = microgpt()
    assert verify(fresh_engine(engine, problem.model, problem.train), problem) < 1e-12


def test_a_wrong_engine_is_not_timed():
    problem = microgpt()
    engine = fresh_engine("array", problem.model, problem.train)
    right = engine.gradients

    def wrong(batch):
        loss, gradients = right(batch)
        gradients["layer0.mlp_fc1"][3, 2] += 1e-3
        return loss, gradients

    engine.gradients = wrong
    with pytest.raises(MotegptError, match="not timed"):
        verify(engine, problem)


def test_operations_of_microgpt_by_hand():
    """Each weight of a product: a multiply and an add forward, twice that backward; and attention."""
    problem = microgpt()
    products = operations(problem) / problem.tokens / 6
    vocabulary = problem.model.vocab_size
    assert products - 16 * problem.tokens == pytest.approx(vocabulary * 16 + 12 * 16 * 16)


def test_a_figure_is_the_median_with_its_spread():
    assert Figure.of([3.0, 1.0, 2.0]) == Figure(2.0, 1.0, 3.0)


@pytest.mark.skipif(not levels(), reason="the core is not installed")
def test_the_peak_is_a_number_of_operations_per_second():
    for dtype in ("float32", "float64"):
        assert 1e8 < multiply_add_peak(dtype, levels()[0]) < 1e13


@pytest.mark.skipif(not levels(), reason="the core is not installed")
def test_the_core_names_what_it_cannot_measure():
    from motegpt.engines.native import _core

    assert _core.multiply_add("baseline", "float64", 10) % (2 * 10 * 2) == 0
    with pytest.raises(ValueError, match="expected one of levels"):
        _core.multiply_add("none", "float64", 1)
    with pytest.raises(ValueError, match="at least 0"):
        _core.multiply_add("baseline", "float64", -1)


def test_a_share_is_of_processor_time(monkeypatch):
    """Half of the time another program had the core: the share is that of the other half."""
    problem = microgpt()
    monkeypatch.setattr("motegpt.bench.measure.levels", lambda: ["avx2"])
    monkeypatch.setattr("motegpt.bench.measure.multiply_add_peak", lambda dtype, level: 1e9)
    idle, busy = [Time(1.0, 1.0)] * 3, [Time(2.0, 1.0)] * 3
    assert peak_share(problem, busy, None) == peak_share(problem, idle, None) == operations(problem) / 1e9
    assert peak_share(problem, busy, 1e9) == operations(problem) / 2.0 / 1e9


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ([(1.0, 1.0), (1.1, 1.09)], None),
        ([(1.0, 2.0), (1.1, 2.2)], None),  # two threads
        ([(1.0, 0.5), (1.0, 0.6)], "55% of a core"),
        ([(1.0, 1.0), (1.3, 1.3)], "high / low is 1.30"),
    ],
)
def test_a_busy_machine_is_reported(runs, message):
    assert why_busy([Time(*run) for run in runs]) == message


@pytest.mark.slow
def test_generation_is_timed_with_the_same_trained_model_on_every_engine():
    corpus, work = read_corpus(None), WORKLOADS["microgpt"]
    models = [model_of(work, engine, corpus, None, {}) for engine in ("array", "scalar")]
    texts, others = (model.generate(5, seed=1) for model in models)
    assert texts == others
    assert np.mean([len(text) for text in models[0].generate(200, seed=0)]) < 10
    assert {model.config.train.dtype for model in models} == {"float64"}


def test_workloads_have_the_default_dtype():
    assert {name: work.all_settings()["dtype"] for name, work in WORKLOADS.items()} == {
        **dict.fromkeys(WORKLOADS, "float32"), "microgpt": "float64"
    }  # fmt: skip
    assert WORKLOADS["microgpt"].all_settings("float32")["dtype"] == "float32"


@pytest.mark.slow
def test_json_has_every_figure(motegpt):
    ended = motegpt("bench", "--work", "zeroclaw", "--engine", "array", "--runs", 1, "--json")
    assert ended.code == 0, ended.err
    result = json.loads(ended.out)
    (row,) = result["rows"]
    assert {"processor", "python", "numpy", "motegpt", "compiler", "level"} <= result["machine"].keys()
    assert row["dtype"] == "float32"
    assert 0 < row["peak_share"] < 1
    assert row["step_seconds"]["low"] <= row["step_seconds"]["median"] <= row["step_seconds"]["high"]
    assert row["generated_per_second"]["median"] > 0
    assert 0 < row["generate_one_seconds"]["median"] < 1
    assert row["gradient_difference"] < 1e-3


@pytest.mark.slow
def test_a_table_row_fits_a_terminal(motegpt):
    engines = ("--engine", "array", "--engine", "native")
    ended = motegpt("bench", "--work", "zeroclaw", *engines, "--runs", 1)
    assert ended.code == 0
    assert all(len(line) <= 80 for line in ended.out.splitlines() if "processor:" not in line)
    assert re.search(r"time / native: array [\d.]+$", ended.out)


def test_a_peer_is_timed_alternately(motegpt):
    quick = f"{sys.executable} -c pass"
    ended = motegpt("bench", "--peer", f"python={quick}", "--ours", quick, "--runs", 2)
    assert ended.code == 0, ended.err
    assert "ratio: " in ended.out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--work", "none"], 2, "expected one of microgpt"),
        (["--peer", "x"], 2, "NAME=COMMAND"),
        (["--peer", 'x="'], 2, "cannot read the command"),
        (["--peer", "x=   "], 2, "empty"),
        (["--peer", "x=/no/such"], 1, "cannot run"),
        (["--peer", "x=false", "--ours", "true"], 1, "exit code 1"),
        (["--data", "none.txt"], 2, "no such file"),
    ],
    ids=str,
)
def test_usage_errors(motegpt, words, code, message):
    ended = motegpt("bench", *words, "--runs", 1)
    assert (ended.code, ended.err.count("\n")) == (code, 1)
    assert message in ended.err
