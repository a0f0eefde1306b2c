"""Logits -> probabilities -> id: every step by hand, the order of the steps, and what is drawn."""

import math
import re
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motegpt import sampling
from motegpt.cli.commands.sample import command
from motegpt.config.fields import kinds, setting
from motegpt.config.sections import SampleConfig
from motegpt.data.tokenizers import CharacterTokenizer
from motegpt.engines import why_unavailable
from motegpt.errors import MotegptError, SettingError, UsageError
from motegpt.generation import filters
from motegpt.generation.filters import MASKED, Filters, distribution, sample_token
from motegpt.generation.request import Request, filters_of, request_of
from motegpt.model.rng import GENERATORS, Stream, make_rng
from motegpt.sampling.collect import draw_texts
from motegpt.sampling.generate import generate_by_token, generate_ids
from motegpt.sampling.texts import texts_of
from tests.conftest import ENGINES_HERE, small_engine, small_settings


def shares(*weights):
    return [weight / sum(weights) for weight in weights]


def logs(*weights):
    return [math.log(weight) if weight else MASKED for weight in weights]


LOGITS = logs(1, 8, 2, 4)
TOKENIZER = CharacterTokenizer("abcde", "bos")
NATIVE = pytest.mark.skipif(bool(why_unavailable("native")), reason="the native engine is not built")


def with_filters(**given):
    return distribution(LOGITS, Filters(**{"temperature": 1.0, **given}))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, shares(1, 8, 2, 4)),
        ({"temperature": 0.5}, shares(1, 64, 4, 16)),
        ({"top_k": 1}, shares(0, 8, 0, 0)),
        ({"top_k": 3}, shares(0, 8, 2, 4)),
        ({"top_k": 9}, shares(1, 8, 2, 4)),
        ({"top_p": 8 / 15 - 1e-9}, shares(0, 8, 0, 0)),
        ({"top_p": 8 / 15 + 1e-9}, shares(0, 8, 0, 4)),
        ({"top_p": 1.0}, shares(1, 8, 2, 4)),
        ({"min_p": 0.24}, shares(0, 8, 2, 4)),
        ({"min_p": 0.26}, shares(0, 8, 0, 4)),
        ({"min_p": 1.0}, shares(0, 8, 0, 0)),
        ({"min_p": 0.0}, shares(1, 8, 2, 4)),
        ({"typical_p": 1.0}, shares(1, 8, 2, 4)),
        ({"typical_p": 0.25}, shares(0, 0, 0, 4)),  # entropy 1.14; -log p 2.71, 0.63, 2.01, 1.32
        ({"typical_p": 0.75}, shares(0, 8, 0, 4)),
        ({"typical_p": 0.85}, shares(0, 8, 2, 4)),
    ],
    ids=str,
)
def test_each_filter_by_hand(given, expected):
    assert with_filters(**given) == pytest.approx(expected, abs=1e-12)


def test_the_repetition_penalty_divides_positive_and_multiplies_negative_logits():
    assert filters.apply_repetition_penalty([3.0, -3.0, 3.0, -3.0], 2.0, {0, 1}) == [1.5, -6.0, 3.0, -3.0]
    assert filters.apply_repetition_penalty([3.0, -3.0], 0.5, {0, 1}) == [6.0, -1.5]
    p = distribution([2.0, -2.0, 0.0], Filters(1.0, repetition_penalty=2.0), seen={0, 1})
    assert p == pytest.approx(shares(math.e, math.exp(-4), 1))


def test_masked_ids_have_no_probability_and_the_rest_shares_it():
    assert distribution(LOGITS, Filters(1.0), masked={1, 3}) == pytest.approx(shares(1, 0, 2, 0))
    assert distribution(LOGITS, Filters(1.0), masked={1, 3})[1] == 0.0


def test_of_equals_top_k_and_top_p_keep_the_lower_ids():
    equal = [0.0, 1.0, 1.0, 1.0]
    assert filters.top_k(equal, 2) == [MASKED, 1.0, 1.0, MASKED]
    assert filters.top_p([0.0] * 4, 0.5) == [0.0, 0.0, MASKED, MASKED]


