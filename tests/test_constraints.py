"""Masks, lengths, stop texts and the sliding context hold for every text, and alike on every engine."""

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from motegpt.config.sections import SampleConfig
from motegpt.data.tokenizers import ByteTokenizer, CharacterTokenizer
from motegpt.engines import why_unavailable
from motegpt.engines.array.engine import ArrayEngine
from motegpt.errors import PrefixError, SettingError
from motegpt.generation.filters import Filters
from motegpt.generation.request import Request, prompt_of, request_of
from motegpt.model.rng import Stream
from motegpt.sampling.context import SlidingContext, window_start
from motegpt.sampling.generate import generate, generate_by_token, generate_ids
from tests.conftest import ENGINES_HERE, small_engine, small_settings

TOKENIZER = CharacterTokenizer("abcde", "bos")
BYTES = ByteTokenizer("bos")
BLOCK = 6


def sample(**given):
    return SampleConfig(**{"n": 1, "temperature": 1.0, **given})


def draw(engine, n=40, tokenizer=TOKENIZER, **given):
    return generate(engine, tokenizer, sample(**given), [Stream.of(7, i) for i in range(n)])


def loads(engine, request, n=70):
    """What an engine draws in its fastest way, and the states its generators end with."""
    rngs = [Stream.of(1, i) for i in range(n)]
    return generate_ids(engine, request, rngs), [rng.number for rng in rngs]


def by_token(engine, request, n=70):
    rngs = [Stream.of(1, i) for i in range(n)]
    return generate_by_token(engine, request, rngs), [rng.number for rng in rngs]


@st.composite
def settings_of_texts(draw):
    """SampleConfig with everything that acts while a text is drawn."""
    return SampleConfig(
        n=1,
        temperature=draw(st.sampled_from([0.0, 0.7, 1.0, 3.0])),
        prefix=draw(st.text("abcde", max_size=4)),
        repetition_penalty=draw(st.sampled_from([1.0, 0.5, 1.7])),
        top_k=draw(st.none() | st.integers(1, 7)),
        top_p=draw(st.none() | st.floats(0.05, 1.0)),
        min_p=draw(st.none() | st.floats(0.0, 0.8)),
        min_new_tokens=draw(st.sampled_from([0, 0, 2, 5])),
        max_new_tokens=draw(st.none() | st.integers(5, 25)),
        min_length=draw(st.none() | st.integers(0, 7)),
        max_length=draw(st.none() | st.integers(7, 20)),
        stop=draw(st.text("abcde", max_size=2)),
        allow=draw(st.sampled_from(["", "", "abc", "edxyz"])),
        forbid=draw(st.sampled_from(["", "", "a", "xb"])),
    )


def request_or_reject(given):
    try:
        return request_of(given, TOKENIZER, BLOCK)
    except SettingError:
        assume(False)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.skipif(bool(why_unavailable("native")), reason="the native engine is not built")
@given(given=settings_of_texts())
@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_core_draws_the_texts_and_states_of_the_reference(dtype, given):
    """Token by token over its own decoder in either precision, and in double over the array engine's."""
    request = request_or_reject(given)
    engine = small_engine("native", small_settings(init_std=0.4, dtype=dtype))
    drawn = loads(engine, request)
    assert drawn == by_token(engine, request)
    if dtype == "float64":
        array = ArrayEngine(engine.model, engine.settings)
        array.load(engine.export().parameters)
        assert drawn == by_token(array, request)


@given(given=settings_of_texts())
@settings(max_examples=120, deadline=None)
def test_what_was_asked_of_every_text_holds(given):
    request = request_or_reject(given)
    name = "array" if why_unavailable("native") else "native"
    engine = small_engine(name, small_settings(init_std=0.4))
    texts = generate(engine, TOKENIZER, given, [Stream.of(2, i) for i in range(30)])
    longest = len(given.prefix) + (given.max_new_tokens or BLOCK - len(given.prefix))
    for text in texts:
        rest = text[len(given.prefix) :]
        assert text.startswith(given.prefix)
        assert len(text) >= (given.min_length or 0)
        assert len(rest) >= given.min_new_tokens
        assert len(text) <= min(longest, given.max_length or longest)
        assert not given.allow or set(rest) <= set(given.allow)
        assert not set(rest) & set(given.forbid)
        assert not given.stop or given.stop not in rest
    assert request.max_new_tokens + len(given.prefix) == min(longest, given.max_length or longest)


