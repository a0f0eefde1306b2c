"""Edge values of sampling: the core's sampler and generation/filters.py, on logits that a test chooses."""

import math

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from motegpt.config.sections import SampleConfig
from motegpt.data.tokenizers import CharacterTokenizer
from motegpt.engines import engine_class, why_unavailable
from motegpt.errors import MotegptError
from motegpt.generation.filters import Filters
from motegpt.generation.request import Request
from motegpt.model.rng import Stream
from motegpt.sampling.collect import draw_texts
from motegpt.sampling.generate import generate, generate_by_token, generate_ids
from tests.conftest import ENGINES_HERE, engine_that_says

NATIVE = pytest.mark.skipif(bool(why_unavailable("native")), reason="the native engine is not built")
LEVELS = []
if not why_unavailable("native"):
    from motegpt.engines.native import _core

    LEVELS = _core.levels()
SEQUENCES = 70  # more than the core takes side by side
EDGES = [0.0, -0.0, 1.0, -1.0, 5e-324, 40.0, -40.0, 708.5, 750.0, 1e306, -1e306, 1.7e308, -1.7e308]
BROKEN = [math.nan, math.inf, -math.inf]


def outcome(draw, engine, request, n):
    """The ids and the states of the generators after them; or the error."""
    rngs = [Stream.of(1, i) for i in range(n)]
    try:
        return draw(engine, request, rngs), [rng.number for rng in rngs]
    except MotegptError as error:
        return str(error)


@pytest.mark.parametrize("name", ENGINES_HERE)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_an_engine_says_what_it_was_told(name, dtype):
    if dtype not in engine_class(name).dtypes:
        pytest.skip(f"the {name} engine has no {dtype}")
    logits = [0.0, -1.5, 3e38, -3e38]
    decoder = engine_that_says(logits, name, dtype).decoder(2)
    for _ in range(4):
        fed = decoder.feed([1, 3])
    np.testing.assert_array_equal(np.array(fed), np.array([logits, logits], dtype))


@st.composite
def requests(draw):
    """Logits, and a request to draw from them with values at the edges of what there may be."""
    numbers = st.sampled_from(EDGES) | st.floats(-50, 50) | st.sampled_from(BROKEN)
    logits = draw(st.lists(numbers, min_size=2, max_size=9))
    v = len(logits)
    if draw(st.booleans()):
        logits = [min(max(x, -1e308), 1e308) if math.isfinite(x) else 1.0 for x in logits]
    if draw(st.booleans()):
        logits = [logits[0]] * v
    end, stop = draw(st.none() | st.just(v - 1)), draw(st.sampled_from([(), (0,), (1, 0)]))
    masked = draw(st.frozensets(st.integers(0, v - 1), max_size=v - 1))
    assume(set(range(v)) - masked - {end, *stop})  # as request_of sees to
    return logits, Request(
        (0,),
        max_new_tokens=draw(st.integers(1, 6)),
        end=end,
        filters=Filters(
            draw(st.sampled_from([0.0, -0.0, 5e-324, 5.5e-309, 5.7e-309, 1e-300, 0.5, 1.0, 3.0, 1.7e308])),
            repetition_penalty=draw(st.sampled_from([1.0, 1.0, 0.001, 1000.0, 5e-324, 1.7e308])),
            top_k=draw(st.sampled_from([None, 1, 2, v, v + 1, 2**63, 2**64 - 1])),
            top_p=draw(st.sampled_from([None, 5e-324, 0.5, 1 - 2**-53, 1.0])),
            min_p=draw(st.sampled_from([None, 0.0, 5e-324, 0.5, 1.0])),
        ),
        n_prefix_tokens=draw(st.integers(0, 1)),
        min_new_tokens=draw(st.integers(0, 1)),
        masked=masked,
        stop=stop,
    )


@pytest.mark.slow
@NATIVE
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("level", LEVELS)
@given(case=requests())
@example(([1.0, 2.0], Request((0,), 3, None, Filters(-0.0))))
@example(([1.0, 2.0, math.nan], Request((0,), 3, None, Filters(1.0), masked=frozenset({2}))))
@settings(max_examples=250, deadline=None)
def test_the_core_and_the_filters_agree(dtype, level, case):
    logits, request = case
    engine = engine_that_says(logits, "native", dtype, level=level)
    expected = outcome(generate_by_token, engine, request, SEQUENCES)
    assert outcome(generate_ids, engine, request, SEQUENCES) == expected


SAMPLE = {"n": 3, "temperature": 1.0}
ASKED = [
    {}, {"temperature": 0.0}, {"temperature": -0.0}, {"top_k": 1}, {"top_p": 0.5}, {"min_p": 0.5},
    {"repetition_penalty": 2.0}, {"forbid": "c"}, {"min_length": 2}, {"stop": "ab"}, {"max_new_tokens": 9},
    {"beams": 2, "n": 2},
]  # fmt: skip


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("name", ENGINES_HERE)
@pytest.mark.parametrize("asked", ASKED, ids=str)
def test_logits_that_are_not_finite_raise_on_every_engine(name, asked, broken):
    """Also where the broken logit is that of a masked character, c."""
    engine = engine_that_says([0.0, 1.0, broken, 0.5], name)
    groups = draw_texts(engine, CharacterTokenizer("abc", "bos"), SampleConfig(**{**SAMPLE, **asked}), seed=1)
    with pytest.raises(MotegptError, match=r"^sample: expected finite logits, got NaN or infinity; the"):
        list(groups)


@NATIVE
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_what_no_text_depends_on_may_be_broken(dtype):
    """Token 0, broken here, is fed to texts that have ended and to what fills up the core's last vector."""
    engine = engine_that_says([0.0, 1.0, 0.5, 0.2], dtype=dtype)
    values = engine.export().parameters
    values["wte"][0] = math.nan
    engine.load(values)
    request = Request((3,), 9, 2, Filters(1.0), masked=frozenset({0}))
    drawn = outcome(generate_ids, engine, request, 20)
    assert drawn == outcome(generate_by_token, engine, request, 20)
    assert min(map(len, drawn[0])) == 0
    assert max(map(len, drawn[0])) > engine.model.block_size


@pytest.mark.parametrize("name", ENGINES_HERE)
def test_minus_zero_is_temperature_zero(name):
    settings = SampleConfig(n=3, temperature=-0.0)
    assert str(settings.temperature) == "0.0"
    engine, rng = engine_that_says([0.0, 1.0, 0.5, 0.2], name), Stream(1)
    assert generate(engine, CharacterTokenizer("abc", "bos"), settings, [rng]) == ["bbbb"]
    assert generate_ids(engine, Request((3,), 2, None, Filters(-0.0)), [rng]) == [[1, 1]]
    assert rng.number == 1
