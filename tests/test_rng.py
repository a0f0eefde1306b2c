"""Generators against published vectors, independent computations and statistics."""

import copy
import json
import math
import pickle
import random
import statistics
import struct

import pytest

from motegpt.config.sections import SampleConfig
from motegpt.data.tokenizers import CharacterTokenizer
from motegpt.errors import RunFolderError, SettingError
from motegpt.model.rng import GENERATORS, Lcg, PythonRandom, Stream, Xoshiro128Plus, make_rng
from motegpt.sampling.generate import generate_sequentially
from tests.conftest import small_engine, small_settings


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


def test_xoshiro_seeding_matches_zeroclaw():
    low, high = 0x89ABCDEF, 0x01234567
    assert Xoshiro128Plus((high << 32) | low).state() == [
        low ^ 0xDEADBEEF,
        high ^ 0xCAFEBABE,
        low + 1,
        high + 1,
    ]


A, C = 6364136223846793005, 1442695040888963407


def state_after(seed, n):
    """aⁿ s + c (aⁿ - 1) / (a - 1), modulo 2^64: the closed form of the linear congruential generator."""
    power = pow(A, n, (A - 1) << 64)
    return (power * seed + C * ((power - 1) // (A - 1))) % 2**64


def test_linear_congruential_generators_agree_with_the_closed_form():
    """Streams output the high 53 bits, the generator of a run the high 32."""
    stream, lcg = Stream(42), Lcg(42)
    fractions = [(stream.uniform(), lcg.uniform()) for _ in range(1000)]
    state = state_after(42, 1000)
    assert fractions[-1] == ((state >> 11) / 2**53, f32(f32(state >> 32) / f32(2**32 - 1)))
    assert stream.number == lcg.state()[0] == state


def f32(x):
    return struct.unpack("f", struct.pack("f", x))[0]


def test_mersenne_twister_matches_python():
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
    assert PythonRandom(42).uniform() == 0.6394267984578837  # from Python's documentation


def states(seed):
    """The states of the recurrence."""
    while True:
        seed = (seed * A + C) % 2**64
        yield seed


def test_lcg_gauss_shuffle_and_categorical_by_hand():
    rng, uniforms = Lcg(9), (f32(f32(state >> 32) / 2**32) for state in states(9))
    for _ in range(500):
        u1, u2 = next(uniforms), next(uniforms)
        expected = math.sqrt(-2 * math.log(u1)) * math.cos(2 * math.pi * u2)
        assert rng.gauss(0.0, 0.08) == pytest.approx(0.08 * expected, rel=1e-6, abs=1e-7)
    items, shuffled, numbers = list("abcde"), list("abcde"), states(9)
    for i in (4, 3, 2, 1):
        j = next(numbers) % (i + 1)
        items[i], items[j] = items[j], items[i]
    Lcg(9).shuffle(shuffled)
    assert shuffled == items
    rng, numbers = Lcg(9), states(9)
    for _ in range(20):
        u = f32(f32(next(numbers) >> 32) / 2**32)
        assert rng.categorical([0.2, 0.3, 0.5]) == (0 if u < 0.2 else 1 if u < 0.5 else 2)


def test_streams_use_53_bits():
    stream, numbers = Stream(9), states(9)
    for _ in range(20):
        u = (next(numbers) >> 11) / 2**53
        assert stream.categorical([0.2, 0.3, 0.5]) == (0 if u < 0.2 else 1 if u < 0.5 else 2)


def test_uniform_that_rounds_to_one_selects_the_last_index():
    """The 128 highest of 2^32 fractions round to 1 in single precision."""
    rng = Lcg(0)
    before = (((2**32 - 1) << 32) - C) * pow(A, -1, 2**64) % 2**64
    for use, expected in ((rng.uniform, 1.0), (lambda: rng.categorical([1.0, 1.0, 1.0]), 2)):
        rng.restore([before])
        assert use() == expected


def test_engines_that_generate_whole_texts_accept_only_streams():
    """The generator of a run samples token by token, which the core does not reproduce."""
    tokenizer = CharacterTokenizer("abc", "bos")
    engine = small_engine("array", small_settings(), vocab_size=4)
    engine.generate = lambda request, rngs: pytest.fail("a whole text of a run's generator")
    engine.why_not = lambda request: None
    for generator in GENERATORS:
        generate_sequentially(engine, tokenizer, SampleConfig(n=1, temperature=1.0), make_rng(generator, 1))


@pytest.mark.parametrize("name", GENERATORS)
class TestEveryGenerator:
    def test_same_seed_same_numbers_different_seed_different_numbers(self, name):
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

    def test_gauss_has_mean_and_standard_deviation(self, name):
        rng = make_rng(name, 7)
        numbers = [rng.gauss(3.0, 2.0) for _ in range(20_000)]
        assert abs(statistics.mean(numbers) - 3.0) < 0.06
        assert abs(statistics.stdev(numbers) - 2.0) < 0.05
        assert 0.94 < sum(abs(x - 3.0) < 3.92 for x in numbers) / len(numbers) < 0.96

    def test_shuffle_permutes_and_moves_every_item(self, name):
        """Except lcg, which takes remainders modulo 2 of numbers whose lowest bit alternates."""
        rng = make_rng(name, 7)
        firsts = set()
        for _ in range(200):
            items = list(range(5))
            rng.shuffle(items)
            assert sorted(items) == list(range(5))
            firsts.add(items[0])
        assert firsts == ({0, 2, 4} if name == "lcg" else set(range(5)))

    def test_categorical_follows_the_weights(self, name):
        rng = make_rng(name, 7)
        drawn = [rng.categorical([1.0, 0.0, 3.0]) for _ in range(4000)]
        assert 1 not in drawn
        assert abs(drawn.count(2) / 4000 - 0.75) < 0.03

    def test_state_survives_json_and_restores_the_sequence(self, name):
        rng = make_rng(name, 7)
        rng.gauss(0.0, 1.0)  # leaves a second normal number in the state of Python's generator
        state = json.loads(json.dumps(rng.state()))
        expected = [rng.gauss(0.0, 1.0) for _ in range(9)]
        other = make_rng(name, 0)
        other.restore(state)
        assert [other.gauss(0.0, 1.0) for _ in range(9)] == expected

    @pytest.mark.parametrize("state", [[], [1, 2], ["a"], [-1], [None] * 4, [3, [1, 2], None]])
    def test_invalid_state_is_refused(self, name, state):
        with pytest.raises(RunFolderError, match="saved state"):
            make_rng(name, 0).restore(state)


@pytest.mark.parametrize("generator", [Lcg, Xoshiro128Plus])
def test_single_precision_gauss_is_a_single_precision_number(generator):
    rng = generator(42)
    for _ in range(100):
        x = rng.gauss(0.0, 0.02)
        assert f32(x) == x


def test_streams_are_distinct_and_independent():
    firsts = [Stream.of(5, i).uniform() for i in range(1000)]
    assert len(set(firsts)) == 1000
    assert abs(statistics.mean(firsts) - 0.5) < 0.03
    # First output of SplitMix64 with seed 1234567 (Vigna's reference output).
    assert Stream.of(1234567, 0).number == 6457827717110365317


def test_box_muller_never_takes_the_logarithm_of_zero():
    rng = Lcg(0)
    rng.uniform = lambda: 0.0  # type: ignore[method-assign]
    assert math.isfinite(rng.gauss(0.0, 1.0))


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda rng: pickle.loads(pickle.dumps(rng))])
def test_a_copy_continues_alike_and_on_its_own(name, copied):
    rng = make_rng(name, 3)
    rng.permutation(5)
    rng.gauss_array(0.0, 1.0, 3)
    other = copied(rng)
    expected = [other.gauss(0.0, 1.0) for _ in range(3)]
    assert [rng.gauss(0.0, 1.0) for _ in range(3)] == expected


def test_unknown_generator_is_refused():
    with pytest.raises(SettingError, match="lcg"):
        make_rng("mt", 0)