@pytest.mark.parametrize("name", ENGINES_HERE)
def test_every_engine_draws_the_same(name):
    given = {
        "prefix": "ab", "top_k": 5, "top_p": 0.95, "min_p": 0.01, "repetition_penalty": 1.2, "forbid": "d",
        "min_length": 4, "max_new_tokens": 15, "stop": "ec",
    }  # fmt: skip
    reference = draw(small_engine("array", small_settings()), 12, **given)
    assert draw(small_engine(name, small_settings()), 12, **given) == reference
    assert max(map(len, reference)) > BLOCK


def test_masking_renormalizes_and_does_not_reject():
    """One dart a token, whatever is masked; and the frequencies are those of the masked distribution."""
    engine = small_engine(ENGINES_HERE[-1], small_settings(init_std=0.5))
    rngs = [Stream.of(5, i) for i in range(4000)]
    drawn = generate_ids(engine, request_of(sample(allow="ab", max_length=1), TOKENIZER, BLOCK), rngs)
    after = Stream.of(5, 0)
    after.uniform()
    assert rngs[0].number == after.number
    x = np.array(engine.decoder(1).feed([TOKENIZER.bos])[0], np.float64)[[0, 1, 5]]
    p = np.exp(x) / np.exp(x).sum()
    counts = np.array([sum(ids == kind for ids in drawn) for kind in ([0], [1], [])])
    assert counts.sum() == 4000
    assert ((counts - 4000 * p) ** 2 / (4000 * p)).sum() < 13.8  # two degrees of freedom, once in a thousand


def test_an_exact_length():
    texts = draw(small_engine("array", small_settings()), min_length=5, max_length=5)
    assert {len(text) for text in texts} == {5}
    assert len(set(texts)) > 10


def test_the_stop_text_ends_a_text_and_is_left_out():
    engine = small_engine("array", small_settings())
    plain = draw(engine, 200, max_new_tokens=12)
    stopped = draw(engine, 200, max_new_tokens=12, stop="ab")
    assert stopped == [text.partition("ab")[0] for text in plain]
    assert any("ab" in text for text in plain)


def test_the_stop_text_is_looked_for_in_what_was_drawn_alone():
    engine = small_engine("array", small_settings())
    assert all(text.startswith("abab") for text in draw(engine, 20, prefix="abab", stop="ab"))
    assert any(text.startswith("aba") and len(text) > 3 for text in draw(engine, 99, prefix="a", stop="ab"))


def test_special_tokens_are_no_text():
    tokenizer = CharacterTokenizer("abcd", "bos_eos")
    engine = small_engine("array", small_settings(init_std=0.01))
    for settings_given in ({"forbid": "a"}, {"min_length": 1}, {"max_length": 5}, {"stop": "dd"}):
        assert not any("<" in text for text in draw(engine, 99, tokenizer, **settings_given))
    assert any("<BOS>" in text for text in draw(engine, 99, tokenizer, top_p=0.99, min_new_tokens=1))


