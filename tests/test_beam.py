"""Beam search against all texts there are."""

import itertools
import math

import pytest

from motegpt.api.gpt import GPT
from motegpt.config.sections import SampleConfig
from motegpt.data.tokenizers import ByteTokenizer, CharacterTokenizer
from motegpt.errors import SettingError, TriesExhausted
from motegpt.generation.filters import log_softmax
from motegpt.generation.request import request_of
from motegpt.sampling.beam import beam_search, best_texts
from motegpt.sampling.collect import draw_texts
from motegpt.sampling.conditions import Conditions
from motegpt.sampling.starts import prepare_starts
from tests.conftest import ENGINES_HERE, engine_that_says, small_engine, small_settings

TOKENIZER = CharacterTokenizer("abc", "bos")
BLOCK = 4


def tiny(name="array", **changes):
    return small_engine(name, small_settings(block_size=BLOCK, **{"init_std": 0.5, **changes}), vocab_size=4)


def sample(**given):
    return SampleConfig(**{"n": 8, "temperature": 1.0, **given})


def search(engine, settings, tokenizer=TOKENIZER):
    """The best texts that the settings ask for."""
    starts = prepare_starts(engine, tokenizer, settings)
    return best_texts(engine, tokenizer, starts, settings, Conditions.of(settings))


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


def score(engine, text, most, length_penalty):
    """log p / n^length_penalty, where the end is one of the n tokens if it was drawn."""
    return log_probability(engine, text, most) / (len(text) + (len(text) < most)) ** length_penalty


def exhaustive(engine, length_penalty, most=BLOCK, may_be=lambda text: True):
    """Every text there is but the empty one, the best first."""
    texts = ["".join(word) for n in range(1, most + 1) for word in itertools.product("abc", repeat=n)]
    ranked = filter(may_be, texts)
    return sorted(ranked, key=lambda text: -score(engine, text, most, length_penalty))


def test_log_softmax():
    assert [math.exp(x) for x in log_softmax([0.0, math.log(3)])] == pytest.approx([0.25, 0.75])
    assert log_softmax([5000.0, 0.0])[0] == 0.0


@pytest.mark.parametrize("length_penalty", [0.0, 0.6, 1.0, 10.0])
@pytest.mark.parametrize("name", ENGINES_HERE)
def test_wide_enough_it_finds_the_best_of_all(name, length_penalty):
    engine, given = tiny(name), sample(beams=100, length_penalty=length_penalty)
    assert search(engine, given) == exhaustive(engine, length_penalty)[:8]


@pytest.mark.parametrize("length_penalty", [0.0, 0.6, 1.0, 3.0])
@pytest.mark.parametrize("seed", range(12))
def test_it_does_not_end_before_the_best_is_found(seed, length_penalty):
    engine, given = tiny(seed=seed, init_std=0.9), {"beams": 100, "length_penalty": length_penalty}
    for n in (1, 3):
        found = search(engine, sample(n=n, **given))
        assert found == exhaustive(engine, length_penalty)[:n]


@pytest.mark.parametrize("length_penalty", [0.0, 0.6, 1.0])
def test_it_ends_as_soon_as_no_beam_can_become_better(length_penalty):
    """Where "a" is best, and a beam of n tokens can come to n · log p(a) / most^length_penalty at best."""
    logits, most = [0.0, -9.0, -9.0, 3.0], 50
    engine = engine_that_says(logits, block_size=most)
    decoder, fed = engine.decoder(9), []
    feed, decoder.feed = decoder.feed, lambda ids: fed.append(ids) or feed(ids)
    engine.decoder = lambda n: decoder
    given = sample(beams=9, n=1, length_penalty=length_penalty)
    assert search(engine, given) == ["a"]
    a, *_, end = log_softmax(logits)
    best = (a + end) / 2**length_penalty
    needed = next(n for n in range(2, most + 1) if n * a / most**length_penalty <= best)
    assert len(fed) == needed < most


@pytest.mark.parametrize("length_penalty", [0.0, 0.6, 2.0])
@pytest.mark.parametrize(
    ("given", "most", "may_be"),
    [
        ({"forbid": "a"}, 4, lambda text: "a" not in text),
        ({"min_length": 2, "max_length": 3}, 3, lambda text: len(text) >= 2),
        ({"suffix": "b"}, 4, lambda text: text.endswith("b")),
        ({"max_new_tokens": 2}, 2, lambda text: True),
    ],
    ids=lambda value: "" if callable(value) else str(value),
)
def test_under_constraints_too(given, most, may_be, length_penalty):
    engine, chosen = tiny(), sample(beams=100, length_penalty=length_penalty, **given)
    expected = exhaustive(engine, length_penalty, most, may_be)[:8]
    assert search(engine, chosen) == expected


@pytest.mark.parametrize("length_penalty", [0.0, 0.6])
def test_the_numbers_are_log_probabilities_in_the_order_of_their_scores(length_penalty):
    engine = tiny()
    request = request_of(sample(beams=50), TOKENIZER, BLOCK)
    found = beam_search(engine, request, 50, 6, length_penalty)
    texts = [TOKENIZER.decode(beam.ids) for beam in found]
    expected = [log_probability(engine, text, BLOCK) for text in texts]
    assert [beam.log_probability for beam in found] == pytest.approx(expected)
    scores = [score(engine, text, BLOCK, length_penalty) for text in texts]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("tokenizer", [TOKENIZER, CharacterTokenizer("ab", "bos_eos"), ByteTokenizer("bos")])
