"""A seed is 0 … 2^64 - 1 wherever one is given."""

import numpy as np
import pytest

from motegpt import GPT, SettingError, make_rng

REFUSED = [-1, 2**64, 10**400, 1.5, "1", True, None, [1], np.array([1, 2])]
LARGEST = 2**64 - 1


@pytest.fixture(scope="module")
def model():
    return GPT.train(["anna", "hanna", "nan"], steps=3, engine="array", preset="microgpt")


@pytest.mark.parametrize("seed", REFUSED, ids=lambda seed: repr(seed)[:12])
def test_refused_alike_in_python(model, seed):
    calls = [
        lambda: GPT.train(["anna", "nan"], steps=1, engine="array", seed=seed, preset="microgpt"),
        lambda: make_rng("lcg", seed),
        lambda: model.config.train.replace(seed=seed),
    ]
    calls += (
        [] if seed is None else [lambda: model.generate(1, seed=seed), lambda: model.samples(1, seed=seed)]
    )
    said = set()
    for call in calls:
        with pytest.raises(
            SettingError, match="seed: expected a whole number of at least 0 and below"
        ) as error:
            call()
        said.add(str(error.value))
    assert len(said) == 1


@pytest.mark.parametrize("words", [
    ["train", "--steps", 1, "--engine", "array"], ["sample", "run"], ["eval", "run", "--samples", 0],
    ["graph", "a"], ["gradcheck", "--engine", "array"],
], ids=lambda words: words[0])  # fmt: skip
@pytest.mark.parametrize("seed", [-1, 2**64, 10**30])
def test_refused_alike_on_the_command_line(motegpt, words, seed):
    motegpt("train", "--steps", 1, "--engine", "array", "-n", 1, "--out", "run")
    ended = motegpt(*words, "--seed", seed)
    assert (ended.code, ended.err.count("\n"), ended.out) == (2, 1, "")
    assert (
        f"seed: expected a whole number of at least 0 and below 18,446,744,073,709,551,616, got {seed}"
        in ended.err
    )


@pytest.mark.parametrize("seed", [0, LARGEST, np.uint64(LARGEST), np.int8(7)], ids=repr)
def test_taken_alike(model, seed):
    assert model.generate(3, seed=seed) == model.generate(3, seed=int(seed))
    assert make_rng("python", seed).uniform() == make_rng("python", int(seed)).uniform()
    assert GPT.train(
        ["anna", "nan"], steps=1, engine="array", seed=seed, preset="microgpt"
    ).config.train.seed == int(seed)


def test_the_largest_on_the_command_line(motegpt):
    assert motegpt("train", "--steps", 1, "--engine", "array", "--seed", LARGEST, "--out", "run").code == 0
    for words in (
        ["sample", "run"],
        ["eval", "run", "--samples", 3],
        ["graph", "a"],
        ["gradcheck", "--engine", "array"],
    ):
        assert motegpt(*words, "--seed", LARGEST).code == 0
