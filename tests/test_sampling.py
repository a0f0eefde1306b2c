"""From logits to text."""

import math

import pytest

from motegpt.config.sections import SampleConfig
from motegpt.data.tokenizers import CharacterTokenizer
from motegpt.errors import PrefixError
from motegpt.generation.filters import Filters, distribution, sample_token
from motegpt.generation.request import request_of
from motegpt.model.rng import PythonRandom, Stream
from motegpt.sampling.generate import generate, generate_by_token, generate_sequentially
from motegpt.sampling.texts import texts_of
from tests.conftest import ENGINES_HERE, small_engine, small_settings

TOKENIZER = CharacterTokenizer("abcde", "bos")


def streams(seed, n):
    return [Stream.of(seed, i) for i in range(n)]


def draw(engine, n, seed=0, **settings):
    return generate(
        engine, TOKENIZER, SampleConfig(n=n, **{"temperature": 1.0, **settings}), streams(seed, n)
    )


@pytest.fixture(params=ENGINES_HERE)
def engine(request):
    return small_engine(request.param, small_settings(n_layer=2))


def test_probabilities():
    halved = distribution([1.0, 2.0], Filters(temperature=0.5))
    assert halved == pytest.approx([1 / (1 + math.e**2), math.e**2 / (1 + math.e**2)])
    assert distribution([5000.0, 0.0], Filters(temperature=1.0)) == [1.0, 0.0]


def test_temperature_zero_takes_the_most_likely_and_the_first_of_equals():
    rng = PythonRandom(0)
    before = rng.state()
    assert sample_token([0.0, 3.0, 3.0], Filters(temperature=0.0), rng) == 1
    assert rng.state() == before


def test_same_seed_same_text_other_seed_other(engine):
    assert draw(engine, 10, seed=1) == draw(engine, 10, seed=1) != draw(engine, 10, seed=2)


def test_a_text_does_not_depend_on_how_many_are_drawn(engine):
    assert draw(engine, 12, seed=3)[:5] == draw(engine, 5, seed=3)


def test_engines_draw_the_same_text():
    drawn = {tuple(draw(small_engine(name, small_settings()), 20, seed=4)) for name in ENGINES_HERE}
    assert len(drawn) == 1


def test_texts_end_at_the_stop_token_or_at_block_size(engine):
    texts = draw(engine, 50, seed=5)
    assert all(len(text) <= engine.model.block_size for text in texts)
    assert len({len(text) for text in texts}) > 1


def test_a_prefix_is_continued(engine):
    texts = draw(engine, 20, seed=6, prefix="bad")
    assert all(text.startswith("bad") and len(text) <= engine.model.block_size for text in texts)
    assert len(set(texts)) > 1


def test_greedy_is_one_text(engine):
    assert len(set(draw(engine, 5, temperature=0.0))) == 1


@pytest.mark.parametrize(
    ("prefix", "said"), [("x", "'x'"), ("abcdea", "at most 5 characters"), ("a" * 99, "got 99")]
)
def test_a_prefix_that_cannot_be_continued(engine, prefix, said):
    with pytest.raises(PrefixError, match=said):
        draw(engine, 1, prefix=prefix)


def test_groups_do_not_change_the_texts(engine, monkeypatch):
    whole = draw(engine, 9, seed=8)
    monkeypatch.setattr("motegpt.sampling.generate.CACHE_BYTES", 1)
    assert draw(engine, 9, seed=8) == whole


def test_in_turn_uses_one_generator(engine):
    rng = PythonRandom(1)
    settings = SampleConfig(n=4, temperature=1.0)
    texts = generate_sequentially(engine, TOKENIZER, settings, rng)
    rng, request = PythonRandom(1), request_of(settings, TOKENIZER, engine.model.block_size)
    drawn = [ids for _ in range(4) for ids in generate_by_token(engine, request, [rng])]
    assert texts == texts_of(request, TOKENIZER, drawn)


def test_bos_eos_framing_stops_at_eos_alone():
    tokenizer = CharacterTokenizer("abcd", "bos_eos")
    engine = small_engine("array", small_settings(init_std=0.01))
    texts = generate(engine, tokenizer, SampleConfig(n=200, temperature=1.0), streams(0, 200))
    assert any("<BOS>" in text for text in texts)
    assert not any("<EOS>" in text for text in texts)
