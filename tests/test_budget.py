"""A budget of seconds: a number of operations by a constant table, and so a number of steps."""

import pytest

from motegpt.api.gpt import GPT
from motegpt.config.epochs import merge_settings
from motegpt.config.presets import settings_of
from motegpt.config.sections import model_and_training
from motegpt.data.plan import DocumentPlan
from motegpt.engines import ENGINES, engine_class
from motegpt.engines.budget import (
    OPERATIONS_PER_SECOND,
    UPDATE,
    operations_per_second,
    operations_per_step,
    seconds_to_steps,
)
from motegpt.engines.cost import operations_per_token
from motegpt.errors import SettingError
from motegpt.model.spec import parameter_count
from tests.conftest import ENGINES_HERE

NAMES = [f"{a}{b}" for a in "abcdef" for b in ("nna", "lex", "ob", "ria", "m")]  # 30 of them
MODEL, TRAIN = model_and_training({**settings_of("microgpt"), "dtype": "float64"}, 27)
PLAN = DocumentPlan([[0, 1, 2, 0], [0, 1, 0], [0, 3, 0]], 2, "documents")  # 7 targets in 1.5 steps


def test_every_engine_here_is_in_the_table():
    assert {engine for engine, _, _ in OPERATIONS_PER_SECOND} == set(ENGINES)
    for name in ENGINES_HERE:
        kind = engine_class(name)
        assert all((name, kind.level(), dtype) in OPERATIONS_PER_SECOND for dtype in kind.dtypes)


def test_operations_of_a_step():
    positions = 7 / 3
    products = operations_per_token(MODEL, positions) * 7 / 1.5
    assert operations_per_step(MODEL, 2, positions, 0) == pytest.approx(
        products + UPDATE * parameter_count(MODEL)
    )


def test_seconds_are_whole_steps_of_the_table():
    step = operations_per_step(MODEL, 2, 7 / 3, 0) / operations_per_second("native", "avx2", "float64")
    assert seconds_to_steps(10.5 * step, "native", "avx2", MODEL, TRAIN.replace(batch_size=2), PLAN) == 10
    with pytest.raises(SettingError, match=r"seconds: expected at least .* got 1e-09; try `steps=1`"):
        seconds_to_steps(1e-9, "native", "avx2", MODEL, TRAIN, PLAN)


def test_changes_replace_the_length_and_steps_beat_seconds():
    assert merge_settings({"steps": 1000}, {"seconds": 2.0}) == {"seconds": 2.0}
    assert merge_settings({"seconds": 2.0}, {"epochs": 3.0}) == {"epochs": 3.0}
    few = {"preset": "microgpt", "engine": "array"}
    assert GPT.train(NAMES, steps=3, seconds=1e-9, **few).config.train.steps == 3
    assert GPT.train(NAMES, epochs=0.1, seconds=1e-9, **few).config.train.steps == 3


def test_the_run_records_steps_only(motegpt, tmp_path):
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    words = ("--preset", "microgpt", "--engine", "array", "--seconds", 0.01, "-n", 1, "--json")
    ended = motegpt("train", "names.txt", *words, "--out", "run")
    assert ended.code == 0, ended.err
    config = GPT.load(tmp_path / "run").config
    again = motegpt("train", "names.txt", *words, "--out", "again")
    assert ended.out.replace('"run": "run"', "") == again.out.replace('"run": "again"', "")
    assert 10 < config.train.steps < 1000
    assert "seconds" not in config.values()["train"]


@pytest.mark.parametrize(
    ("seconds", "message"),
    [
        (1e-12, "seconds: expected at least"),
        (0, "seconds: expected a number above 0 and at most 604,800, or none, got 0.0"),
        (1e6, "seconds: expected a number above 0 and at most 604,800, or none, got 1000000.0"),
    ],
)
def test_an_impossible_budget_is_one_line(motegpt, tmp_path, seconds, message):
    words = ("--preset", "microgpt", "--engine", "array", "--seconds", seconds, "--out", "run")
    ended = motegpt("train", *words)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert message in ended.err
    assert not (tmp_path / "run").exists()


def test_cost_needs_steps(motegpt):
    ended = motegpt("cost", "--vocab-size", 27, "--seconds", 4)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "seconds: expected --steps or --epochs" in ended.err
