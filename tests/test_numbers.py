"""The compiled generators and learning rates against their Python definitions, bit for bit."""

import itertools
import json
import subprocess
import sys
from array import array

import numpy as np
import pytest

from motegpt.config.sections import ModelConfig, TrainConfig, section_values
from motegpt.data.reshuffle import epoch_orders
from motegpt.model import core
from motegpt.model.rng import GENERATORS, Stream, make_rng, splitmix64
from motegpt.model.schedule import learning_rate
from motegpt.model.spec import initialize
from motegpt.optim import OPTIMIZERS
from motegpt.optim.base import table_decay, table_decays
from tests.conftest import small_settings

numbers = core.numbers()
pytestmark = pytest.mark.skipif(numbers is None, reason="the core was not built")

SEEDS = [0, 1, 42, 2**31, 2**32 - 1, 2**32, 2**63 + 5, 2**64 - 1]
EVERY_GENERATOR = pytest.mark.parametrize("name", GENERATORS)
WEIGHTS = [[1.0], [0.2, 0.3, 0.5], [0.0, 1e-300, 3.0, 0.0], [1.0 / 3] * 1000]
STEPS = 500
SCHEDULES = [
    dict(zip(("schedule", "warmup_steps", "steps", "lr_min"), values, strict=True))
    for values in itertools.product(
        ("linear", "linear_to_zero", "cosine", "constant"), (0, 1, 7, 1000), (1, 8, STEPS), (0.0, 3e-5)
    )
]
FORMS = [
    {"optimizer": "adam", "adam": form, "beta1": beta1, "beta2": beta2}
    for form in ("corrected", "folded")
    for beta1, beta2 in ((0.9, 0.999), (0.85, 0.99), (0.0, 0.95), (0.999999, 0.0))
] + [{"optimizer": "sgd", "momentum": 0.9}, {"optimizer": "sgd", "momentum": 0.0}]


def exact(values):
    """Floats as text that shows every bit, -0.0 too."""
    return [float(value).hex() for value in values]


def pair(name, seed):
    """The definition and the compiled generator."""
    return make_rng(name, seed), numbers.Rng(name, seed)


def filled(rng, mean, std, n):
    out = array("d", [0.0]) * n
    rng.fill_gauss(mean, std, out)
    return out


def shuffled(rng, n):
    items = array("I", range(n))
    rng.shuffle(items)
    return items.tolist()


def drawn(rng):
    """Numbers of every kind, mixed, so that each leaves its state to the next."""
    for n in (0, 1, 2, 3, 1000):
        yield from exact([rng.uniform(), rng.gauss(0.0, 1.0), rng.gauss(-3.0, 0.02)])
        yield shuffled(rng, n)
        yield [rng.categorical(weights) for weights in WEIGHTS]
        yield from exact([rng.gauss(0.0, 0.0), rng.uniform()])


@EVERY_GENERATOR
@pytest.mark.parametrize("seed", SEEDS)
def test_generators_are_equal(name, seed):
    ours, compiled = pair(name, seed)
    assert compiled.state() == ours.state()
    for _ in range(3):
        assert list(drawn(compiled)) == list(drawn(ours))
        assert compiled.state() == ours.state()


@EVERY_GENERATOR
def test_long_series_are_equal(name):
    """Long enough for a logarithm, sine or cosine that rounds differently once in 10,000 numbers."""
    ours, compiled = pair(name, 7)
    n = 100_001
    assert exact(filled(compiled, 0.1, 0.02, n)) == exact(ours.gauss(0.1, 0.02) for _ in range(n))
    assert exact(compiled.uniform() for _ in range(5000)) == exact(ours.uniform() for _ in range(5000))
    assert compiled.state() == ours.state()


@EVERY_GENERATOR
@pytest.mark.parametrize("before", [0, 1, 2, 311, 623, 624, 1249])
def test_states_move_both_ways(name, before):
    """As JSON, within a pair of normal numbers and at either end of the words of a generator."""
    ours, compiled = pair(name, 5)
    for rng in (ours, compiled):
        for _ in range(before):
            rng.gauss(0.0, 1.0)
    first, second = (json.loads(json.dumps(rng.state())) for rng in (ours, compiled))
    assert first == second
    there, back = numbers.Rng(name, first), make_rng(name, 1)
    back.restore(second)
    assert list(drawn(there)) == list(drawn(back)) == list(drawn(ours)) == list(drawn(compiled))


@EVERY_GENERATOR
@pytest.mark.parametrize(
    "state",
    [[], [1, 2], ["a"], [-1], [None] * 4, [0] * 4 + [1], [2**64], [3, [1, 2], None], [2, [0] * 625, None]],
)
def test_invalid_state_is_refused(name, state):
    rng = numbers.Rng(name, 3)
    before = rng.state()
    with pytest.raises(ValueError, match="state"):
        rng.restore(state)
    assert rng.state() == before


def test_invalid_words_are_refused():
    for words in ([2**32] + [0] * 624, [0] * 624 + [625], [0] * 624 + [-1]):
        with pytest.raises(ValueError, match="state"):
            numbers.Rng("python", [3, words, None])
    for words in ([0] * 4, [2**32, 0, 0, 0]):
        with pytest.raises(ValueError, match="state"):
            numbers.Rng("xoshiro128+", words)
    with pytest.raises(ValueError, match="mt"):
        numbers.Rng("mt", 0)
    with pytest.raises(ValueError, match="weight"):
        numbers.Rng("lcg", 0).categorical([])