STEPS = {
    "repetition_penalty": lambda x: filters.apply_repetition_penalty(x, 3.0, {1}),
    "masks": lambda x: filters.apply_mask(x, {1}),
    "temperature": lambda x: filters.apply_temperature(x, 2.0),
    "top_k": lambda x: filters.top_k(x, 3),
    "top_p": lambda x: filters.top_p(x, 0.75),
    "min_p": lambda x: filters.min_p(filters.apply_temperature(x, 1.0), 0.5),
    "typical_p": lambda x: filters.typical_p(filters.apply_temperature(x, 1.0), 0.5),
}
ALL = Filters(2.0, repetition_penalty=3.0, top_k=3, top_p=0.75, min_p=0.5, typical_p=0.5)


def in_order(names, x):
    """softmax after the steps of these names."""
    for name in names:
        x = STEPS[name](x)
    return pytest.approx(filters.softmax(filters.apply_temperature(x, 1.0)), abs=1e-12)


SHOWS_A_SWAP = {
    ("temperature", "top_p"): logs(8, 0.01, 4, 2, 1),
    ("top_k", "top_p"): logs(5, 0.001, 4, 1, 1, 1),
    ("top_p", "min_p"): logs(8, 6, 4.5, 1, 1),
    ("min_p", "typical_p"): logs(8, 4.5, 2, 2, 2, 2),
    ("masks", "top_k"): logs(4, 32, 2, 1, 1),
    ("repetition_penalty", "temperature"): [4.0, 9.0, 3.0],
}  # other neighbors commute: masked tokens stay masked, and no temperature changes the k most likely tokens


@pytest.mark.parametrize(("pair", "x"), SHOWS_A_SWAP.items(), ids=str)
def test_the_order_is_the_documented_one(pair, x):
    given = [name for name in STEPS if name in pair]
    values = {"temperature": ALL.temperature, **ALL.on}
    on = {name: values[name] for name in given if name != "masks"}
    masked = {1} if "masks" in pair else ()
    p = distribution(x, Filters(**{"temperature": 1.0, **on}), seen={1}, masked=masked)
    assert p == in_order(given, x)
    assert p != in_order(given[::-1], x)


def test_all_steps_in_their_order():
    x = logs(16, 40, 9, 5, 3, 2)
    assert distribution(x, ALL, seen={1}, masked={1}) == in_order(STEPS, x)


def settings_of_rows(rows):
    return [row.setting for row in rows]


def test_the_documentation_has_the_order_of_the_tables():
    before, after = settings_of_rows(filters.PENALTIES), settings_of_rows(filters.FILTERS)
    order = [*before, "masks", "temperature", *after, "draw"]
    assert list(STEPS) == order[:-1]
    assert re.findall(r"^\d+\. (?:the )?(\w+)", sampling.__doc__, re.MULTILINE) == order
    notation = Path("docs/notation.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| \d+ \| `?(\w+)`? \|", notation, re.MULTILINE) == order
    act = re.search(r"act in this order: (.*?)\.", command.help, re.DOTALL)
    assert re.findall("|".join(["lengths", *order]), act[1]) == [*before, "lengths", "temperature", *after]


def test_each_row_has_a_setting_that_is_off_by_default_and_listed_in_the_order_of_the_table():
    rows = filters.filter_rows()
    assert [name for name in kinds(SampleConfig) if name in settings_of_rows(rows)] == settings_of_rows(rows)
    defaults = SampleConfig(n=1, temperature=1.0)
    assert all(getattr(defaults, row.setting) == row.off for row in rows)
    assert filters_of(defaults).on == {}


def test_a_request_has_the_rows_that_are_on_in_the_order_of_the_table():
    given = {"min_p": 0.1, "top_k": 3, "repetition_penalty": 2.0}
    asked = filters_of(SampleConfig(n=1, temperature=0.5, top_p=None, **given))
    assert list(asked.on.items()) == [("repetition_penalty", 2.0), ("top_k", 3), ("min_p", 0.1)]
    assert asked == Filters(0.5, **given)
    with pytest.raises(TypeError, match=r"'min_p'.*got .'top_a'"):
        Filters(1.0, top_a=0.3)


def test_filters_are_values():
    active = Filters(0.5, top_k=3, min_p=0.1)
    assert replace(active, temperature=1.0) == Filters(1.0, min_p=0.1, top_k=3)
    assert replace(active, top_k=None, top_p=0.5) == Filters(0.5, top_p=0.5, min_p=0.1)
    assert len({active, replace(active), Filters(0.5, top_k=3)}) == 2
    assert hash(Request((0,), 1, None, active)) == hash(Request((0,), 1, None, replace(active)))