def test_the_empty_text_comes_if_it_is_asked_for(tokenizer):
    """By min_length 0. A text that is nothing but its prefix is not empty."""
    logits = [0.0] * tokenizer.vocab_size
    logits[tokenizer.stop] = 9.0
    engine = engine_that_says(logits)

    def best(**given):
        return search(engine, sample(beams=3, n=3, length_penalty=0.0, **given), tokenizer)

    assert "" not in best()
    assert len(best()) == 3
    assert best(min_length=0)[0] == best(min_length=0, min_new_tokens=0)[0] == ""
    assert best(prefix="a")[0] == "a"
    assert best(min_new_tokens=1) == best()


def test_a_stop_text_does_not_make_an_empty_text():
    engine = engine_that_says([0.0, 9.0, 0.0, 0.0])
    assert "" not in search(engine, sample(beams=5, n=3, stop="b"))
    assert search(engine, sample(beams=5, n=1, stop="b", min_length=0)) == [""]


def test_one_beam_without_an_early_end_is_greedy():
    engine = tiny()
    given = {"min_new_tokens": BLOCK, "n": 1}
    greedy = list(draw_texts(engine, TOKENIZER, sample(temperature=0.0, **given), seed=1))
    assert search(engine, sample(beams=1, **given)) == greedy[0]


def test_narrow_beams_give_as_many_texts_as_they_are():
    texts = search(tiny(), sample(beams=3))
    assert len(texts) == len(set(texts)) == 3


@pytest.mark.parametrize("name", ENGINES_HERE)
def test_beams_slide_beyond_the_block(name):
    given = sample(beams=4, n=3, max_new_tokens=11, min_new_tokens=9, prefix="ab")
    texts = search(tiny(name), given)
    assert texts == search(tiny("array"), given)
    assert all(11 <= len(text) <= 13 and text.startswith("ab") for text in texts)


def test_the_stop_text_and_the_end_lead_to_one_text():
    texts = search(tiny(), sample(beams=60, stop="c"))
    assert len(set(texts)) == len(texts) == 8
    assert not any("c" in text for text in texts)


def test_a_text_has_the_better_of_its_two_ways_to_end():
    engine = tiny()
    request = request_of(sample(stop="c"), TOKENIZER, BLOCK)
    seen = set()

    def once(ids):
        return ids not in seen and not seen.add(ids)

    plain, stateful = (beam_search(engine, request, 60, 8, 0.6, keep) for keep in (lambda ids: True, once))
    assert plain == stateful
    logits = engine.decoder(1).feed([TOKENIZER.bos])[0]
    ways = [log_softmax(logits)[token] for token in (TOKENIZER.stop, TOKENIZER.encode("c")[0])]
    assert [beam.log_probability for beam in plain if beam.ids == ()] == [max(ways)]


@pytest.mark.parametrize("on_cut", ["keep", "mark", "redraw"])
def test_texts_of_different_ids_are_returned_once(on_cut):
    """With framing bos_eos, BOS may be drawn, and decodes to nothing."""
    tokenizer, engine = CharacterTokenizer("ab", "bos_eos"), engine_that_says([0.0, 0.0, 0.5, 0.3])
    texts = search(engine, sample(beams=40, n=30, on_cut=on_cut), tokenizer)
    assert len(set(texts)) == len(texts) == 30


def test_the_better_way_is_the_one_with_the_better_score():
    """The end costs 1.5 nats in one token, bb 1.6 in two: the mean of the latter is less."""
    engine = engine_that_says([0.0, 1.0, 0.0, 0.3])
    request = request_of(sample(stop="bb"), TOKENIZER, BLOCK)
    _, b, _, end = log_softmax([0.0, 1.0, 0.0, 0.3])
    assert 2 * b < end < b
    for length_penalty, drawn in ((0.0, 1), (1.0, 2)):
        found = beam_search(engine, request, 60, 60, length_penalty)
        assert [beam.drawn for beam in found if beam.ids == ()] == [drawn]


def test_when_the_beams_meet_too_few():
    groups = draw_texts(tiny(), TOKENIZER, sample(beams=8, max_length=1), seed=0)
    assert sorted(next(groups)) == ["a", "b", "c"]
    with pytest.raises(TriesExhausted, match="expected 8 texts, got 3 from 8 beams; try more `beams`"):
        next(groups)


def test_in_the_python_api():
    model = GPT.train(["anna", "hanna", "nan"], steps=30, seed=1, preset="microgpt")
    best = model.generate(3, beams=10)
    assert best == model.generate(3, beams=10, seed=5) == model.generate(beams=10)[:3]
    assert len(model.generate(beams=2)) == 2
    with pytest.raises(SettingError, match="n: expected at most beams = 2, got 3"):
        model.generate(3, beams=2)
    assert not {"anna", "hanna", "nan"} & set(model.generate(3, beams=50, novel=True))