@pytest.mark.parametrize("block", range(2, 12))
def test_windows(block):
    half = max(1, block // 2)
    for length in range(1, 60):
        start = window_start(length, block)
        assert start == 0 if length <= block else half <= length - start <= block
        if window_start(length + 1, block) != start:
            assert length - start == block
            assert length + 1 - window_start(length + 1, block) == half


class Recorder:
    """A decoder that keeps what it is fed."""

    def __init__(self, block):
        self.block, self.seen = block, []

    def reset(self):
        self.seen = []

    def feed(self, ids):
        self.seen.append(ids[0])
        assert len(self.seen) <= self.block
        return [[0.0]]


@pytest.mark.parametrize("block", [2, 3, 6, 7])
@pytest.mark.parametrize("first", [1, 5, 30])
def test_the_model_sees_the_window(block, first):
    recorder = Recorder(block)
    context = SlidingContext(recorder, block)
    for length in range(first, 50):
        context.logits([list(range(length))])
        assert recorder.seen == list(range(window_start(length, block), length))


@pytest.mark.parametrize("name", ENGINES_HERE)
def test_a_long_text_and_a_long_prefix(name):
    engine = small_engine(name, small_settings())
    texts = draw(engine, 3, prefix="abcdeabcdeabc", max_new_tokens=20, min_new_tokens=20)
    assert {len(text) for text in texts} == {33}
    assert texts == draw(small_engine("array", small_settings()), 3, prefix="abcdeabcdeabc",
                         max_new_tokens=20, min_new_tokens=20)  # fmt: skip


def test_a_group_of_long_texts_fits_into_memory(monkeypatch):
    engine = small_engine("array", small_settings())
    whole = draw(engine, 6, max_new_tokens=30)
    monkeypatch.setattr("motegpt.sampling.generate.CACHE_BYTES", 2000)
    assert draw(engine, 6, max_new_tokens=30) == whole


def test_prompts():
    assert prompt_of("ba", TOKENIZER) == [5, 1, 0]
    assert prompt_of("ba", CharacterTokenizer("abc", "none")) == [1, 0]
    assert prompt_of("", CharacterTokenizer("\nabc", "none")) == [0]
    assert prompt_of("", CharacterTokenizer("a bc", "none")) == [1]
    assert prompt_of("", CharacterTokenizer("xyz", "none")) == [0]
    assert prompt_of("", BYTES) == [256]


@pytest.mark.parametrize("name", ENGINES_HERE)
def test_a_stream_has_no_end_and_slides(name):
    engine = small_engine(name, small_settings())
    tokenizer = CharacterTokenizer("abcde\n", "none")
    assert {len(text) for text in draw(engine, 5, tokenizer)} == {BLOCK}
    assert {len(text) for text in draw(engine, 5, tokenizer, prefix="a", max_new_tokens=25)} == {26}
    lines = draw(engine, 5, tokenizer, prefix="ab", stop="\n", max_new_tokens=25)
    assert not any("\n" in text for text in lines)
    assert draw(engine, 5, tokenizer, max_new_tokens=25, repetition_penalty=2.0, temperature=0.0)[0]


def test_bytes():
    request = request_of(sample(allow="ab", stop="ж", forbid="b"), BYTES, BLOCK)
    assert set(range(256)) - request.masked == {ord("a")}
    assert request.stop == (0xD0, 0xB6)
    assert len(request_of(sample(forbid="ab"), BYTES, BLOCK).masked) == 2
    for refused in ({"allow": "aж"}, {"forbid": "ж"}):
        with pytest.raises(SettingError, match="part of a character"):
            request_of(sample(**refused), BYTES, BLOCK)
    with pytest.raises(SettingError, match=r"min_length: expected at most 1, .* got 2"):  # of up to 4 bytes
        request_of(sample(min_length=2), BYTES, BLOCK)


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"allow": "xyz"}, SettingError, "at least one allowed character"),
        ({"forbid": "abcde"}, SettingError, "at least one allowed character"),
        ({"allow": "ab", "forbid": "abx"}, SettingError, "at least one allowed character"),
        (
            {"min_length": 7},
            SettingError,
            "min_length: expected at most 6, .* got 7; set a larger `max_new_tok",
        ),
        ({"min_new_tokens": 5, "prefix": "ab"}, SettingError, "min_new_tokens: expected at most 4"),
        ({"min_new_tokens": 5, "max_length": 4}, SettingError, "min_new_tokens: expected at most 4"),
        ({"max_length": 2, "prefix": "ab"}, SettingError, "max_length: expected more than the 2 characters"),
        ({"stop": "aa", "allow": "a", "min_length": 2}, SettingError, "a text that 2 tokens can avoid"),
        ({"stop": "z"}, PrefixError, "'z'"),
        ({"suffix": "z"}, PrefixError, "'z'"),
        ({"prefix": "abcdea"}, PrefixError, "at most 5 characters .*; set `max_new_tokens` to"),
    ],
    ids=str,
)
def test_what_no_text_can_be_is_refused_beforehand(given, error, said):
    with pytest.raises(error, match=said):
        request_of(sample(**given), TOKENIZER, BLOCK)


def test_a_stop_text_of_the_only_character_that_can_still_be_left_out():
    engine = small_engine("array", small_settings())
    texts = draw(engine, stop="aaa", allow="a", min_length=2, max_new_tokens=9)
    assert set(texts) == {"aa"}


def test_a_request_alone():
    request = Request(
        (5, 0, 1), 4, 5, Filters(1.0), n_prefix_tokens=2, min_new_tokens=2, masked=frozenset({3}), stop=(0, 1)
    )
    assert request.prefix == (0, 1)
    assert request.masked_after([]) == {3, 5}
    assert request.masked_after([0]) == {3, 5, 1}
    assert request.masked_after([2, 0]) == {3, 1}
    assert request.masked_after([2, 2, 0]) == {3}
    assert not request.is_stopped([1])
    assert request.is_stopped([2, 0, 1])