def top_a(x, a):
    """Tokens with at least a times the square of the highest probability."""
    p = filters.softmax(x)
    return [logit if share >= a * max(p) ** 2 else MASKED for logit, share in zip(x, p, strict=True)]


@dataclass(frozen=True, kw_only=True)
class SampleWithTopA(SampleConfig):
    top_a: float | None = setting(
        "Keep tokens with this part of the highest probability squared.", default=None
    )


@pytest.mark.parametrize("name", ENGINES_HERE)
def test_a_filter_registered_at_run_time_acts_on_every_engine(name, monkeypatch):
    """Also on the native one, whose core does not know it: token by token, with the same generators."""
    monkeypatch.setattr(
        filters, "FILTERS", (*filters.FILTERS, filters.Filter("top_a", off=None, apply=top_a))
    )
    engine = small_engine(name, small_settings(init_std=0.6))
    given = SampleWithTopA(n=40, temperature=1.0, top_k=5, top_a=0.9)
    texts = [text for group in draw_texts(engine, TOKENIZER, given, seed=3) for text in group]
    request = request_of(given, TOKENIZER, engine.model.block_size)
    streams = [Stream.of(3, i) for i in range(40)]
    assert texts == texts_of(request, TOKENIZER, generate_by_token(engine, request, streams))
    without = [
        text for group in draw_texts(engine, TOKENIZER, given.replace(top_a=None), 3) for text in group
    ]
    assert texts != without
    allowed = top_a(filters.apply_temperature(list(engine.decoder(1).feed([5])[0]), 1.0), 0.9)
    assert {text[:1] for text in texts} <= {
        ("abcde"[i] if i < 5 else "") for i in range(6) if allowed[i] > MASKED
    }
    with pytest.raises(SettingError, match=r"expected top_a none, got 0\.9"):
        draw_texts(engine, TOKENIZER, given.replace(top_k=None, beams=2), 3)


@NATIVE
def test_the_native_engine_says_which_filter_its_core_lacks(monkeypatch):
    monkeypatch.setattr(
        filters, "FILTERS", (*filters.FILTERS, filters.Filter("top_a", off=None, apply=top_a))
    )
    engine = small_engine("native", small_settings())
    assert engine.why_not(request=Request((5,), 1, 5, Filters(1.0, top_k=2, min_p=0.1))) is None
    request, reason = Request((5,), 1, 5, Filters(1.0, top_a=0.3)), "generate: the native core has no top_a"
    assert engine.why_not(request=request) == f"{reason}; it generates token by token"
    with pytest.raises(UsageError, match=reason):
        engine.generate(request, [Stream.of(1, 0)])


def test_greedy_takes_the_most_likely_unmasked_token():
    rng = Stream(1)
    assert sample_token(LOGITS, Filters(0.0), rng, masked={1}) == 3
    assert sample_token([3.0, 2.9], Filters(0.0, repetition_penalty=2.0), rng, seen={0}) == 1
    assert rng.number == 1


@pytest.mark.parametrize("name", GENERATORS)
@given(
    logits=st.lists(st.floats(-30, 30), min_size=2, max_size=9),
    temperature=st.sampled_from([0.0, 1e-300, 0.5, 1.0, 1e300]),
    seed=st.integers(0, 2**32),
    data=st.data(),
)
@settings(max_examples=40)
def test_what_is_out_is_never_drawn(name, logits, temperature, seed, data):
    masked = data.draw(st.sets(st.integers(0, len(logits) - 1), max_size=len(logits) - 1))
    given = Filters(
        temperature,
        top_k=data.draw(st.none() | st.integers(1, 4)),
        top_p=data.draw(st.none() | st.floats(0.01, 1.0)),
        min_p=data.draw(st.none() | st.floats(0.0, 1.0)),
        typical_p=data.draw(st.none() | st.floats(0.01, 1.0)),
        repetition_penalty=data.draw(st.floats(0.1, 9.0)),
    )
    rng, seen = make_rng(name, seed), data.draw(st.sets(st.integers(0, len(logits) - 1)))
    drawn = {sample_token(logits, given, rng, seen, masked) for _ in range(9)}
    assert not drawn & masked
    assert len(drawn) <= given.on.get("top_k", len(logits))
    if temperature > 0.0:
        assert all(distribution(logits, given, seen, masked)[token] > 0.0 for token in drawn)


