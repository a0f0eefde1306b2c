"""The table of a sweep and the points it expands to."""

import json
import math
import subprocess
import sys
import tomllib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motegpt.config.presets import PRESETS, expected_settings
from motegpt.errors import SettingError
from motegpt.sweeps.expansion import expand
from motegpt.sweeps.keys import identity, key_of
from motegpt.sweeps.table import Table

EXAMPLE = """
name = "lr-width"
data = "names.txt"
preset = "microgpt"
[fixed]
steps = 1000
val_fraction = 0.1
[grid]
n_embd = [8, 16, 32, 64]
lr = {log_from = 1e-3, log_to = 1e-1, points = 7}
[random]
samples = 3
seed = 0
weight_decay = {log_uniform = [1e-3, 1.0]}
[[together]]
n_layer = [1, 2, 4]
batch_size = [32, 16, 8]
[[where]]
when = {n_embd = 64}
n_head = [4, 8]
[repeat]
seed = {from = 0, to = 9}
"""


def points(engine="array", data="", **written):
    return list(expand(Table.of({"preset": "microgpt", **written}), engine, data).values())


def values(name, **written):
    return sorted({point[name] for point in points(**written)})


def test_the_example_expands_to_every_combination():
    table = Table.of(tomllib.loads(EXAMPLE))
    found = list(expand(table, "native").values())
    widths, rates, layers, samples, seeds = 3 + 2, 7, 3, 3, 10  # width 64 has two numbers of heads
    assert len(found) == widths * rates * layers * samples * seeds
    assert table.varied == ["n_embd", "lr", "n_layer", "batch_size", "weight_decay", "n_head"]
    assert {point["n_embd"] for point in found if "n_head" in point} == {64}
    assert {(point["n_layer"], point["batch_size"]) for point in found} == {(1, 32), (2, 16), (4, 8)}
    assert sorted({one["lr"] for one in found})[:4] == [0.001, 0.00215443, 0.00464159, 0.01]
    assert all(point["steps"] == 1000 and point["engine"] == "native" for point in found)


def test_the_order_is_shuffled_and_the_same_everywhere():
    program = (
        "import sys, json; from motegpt.sweeps.expansion import expand;"
        "from motegpt.sweeps.table import Table;"
        "print(json.dumps(list(expand(Table.of(json.loads(sys.argv[1])), 'array').items())))"
    )
    written = {"preset": "microgpt", "grid": {"lr": [0.1, 0.2, 0.3], "n_embd": list(range(4, 64, 4))}}
    ran = subprocess.run(
        [sys.executable, "-c", program, json.dumps(written)], capture_output=True, check=True, text=True,
        env={"PYTHONHASHSEED": "3"},
    )  # fmt: skip
    found = expand(Table.of(written), "array")
    assert json.loads(ran.stdout) == [list(item) for item in found.items()]
    first = [point["n_embd"] for point in list(found.values())[:15]]
    assert len(set(first)) > 7  # a third of the points shows most widths


@settings(max_examples=20)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 2**32))
def test_more_samples_add_to_fewer(few, more, seed):
    def drawn(samples):
        table = {"samples": samples, "seed": seed, "lr": {"log_uniform": [1e-4, 1.0]}, "n_layer": [1, 2, 3]}
        return {json.dumps(point, sort_keys=True) for point in points(random=table)}

    assert drawn(few) <= drawn(few + more)


def test_another_setting_leaves_the_samples_of_the_others():
    one = {"samples": 20, "lr": {"uniform": [0.1, 0.2]}}
    two = {"samples": 20, "dropout": {"uniform": [0.0, 0.5]}, "lr": {"uniform": [0.1, 0.2]}}
    assert values("lr", random=one) == values("lr", random=two)
    assert values("lr", random={**one, "seed": 1}) != values("lr", random=one)


