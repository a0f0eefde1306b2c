"""The benchmark: it verifies before it times, and says what it measured."""

import json
import sys

import pytest

from motegpt.bench.machine import matrix_peak
from motegpt.bench.measure import Figure, verify
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


def test_a_peak_is_a_plausible_speed():
    assert 1e8 < matrix_peak("float64") < 1e13


@pytest.mark.slow
def test_json_has_every_figure(motegpt):
    ended = motegpt("bench", "--work", "zeroclaw", "--engine", "array", "--runs", 1, "--json")
    assert ended.code == 0, ended.err
    result = json.loads(ended.out)
    (row,) = result["rows"]
    assert {"processor", "python", "numpy", "motegpt", "compiler", "level"} <= result["machine"].keys()
    assert row["dtype"] == "float32"
    assert row["step_seconds"]["low"] <= row["step_seconds"]["median"] <= row["step_seconds"]["high"]
    assert row["generated_per_second"]["median"] > 0
    assert row["gradient_difference"] < 1e-3


@pytest.mark.slow
def test_a_table_row_fits_a_terminal(motegpt):
    ended = motegpt("bench", "--work", "zeroclaw", "--engine", "array", "--runs", 1)
    assert ended.code == 0
    assert all(len(line) <= 80 for line in ended.out.splitlines() if "processor" not in line)


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