class Stub:
    """A generator whose dart lies at the very end, or at the very beginning."""

    def __init__(self, value):
        self.value = value

    def uniform(self):
        return self.value

    categorical = Stream.categorical


@pytest.mark.parametrize("dart", [0.0, 1.0])
def test_not_even_by_a_dart_at_the_edge(dart):
    assert sample_token(LOGITS, Filters(1.0), Stub(dart), masked={0, 3}) in (1, 2)


def test_logits_that_are_not_finite():
    for logits in ([math.nan, 0.0], [math.inf, 0.0]):
        for temperature in (0.0, 1.0):
            with pytest.raises(MotegptError, match="finite logits"):
                sample_token(logits, Filters(temperature), Stream(1))


@pytest.mark.parametrize(
    "given",
    [{}, {"top_k": 3}, {"top_p": 0.6}, {"min_p": 0.4}, {"typical_p": 0.5},
     {"repetition_penalty": 3.0}, {"temperature": 0.6},
     {"top_k": 4, "top_p": 0.9, "min_p": 0.3, "repetition_penalty": 1.5, "temperature": 1.3}],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("name", ENGINES_HERE)
def test_what_is_drawn_has_the_exact_probabilities(name, given):
    """Chi-square over the first token of many texts, with a fixed seed."""
    engine = small_engine(name, small_settings(init_std=0.6))
    chosen, prompt, masked = Filters(**{"temperature": 1.0, **given}), (5, 0, 2), frozenset({4})
    decoder = engine.decoder(1)
    for token in prompt:
        logits = decoder.feed([token])[0]
    expected = distribution(logits, chosen, seen={0, 2}, masked=masked)
    request = Request(prompt, 1, 5, chosen, n_prefix_tokens=2, masked=masked)
    n = 20_000 if name == "native" and engine.why_not(request=request) is None else 300
    drawn = generate_ids(engine, request, [Stream.of(3, i) for i in range(n)])
    counts = [0] * 6
    for ids in drawn:
        counts[ids[0] if ids else 5] += 1
    assert all(count == 0 for count, p in zip(counts, expected, strict=True) if p == 0.0)
    square = sum((c - n * p) ** 2 / (n * p) for c, p in zip(counts, expected, strict=True) if p > 0.0)
    assert square < 20.5  # five degrees of freedom: exceeded once in a thousand seeds


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"top_k": 0}, "top_k"), ({"top_p": 0.0}, "top_p"), ({"top_p": 1.1}, "top_p"),
        ({"min_p": -0.1}, "min_p"), ({"min_p": 1.1}, "min_p"), ({"repetition_penalty": 0.0}, "repetition"),
        ({"min_new_tokens": -1}, "min_new"), ({"max_new_tokens": 0}, "max_new"), ({"beams": 0}, "beams"),
        ({"min_new_tokens": 5, "max_new_tokens": 4}, "min_new_tokens: expected at most max_new_tokens = 4"),
        ({"min_length": 5, "max_length": 4}, "min_length: expected at most max_length = 4"),
        ({"beams": 2, "top_k": 3}, "expected top_k none, got 3"), ({"tries": 0}, "tries"),
        ({"beams": 2, "repetition_penalty": 1.5}, "expected repetition_penalty 1.0, got 1.5"),
    ],
    ids=str,
)  # fmt: skip
def test_settings_that_make_no_sense(given, said):
    with pytest.raises(SettingError, match=said):
        request_of(SampleConfig(n=1, temperature=1.0, **given), TOKENIZER, 6)


@pytest.mark.parametrize("name", ENGINES_HERE)
def test_a_top_k_beyond_the_vocabulary_keeps_all(name):
    """As large as a setting may be, which the core's own integers are not."""
    engine = small_engine(name, small_settings())
    drawn = [
        generate_ids(engine, Request((5,), 6, 5, Filters(1.0, top_k=k)), [Stream.of(1, i) for i in range(3)])
        for k in (6, 2**63, 2**64 - 1)
    ]
    assert drawn[0] == drawn[1] == drawn[2]