def test_samples_fill_their_range():
    rates = values("lr", random={"samples": 2000, "lr": {"log_uniform": [1e-4, 1.0]}})
    assert 1e-4 <= rates[0] < 1.1e-4
    assert 0.95 < rates[-1] <= 1.0
    assert np.median(rates) == pytest.approx(0.01, rel=0.25)
    assert values("n_layer", random={"samples": 300, "n_layer": {"uniform": [1, 4]}}) == [1, 2, 3, 4]
    layers = [point["n_layer"] for point in points(
        random={"samples": 2000, "n_layer": {"log_uniform": [1, 7]}, "lr": {"uniform": [0.1, 0.2]}}
    )]  # fmt: skip
    assert set(layers) == set(range(1, 8))
    assert layers.count(1) / len(layers) == pytest.approx(math.log(2) / math.log(8), abs=0.04)


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ({"from": 1, "to": 4}, [1, 2, 3, 4]),
        ({"from": 1, "to": 6, "step": 2}, [1, 3, 5]),
        ({"log_from": 1, "log_to": 16, "points": 5}, [1, 2, 4, 8, 16]),
        ({"log_from": 1, "log_to": 3, "points": 9}, [1, 2, 3]),
        (range(1, 4), [1, 2, 3]),
        (np.array([2, 3]), [2, 3]),
        (3, [3]),
        ([2, 2, 1], [1, 2]),
    ],
)
def test_whole_numbers(written, found):
    assert values("n_layer", grid={"n_layer": written}) == found


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ({"from": 0.1, "to": 0.3, "points": 3}, [0.1, 0.2, 0.3]),
        ({"from": 0.1, "to": 0.35, "step": 0.1}, [0.1, 0.2, 0.3]),
        ({"log_from": 0.01, "log_to": 1, "points": 3}, [0.01, 0.1, 1.0]),
        ({"log_from": 0.01, "log_to": 1, "points": 1}, [0.01]),
    ],
)
def test_ranges_of_numbers(written, found):
    assert values("lr", grid={"lr": written}) == found


def test_conditions_look_at_what_is_set_and_at_the_preset():
    found = points(
        grid={"n_embd": [16, 32]},
        where=[
            {"when": {"n_embd": 32, "n_head": [4, 8]}, "n_layer": 2},
            {"when": {"n_layer": 2}, "lr": [0.1, 0.2]},
        ],
    )
    assert sorted((one["n_embd"], one.get("n_layer"), one.get("lr")) for one in found if "lr" in one) == [
        (32, 2, 0.1), (32, 2, 0.2),
    ]  # fmt: skip
    assert len(found) == 3


def test_threads_may_depend_on_the_size():
    found = points(grid={"n_embd": [16, 64]}, where=[{"when": {"n_embd": 64}, "threads": 4}])
    assert {(one["n_embd"], one.get("threads")) for one in found} == {(16, None), (64, 4)}


def test_no_point_is_repeated():
    """A condition that overrides a grid makes equal points; so does what a preset has anyway."""
    assert len(points(grid={"n_head": [1, 2, 4]}, where=[{"when": {"n_embd": 16}, "n_head": [4, 8]}])) == 2
    assert len(points(grid={"n_embd": [16, 32]}, where=[{"when": {"n_embd": 16}, "n_layer": [1]}])) == 2


