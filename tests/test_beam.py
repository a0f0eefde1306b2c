"""Beam search against all texts there are."""

import itertools
import math

import pytest

from motegpt.config import SampleConfig
from motegpt.errors import SettingError, TriesExhausted
from motegpt.gpt import GPT
from motegpt.sampling import draw_texts, request_of
from motegpt.sampling.beam import beam_search, likeliest_texts, log_softmax
from motegpt.tokenizer import Tokenizer
from tests.conftest import ENGINES_HERE, small_engine, small_settings

TOKENIZER = Tokenizer("abc", "bos")
BLOCK = 4


def tiny(name="array", **changes):
    return small_engine(name, small_settings(block_size=BLOCK, init_std=0.5, **changes), vocab_size=4)


def sample(**given):
    return SampleConfig(**{"n": 8, "temperature": 1.0, **given})


def log_probability(engine, text, most):
    """Of the text drawn token by token, and of its end unless it is as long as a text can be."""
    decoder, total = engine.decoder(1), 0.0
    logits = decoder.feed([TOKENIZER.bos])[0]
    for token in [*TOKENIZER.encode(text), *([TOKENIZER.stop] if len(text) < most else [])]:
        total += log_softmax(logits)[token]
        logits = decoder.feed([token])[0] if decoder_has_room(decoder) else None
    return total


def decoder_has_room(decoder):
    decoder.fed = getattr(decoder, "fed", 1) + 1
    return decoder.fed <= BLOCK


def exhaustive(engine, most=BLOCK, may_be=lambda text: True):
    """Every text there is, the likeliest first."""
    texts = ["".join(word) for n in range(most + 1) for word in itertools.product("abc", repeat=n)]
    return sorted(filter(may_be, texts), key=lambda text: -log_probability(engine, text, most))


def test_log_softmax():
    assert [math.exp(x) for x in log_softmax([0.0, math.log(3)])] == pytest.approx([0.25, 0.75])
    assert log_softmax([5000.0, 0.0])[0] == 0.0


@pytest.mark.parametrize("name", ENGINES_HERE)
def test_wide_enough_it_finds_the_likeliest_of_all(name):
    engine = tiny(name)
    assert likeliest_texts(engine, TOKENIZER, sample(beams=100)) == exhaustive(engine)[:8]


@pytest.mark.parametrize(
    ("given", "most", "may_be"),
    [
        ({"forbid": "a"}, 4, lambda text: "a" not in text),
        ({"min_length": 2, "max_length": 3}, 3, lambda text: len(text) >= 2),
        ({"suffix": "b"}, 4, lambda text: text.endswith("b")),
        ({"max_new_tokens": 2}, 2, lambda text: True),
    ],
    ids=str,
)
def test_under_constraints_too(given, most, may_be):
    engine = tiny()
    assert (
        likeliest_texts(engine, TOKENIZER, sample(beams=100, **given)) == exhaustive(engine, most, may_be)[:8]
    )


def test_the_numbers_are_log_probabilities_in_falling_order():
    engine = tiny()
    request = request_of(sample(), TOKENIZER, BLOCK)
    found = beam_search(engine, request, 50, 6)
    texts = [TOKENIZER.decode(beam.ids) for beam in found]
    expected = [log_probability(engine, text, BLOCK) for text in texts]
    assert [beam.log_probability for beam in found] == pytest.approx(expected)
    assert expected == sorted(expected, reverse=True)


def test_one_beam_without_an_early_end_is_greedy():
    engine = tiny()
    given = {"min_new_tokens": BLOCK, "n": 1}
    greedy = list(draw_texts(engine, TOKENIZER, sample(temperature=0.0, **given), seed=1))
    assert likeliest_texts(engine, TOKENIZER, sample(beams=1, **given)) == greedy[0]


def test_narrow_beams_give_as_many_texts_as_they_are():
    texts = likeliest_texts(tiny(), TOKENIZER, sample(beams=3))
    assert len(texts) == len(set(texts)) == 3


@pytest.mark.parametrize("name", ENGINES_HERE)
def test_beams_slide_beyond_the_block(name):
    given = sample(beams=4, n=3, max_new_tokens=11, min_new_tokens=9, prefix="ab")
    texts = likeliest_texts(tiny(name), TOKENIZER, given)
    assert texts == likeliest_texts(tiny("array"), TOKENIZER, given)
    assert all(11 <= len(text) <= 13 and text.startswith("ab") for text in texts)


def test_the_stop_text_and_the_end_lead_to_one_text():
    texts = likeliest_texts(tiny(), TOKENIZER, sample(beams=60, stop="c"))
    assert len(set(texts)) == len(texts) == 8
    assert not any("c" in text for text in texts)


def test_a_text_has_the_better_of_its_two_ways_to_end():
    engine = tiny()
    request = request_of(sample(stop="c"), TOKENIZER, BLOCK)
    seen = set()

    def once(ids):
        return ids not in seen and not seen.add(ids)

    plain, stateful = (beam_search(engine, request, 60, 8, keep) for keep in (lambda ids: True, once))
    assert plain == stateful
    logits = engine.decoder(1).feed([TOKENIZER.bos])[0]
    ways = [log_softmax(logits)[token] for token in (TOKENIZER.stop, TOKENIZER.encode("c")[0])]
    assert [beam.log_probability for beam in plain if beam.ids == ()] == [max(ways)]


def test_when_the_beams_meet_too_few():
    groups = draw_texts(tiny(), TOKENIZER, sample(beams=8, max_length=1), seed=0)
    assert sorted(next(groups)) == ["", "a", "b", "c"]
    with pytest.raises(TriesExhausted, match="8 beams met 4 texts, not 8; try more `beams`"):
        next(groups)


def test_in_the_python_api():
    model = GPT.train(["anna", "hanna", "nan"], steps=30, seed=1)
    best = model.generate(3, beams=10)
    assert best == model.generate(3, beams=10, seed=5) == model.generate(beams=10)[:3]
    assert len(model.generate(beams=2)) == 2
    with pytest.raises(SettingError, match="n: expected at most beams = 2, got 3"):
        model.generate(3, beams=2)
    assert not {"anna", "hanna", "nan"} & set(model.generate(3, beams=50, novel=True))
