"""Generators against published vectors, independent computation, and statistics."""

import json
import math
import random
import statistics
import struct

import pytest

from motegpt.errors import RunFolderError, SettingError
from motegpt.rng import GENERATORS, Lcg, PythonRandom, Xoshiro128Plus, make_rng


def test_xoshiro_gives_the_published_vector_for_state_1_2_3_4():
    rng = Xoshiro128Plus(0)
    rng.restore([1, 2, 3, 4])
    published = [
        5,
        12295,
        25178119,
        27286542,
        39879690,
        1140358681,
        3276312097,
        4110231701,
        399823256,
        2144435200,
    ]
    assert [rng.word() for _ in range(10)] == published


def test_xoshiro_seed_is_spread_as_zeroclaw_does():
    low, high = 0x89ABCDEF, 0x01234567
    assert Xoshiro128Plus((high << 32) | low).state() == [
        low ^ 0xDEADBEEF,
        high ^ 0xCAFEBABE,
        low + 1,
        high + 1,
    ]


def test_lcg_agrees_with_its_closed_form():
    """After n steps the state is aⁿ s + c (aⁿ - 1) / (a - 1), modulo 2^64."""
    a, c, seed, n = Lcg.MULTIPLIER, Lcg.INCREMENT, 42, 1000
    rng = Lcg(seed)
    numbers = [rng.uniform() for _ in range(n)]
    power = pow(a, n, (a - 1) << 64)
    state = (power * seed + c * ((power - 1) // (a - 1))) % 2**64
    assert numbers[-1] == (state >> 11) / 2**53


def test_mersenne_twister_is_pythons_own():
    ours, theirs = PythonRandom(42), random.Random(42)
    items, same = list(range(50)), list(range(50))
    ours.shuffle(items)
    theirs.shuffle(same)
    assert items == same
    assert [ours.gauss(1.0, 2.0) for _ in range(5)] == [theirs.gauss(1.0, 2.0) for _ in range(5)]
    weights = [0.1, 0.7, 0.2]
    assert [ours.categorical(weights) for _ in range(20)] == [
        theirs.choices(range(3), weights)[0] for _ in range(20)
    ]
    assert PythonRandom(42).uniform() == 0.6394267984578837  # as published in Python's documentation


def lcg_uniforms(seed, count):
    """The numbers of the generator, from its recurrence alone."""
    numbers = []
    for _ in range(count):
        seed = (seed * 6364136223846793005 + 1442695040888963407) % 2**64
        numbers.append((seed >> 11) / 2**53)
    return numbers


def test_lcg_gauss_shuffle_and_categorical_by_hand():
    u = lcg_uniforms(9, 10)
    rng = Lcg(9)
    for k in range(5):
        expected = math.sqrt(-2 * math.log(1 - u[2 * k])) * math.cos(2 * math.pi * u[2 * k + 1])
        assert rng.gauss(1.0, 2.0) == pytest.approx(1.0 + 2.0 * expected, rel=1e-14)
    items, u = list("abcde"), lcg_uniforms(9, 4)
    for last, x in zip((4, 3, 2, 1), u, strict=True):
        chosen = int(x * (last + 1))
        items[last], items[chosen] = items[chosen], items[last]
    shuffled = list("abcde")
    Lcg(9).shuffle(shuffled)
    assert shuffled == items
    rng, weights = Lcg(9), [0.2, 0.3, 0.5]
    for x in lcg_uniforms(9, 10):
        assert rng.categorical(weights) == (0 if x < 0.2 else 1 if x < 0.5 else 2)


@pytest.mark.parametrize("name", GENERATORS)
class TestEveryGenerator:
    def test_same_seed_same_numbers_other_seed_others(self, name):
        def draw(seed):
            rng = make_rng(name, seed)
            return [rng.uniform() for _ in range(20)]

        assert draw(1) == draw(1) != draw(2)

    def test_uniform_is_uniform(self, name):
        rng = make_rng(name, 7)
        numbers = [rng.uniform() for _ in range(20_000)]
        assert all(0.0 <= x < 1.0 for x in numbers)
        assert abs(statistics.mean(numbers) - 0.5) < 0.01
        assert abs(statistics.variance(numbers) - 1 / 12) < 0.003

    def test_gauss_has_mean_and_spread(self, name):
        rng = make_rng(name, 7)
        numbers = [rng.gauss(3.0, 2.0) for _ in range(20_000)]
        assert abs(statistics.mean(numbers) - 3.0) < 0.06
        assert abs(statistics.stdev(numbers) - 2.0) < 0.05
        assert 0.94 < sum(abs(x - 3.0) < 3.92 for x in numbers) / len(numbers) < 0.96

    def test_shuffle_permutes_and_moves_every_place(self, name):
        rng = make_rng(name, 7)
        firsts = set()
        for _ in range(200):
            items = list(range(5))
            rng.shuffle(items)
            assert sorted(items) == list(range(5))
            firsts.add(items[0])
        assert firsts == set(range(5))

    def test_categorical_follows_the_weights(self, name):
        rng = make_rng(name, 7)
        drawn = [rng.categorical([1.0, 0.0, 3.0]) for _ in range(4000)]
        assert 1 not in drawn
        assert abs(drawn.count(2) / 4000 - 0.75) < 0.03

    def test_state_survives_json_and_restores_the_numbers_to_come(self, name):
        rng = make_rng(name, 7)
        rng.gauss(0.0, 1.0)  # leaves Python's generator with a number in reserve
        state = json.loads(json.dumps(rng.state()))
        expected = [rng.gauss(0.0, 1.0) for _ in range(9)]
        other = make_rng(name, 0)
        other.restore(state)
        assert [other.gauss(0.0, 1.0) for _ in range(9)] == expected

    @pytest.mark.parametrize("state", [[], [1, 2], ["a"], [-1], [None] * 4, [3, [1, 2], None]])
    def test_a_foreign_state_is_refused(self, name, state):
        with pytest.raises(RunFolderError, match="saved state"):
            make_rng(name, 0).restore(state)


def test_single_precision_gauss_is_a_single_precision_number():
    rng = Xoshiro128Plus(42)
    for _ in range(100):
        x = rng.gauss(0.0, 0.02)
        assert struct.unpack("f", struct.pack("f", x))[0] == x


def test_streams_differ_and_do_not_depend_on_each_other():
    firsts = [Lcg.stream(5, i).uniform() for i in range(1000)]
    assert len(set(firsts)) == 1000
    assert abs(statistics.mean(firsts) - 0.5) < 0.03
    # SplitMix64 from seed 1234567 begins with this number (Vigna's reference output).
    assert Lcg.stream(1234567, 0).state() == [6457827717110365317]


def test_box_muller_never_takes_the_logarithm_of_zero():
    rng = Lcg(0)
    rng.uniform = lambda: 1.0 - 2.0**-53  # type: ignore[method-assign]
    assert math.isfinite(rng.gauss(0.0, 1.0))


def test_unknown_generator_is_named():
    with pytest.raises(SettingError, match="lcg"):
        make_rng("mt", 0)