def test_none_switches_a_setting_off():
    found = points(grid={"clip_norm": ["none", 1.0], "norm": ["none", "rms"]})
    assert {(one["clip_norm"], one["norm"]) for one in found} == {
        (None, "none"), (None, "rms"), (1.0, "none"), (1.0, "rms"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"grid": {"learning_rate": [1]}}, "grid: unknown setting 'learning_rate'; did you mean lr"),
        ({"fixed": {"vocab_size": 3}}, "vocab_size is determined by the data"),
        ({"lr": 0.1}, r"lr: expected in \[fixed\], \[grid\]"),
        ({"grids": {}}, "unknown setting 'grids'; did you mean grid"),
        ({"grid": {"lr": []}}, "grid: lr: expected at least one value, got an empty list"),
        ({"grid": {"lr": [0.1, "x"]}}, "grid: lr: expected a number above 0, got 'x'"),
        ({"grid": {"lr": {"log_from": 0, "log_to": 1, "points": 3}}}, "expected log_from above 0, got 0"),
        ({"grid": {"lr": {"from": 0.1, "to": 1}}}, "expected points"),
        ({"grid": {"lr": {"from": 1, "to": 0.1, "points": 3}}}, "expected from up to to, got 1 and 0.1"),
        ({"grid": {"lr": {"form": 1, "to": 0.1}}}, r"expected a list or a range \{from, to\}"),
        ({"grid": {"n_layer": {"from": 1, "to": 10**9}}}, "expected at most 100,000 values"),
        ({"grid": {"n_layer": {"from": 1, "to": 3, "step": 0}}}, "expected a step above 0"),
        ({"grid": 3}, "grid: expected a table of settings, got 3"),
        ({"fixed": {"lr": 0.1}, "grid": {"lr": [1]}}, "lr: expected in one table, got it in fixed and grid"),
        ({"grid": {"preset": ["microgpt"]}}, "preset: expected in one table"),
        ({"preset": "auto"}, "preset: expected one of microgpt, .* which chooses settings"),
        ({"engine": "numpy"}, "engine: expected one of scalar"),
        ({"random": {"lr": [0.1]}}, "got no samples"),
        ({"random": {"samples": 3}}, "got no setting"),
        ({"random": {"samples": 0, "lr": [1]}}, "random: samples: expected a whole number of at least 1"),
        ({"random": {"samples": 3, "lr": {"log_uniform": [0.1]}}}, r"expected \{uniform = \[low, high\]\}"),
        ({"random": {"samples": 3, "dropout": {"log_uniform": [0, 0.5]}}}, "expected 0 < low < high"),
        ({"random": {"samples": 3, "dropout": {"uniform": [0, 2]}}}, "dropout: expected a number"),
        ({"together": [{"lr": [0.1, 0.2], "n_layer": [1]}]}, "as many values of each setting, got 2 of lr"),
        ({"together": [[]]}, "together: expected tables"),
        ({"where": [{"n_head": 1}]}, "where: expected when"),
        ({"where": [{"when": {"n_embd": 65}, "n_head": 1}]}, r"got n_embd = \[65\], which none has"),
        ({"where": [{"when": {"n_embd": 16}, "seed": 1}], "repeat": {"seed": [1, 2]}}, "seed is repeated"),
        ({"fixed": {"seconds": 1}}, "^seconds: expected steps or epochs, as .* is measured; set steps$"),
        ({"grid": {"seconds": [1, 2]}}, "^seconds: expected steps or epochs"),
        ({"grid": {"checkpoint_activations": [True, False]}}, "expected a setting that changes the results"),
        ({"together": [{"level": ["avx2", "none"], "lr": [1, 2]}]}, "level: expected a setting that changes"),
        ({"random": {"samples": 3, "keep": [1, 2]}}, "keep: expected a setting that changes"),
        ({"repeat": {"sample_every": [1, 2]}}, "sample_every: expected a setting that changes"),
        ({"where": [{"when": {"n_embd": 16}, "sample_every": [1, 2]}]}, "sample_every: expected a"),
        ({"grid": {"lr": {"log_from": 1e-9, "log_to": 1, "points": 2000}, "n_embd": list(range(1, 1001))}},
         "expected at most 1,000,000 points, got 2,000,000"),
    ],
)  # fmt: skip
def test_a_bad_table_is_a_clear_line(written, message):
    with pytest.raises(SettingError, match=message):
        points(**written)


def test_a_preset_is_named():
    with pytest.raises(SettingError, match=r"expected a preset, one of .*, got none"):
        Table.of({"grid": {"lr": [1]}})
    with pytest.raises(SettingError, match="expected the tables of a sweep, got 3"):
        Table.of(3)
    found = expand(Table.of({"grid": {"preset": ["gpt2", "llama"]}}), "array").values()
    assert {one["preset"] for one in found} == {"gpt2", "llama"}


def point(**settings):
    return {"preset": "microgpt", "engine": "native", **settings}


def test_the_key_is_that_of_what_the_numbers_depend_on():
    key = key_of(point(), "abc")
    same = [point(n_embd=16), point(threads=1), point(n=3), point(dropout=0.0), point(sample_every=5, keep=3)]
    assert {key_of(one, "abc") for one in [*same, point(checkpoint_every=5)]} == {key}
    others = [point(n_embd=8), point(seed=1), point(engine="array"), point(dtype="float32"), point(epochs=2)]
    others += [point(log_every=5), point(eval_every=5), point(threads=2), point(threads=None)]
    keys = {key_of(one, "abc") for one in others}
    assert len(keys - {key}) == len(others)
    assert key_of(point(), "abd") != key


def test_presets_with_all_settings_given_have_the_key_of_the_settings():
    for preset in PRESETS:
        unset = ("ngram_rows", "vocab_size", "threads")  # without threads a training of a sweep has one
        flat = {k: v for k, v in expected_settings(preset).items() if k not in unset}
        assert key_of({"preset": "microgpt", "engine": "native", **flat}, "") == key_of(
            {"preset": preset, "engine": "native"}, ""
        )


def test_a_later_default_leaves_the_keys():
    """Only what differs from a default is in the key; this one must never change."""
    assert "dropout" not in identity(point(lr=0.02))
    assert key_of(point(lr=0.02), "0" * 64) == "5c94fc7ba89854504418"