def test_uniform_that_rounds_to_one_selects_the_last_index():
    """The 128 highest of 2^32 fractions of lcg round to 1 in single precision."""
    a, c = 6364136223846793005, 1442695040888963407
    before = [(((2**32 - 1) << 32) - c) * pow(a, -1, 2**64) % 2**64]
    rng = numbers.Rng("lcg", before)
    assert rng.uniform() == 1.0
    rng.restore(before)
    assert rng.categorical([1.0, 1.0, 1.0]) == 2


def test_streams_of_texts_are_equal():
    for seed, index in itertools.product(SEEDS, (0, 1, 2**40, 2**64 - 1)):
        state = splitmix64(seed, index)
        assert numbers.splitmix64(seed, index) == state
        stream = Stream(state)
        for _ in range(20):
            state, uniform = numbers.next_uniform(state)
            assert (uniform, state) == (stream.uniform(), stream.number)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 255, 256, 257, 4097])
def test_epoch_orders_are_equal(n):
    for seed, first in itertools.product(SEEDS, (0, 1, 2**33)):
        np.testing.assert_array_equal(
            numbers.epoch_orders(seed, first, 3, n), epoch_orders(seed, first, 3, n)
        )


def settings(**changes):
    rates = {"lr": 0.0123, "weight_decay": 0.07, "ngram_weight_decay": 0.3, "eps": 1e-7}
    return TrainConfig.of(section_values(small_settings(**{**rates, **changes}), "train"))


@pytest.mark.parametrize("changes", SCHEDULES, ids=lambda changes: "-".join(map(str, changes.values())))
def test_learning_rates_are_equal(changes):
    """Beyond the last step too, as a training may be resumed with fewer."""
    train = settings(**changes)
    for start in (0, 3, STEPS - 3):
        steps = range(start, start + 40)
        assert exact(numbers.learning_rates(train, start, 40)) == exact(
            learning_rate(train, step) for step in steps
        )
        assert exact(table_decays(train, start, 40)) == exact(table_decay(train, step) for step in steps)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: "-".join(map(str, form.values())))
@pytest.mark.parametrize("start", [0, 1, 97, 10**6, 10**9])
def test_scalars_are_equal(form, start):
    for schedule in ("linear", "cosine"):
        train = settings(schedule=schedule, steps=start + STEPS, **form)
        optimizer = OPTIMIZERS[train.optimizer]
        got, expected = optimizer.chunk(train, start, STEPS), optimizer._chunk(train, start, STEPS)
        assert got.dtype == expected.dtype
        assert got.shape == expected.shape
        assert got.tobytes() == expected.tobytes()


def test_every_optimizer_and_choice_is_compiled():
    assert all(optimizer.is_compiled for optimizer in OPTIMIZERS.values())
    assert table_decays(settings(ngram_weight_decay=0.0), 0, 0).shape == (0,)


def test_settings_of_another_type_are_refused():
    class Wrong:
        steps = "ten"

    with pytest.raises(TypeError, match="Wrong: expected another type of steps"):
        numbers.learning_rates(Wrong(), 0, 1)


@EVERY_GENERATOR
def test_a_run_starts_the_same_without_the_compiled_generators(name, monkeypatch):
    model = ModelConfig.of({**section_values(small_settings(), "model"), "vocab_size": 9})

    def start():
        rng = make_rng(name, 3)
        order = rng.permutation(1000)
        values = initialize(model, rng)
        return order, {key: value.tobytes() for key, value in values.items()}, rng.state(), rng.uniform()

    compiled = start()
    monkeypatch.setattr(core, "numbers", lambda: None)
    assert start() == compiled


@EVERY_GENERATOR
def test_long_series_and_single_numbers_in_any_order(name, monkeypatch):
    def mixed():
        rng, found = make_rng(name, 3), []
        for turn in range(3):
            found += [rng.permutation(9).tolist(), rng.state(), rng.gauss_array(0.0, 0.5, 7).tolist()]
            found += [
                rng.gauss(1.0, 2.0),
                rng.permutation(5 + turn).tolist(),
                rng.gauss_array(0, 1, 2).tolist(),
            ]
            saved = json.loads(json.dumps(rng.state()))
            found += [rng.categorical([0.3, 0.7]), rng.uniform(), rng.gauss_array(0, 1, 3).tolist()]
            rng.restore(saved)
        return found

    compiled = mixed()
    monkeypatch.setattr(core, "numbers", lambda: None)
    assert mixed() == compiled


def test_the_compiled_generators_are_used(monkeypatch):
    """And a wrong one is seen."""

    class Wrong(numbers.Rng):
        def fill_gauss(self, mean, std, out):
            super().fill_gauss(mean, std, out)
            out[-1] = np.nextafter(out[-1], 9.0)

    expected = make_rng("lcg", 3).gauss_array(0.0, 1.0, 10)
    monkeypatch.setattr(core, "numbers", lambda: type("Module", (), {"Rng": Wrong}))
    got = make_rng("lcg", 3).gauss_array(0.0, 1.0, 10)
    assert exact(got[:-1]) == exact(expected[:-1])
    assert exact(got) != exact(expected)


def test_a_missing_module_is_no_error():
    """Also one that cannot be loaded."""
    program = (
        "import sys; sys.modules['motegpt.model._numbers'] = None\n"
        "from motegpt.model import core; from motegpt.model.rng import make_rng\n"
        "print(core.numbers(), make_rng('python', 1).permutation(5).tolist())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split(maxsplit=1) == ["None", f"{make_rng('python', 1).permutation(5).tolist()}\n"]
