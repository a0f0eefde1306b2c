"""Many texts in one call: in arrays, side by side, and by decoders and requests that calls share."""

import copy
import threading

import numpy as np
import pytest

from motegpt import GPT, SettingError
from motegpt.config.sections import SampleConfig
from motegpt.data.tokenizers import BpeTokenizer, ByteTokenizer, CharacterTokenizer, IdTokenizer
from motegpt.engines import why_unavailable
from motegpt.generation.filters import Filters
from motegpt.generation.request import Request
from motegpt.model.rng import Stream, Streams, numbers_of
from motegpt.sampling.collect import draw_texts
from motegpt.sampling.generate import generate, generate_by_token
from tests.conftest import ARCHITECTURES, small_engine, small_settings

NATIVE = pytest.mark.skipif(bool(why_unavailable("native")), reason="the native engine is not built")
TOKENIZERS = [
    CharacterTokenizer("abcde", "bos"),
    CharacterTokenizer("a\0é漢\U0010ffff😀�", "bos_eos"),
    CharacterTokenizer("ab\0", "none"),
    ByteTokenizer("bos_eos"),
    IdTokenizer(9, "whole"),
    IdTokenizer(30, "whole"),
    BpeTokenizer.learn(["the cat sat", "the hat", "that cat"] * 9, "bos"),
]


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=lambda one: f"{one.kind} {one.framing}")
def test_rows_are_decoded_as_lists_are(tokenizer):
    """All ids, special ones too, and rows of all lengths."""
    rng = np.random.default_rng(1)
    rows = rng.integers(0, tokenizer.vocab_size, (300, 7), np.int32)
    lengths = np.arange(300) % 8
    rows[np.arange(7) >= lengths[:, None]] = -1
    expected = [tokenizer.decode(row[:n].tolist()) for row, n in zip(rows, lengths, strict=True)]
    assert tokenizer.decode_rows(rows) == expected
    assert tokenizer.decode_rows(rows[:0]) == []


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 1000])
def test_streams_are_those_made_one_by_one(n):
    streams = Streams(2**64 - 1, 5, n)
    numbers = [Stream.of(2**64 - 1, 5 + i).number for i in range(n)]
    assert numbers_of(streams).tolist() == numbers == [one.number for one in streams]
    assert numbers_of(streams[3:9]).tolist() == numbers[3:9]
    assert numbers_of(list(streams)).tolist() == numbers


@NATIVE
@pytest.mark.parametrize("architecture", [{}, *ARCHITECTURES.values()], ids=["microgpt", *ARCHITECTURES])
def test_hundreds_side_by_side_are_those_drawn_token_by_token(architecture):
    """Texts that end early make room; longer ones move, also across windows of the context."""
    engine = small_engine("native", small_settings(**{**architecture, "dtype": "float32"}))
    for request in (
        Request((3,), 6, 5, Filters(1.2)),
        Request((3, 0), 15, 5, Filters(0.9, repetition_penalty=1.4), 1, min_new_tokens=1, stop=(1, 2)),
    ):
        rngs, again = ([Stream.of(1, i) for i in range(300)] for _ in range(2))
        drawn = engine.generate(request, rngs)
        assert drawn == generate_by_token(engine, request, again)
        assert [one.number for one in rngs] == [one.number for one in again]
        assert len(set(map(len, drawn))) > 4


@NATIVE
@pytest.mark.parametrize("given", [{}, {"on_cut": "mark"}, {"prefix": "ab", "max_new_tokens": 4}], ids=str)
def test_texts_do_not_depend_on_how_the_ids_come(given):
    """Arrays from the native engine, lists from the array engine."""
    tokenizer = CharacterTokenizer("abcd", "bos_eos")
    settings, found = SampleConfig(n=70, temperature=1.0, **given), []
    for name in ("native", "array"):
        engine = small_engine(name, small_settings(init_std=0.2), tokenizer.vocab_size)
        texts = [text for group in draw_texts(engine, tokenizer, settings, seed=3) for text in group]
        found.append([(text, getattr(text, "cut", None)) for text in texts])
        streams = [Stream.of(3, i) for i in range(70)]
        assert generate(engine, tokenizer, settings, streams) == texts
    assert found[0] == found[1]
    assert any("<BOS>" in text for text, _ in found[0])


@pytest.fixture
def model():
    return GPT.train(["anna", "hanna", "nan"], steps=30, seed=1, preset="microgpt", n_embd=8)


def test_a_request_is_validated_although_an_equal_one_is_known(model):
    texts = model.generate(2, seed=1, temperature=1, unique=False, stop="")
    assert model.generate(2, seed=1, temperature=1.0, stop="") == texts
    for wrong in ({"temperature": True}, {"unique": 0}, {"n": True}, {"n": 2.0}, {"temperature": [1]}):
        with pytest.raises(SettingError):
            model.generate(seed=1, **{"n": 2, "temperature": 1, **wrong})
    with pytest.raises(TypeError):
        model.generate(2, seed=1, nn=2, n=2)


def test_a_known_request_follows_the_settings_of_the_model(model):
    plain = model.generate(5, seed=1)
    model.config = model.config.replace(sample=model.config.sample.replace(temperature=0.0))
    assert model.generate(5, seed=1) == model.generate(5, seed=1, temperature=0.0) != plain


@NATIVE
def test_decoders_follow_the_parameters(model):
    """After more training, and after loading others."""
    training = GPT.training(
        ["anna", "hanna", "nan"], steps=40, log_every=10, seed=1, preset="microgpt", engine="native"
    )
    texts = []
    for _ in training:
        one = training.model
        texts.append((*one.generate(30, seed=1, temperature=1.0), *one.generate(1, seed=1, temperature=1.0)))
        copied = copy.deepcopy(one)
        assert copied.generate(30, seed=1, temperature=1.0) == list(texts[-1][:30])
    assert len(set(texts)) == len(texts) > 3
    engine, request = model.engine, Request((0,), 6, None, Filters(1.0))
    before = engine.generate(request, Streams(1, 0, 20))
    engine.load({name: 2 * values for name, values in engine.parameters().items()})
    assert engine.generate(request, Streams(1, 0, 20)) != before


@NATIVE
def test_threads_generate_with_one_engine_at_the_same_time(model):
    """Without the lock of the model, as its users may use the engine too."""
    request = Request((0,), 200, None, Filters(1.0))
    expected, found = model.engine.generate(request, Streams(1, 0, 50)), []

    def draw():
        for _ in range(20):
            found.append(model.engine.generate(request, Streams(1, 0, 50)) == expected)

    threads = [threading.Thread(target=draw) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 60


@NATIVE
def test_decoders_of_large_models_are_not_kept():
    """Nor do they have more columns than texts."""
    made, engine = [], small_engine("native", small_settings(n_layer=4, block_size=4096))
    request = Request((0,), 1, None, Filters(1.0))
    make, decoders = engine._decoders._make, engine._decoders

    def recorded(n):
        made.append(n)
        return make(n)

    decoders._make = recorded
    for _ in range(2):
        engine.generate(request, Streams(1, 0, 3))
    assert made == [3, 3]
    assert not decoders._idle
