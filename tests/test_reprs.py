"""What a notebook shows of an object is one short line; len(training) is how many records there are."""

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motegpt import GPT, make_engine, make_rng
from motegpt.config.presets import PRESETS, settings_of
from motegpt.config.sections import SECTIONS, model_and_training, section_values
from motegpt.config.text import MAX_LINE, concise
from motegpt.data.tokenizers import CharacterTokenizer
from motegpt.generation.filters import Filters
from motegpt.generation.request import request_of
from motegpt.model.rng import GENERATORS
from motegpt.training.state import Best

WORDS = ["anna", "hanna", "nan", "hana"]
QUICK = {"steps": 12, "engine": "array", "log_every": 5, "seed": 3}


@pytest.fixture(scope="module")
def training():
    training = GPT.training(WORDS, **QUICK, preset="microgpt")
    assert list(training)
    return training


def test_what_is_shown(training):
    model = training.model
    loss = f"{model.records[-1].mean_loss:.6g}"
    score, record = model.score(["anna"])[0], model.records[0]
    shape = "parameters=3456, n_layer=1, n_embd=16, block_size=16"
    assert repr(model) == f"GPT({shape}, engine='array', loss={loss})"
    assert repr(training) == f"Training(step=12, steps=12, engine='array', loss={loss})"
    assert repr(score) == (
        f"Score(text='anna', log_probability={score.log_probability:.6g}, "
        f"bits_per_character={score.bits_per_character:.6g})"
    )
    loss = f"{record.loss:.6g}"
    assert repr(record) == f"StepRecord(step=1, loss={loss}, mean_loss={loss}, lr=0.01, tokens=5)"
    assert repr(model.tokenizer) == "CharacterTokenizer(characters='ahn', framing='bos')"
    assert repr(model.config.model).startswith("ModelConfig(vocab_size=4, n_layer=1, n_embd=16, n_head=4, ")
    assert repr(model.config.sample) == "SampleConfig(n=20, temperature=0.5)"
    assert repr(model.engine) == "ArrayEngine(parameters=3456, dtype='float64')"
    found = model.evaluate(["anna", "xyz"])
    assert repr(found).startswith(
        f"Evaluation(documents=1, left_out=1, model={found.losses['model']:.6g}, kneser-ney="
    )
    assert repr(make_rng("lcg", 5)) == "Lcg(state=[5])"


def everything(model):
    """One of each kind that a program can hold, with texts as long as they may get."""
    config = model.config
    yield from (model, model.engine, config, config.model, config.data, config.train, config.sample)
    yield from (config.source, *model.records)
    yield from model.score(["a" * 500, "\n\t\x1b", "名前" * 50])
    yield model.evaluate(["anna" * 100])
    yield CharacterTokenizer("".join(map(chr, range(0x4E00, 0x5200))), "bos")
    yield request_of(model.config.sample.replace(stop="anna", forbid="h", top_k=2), model.tokenizer, 16)
    yield Filters(0.123456789, repetition_penalty=1.5, top_k=3, top_p=0.5, min_p=0.25)
    yield Best(step=3, loss=1.23456789, evaluations_since_best=2)
    for preset in PRESETS:
        for section in ("data", "train", "sample"):
            yield SECTIONS[section].of(section_values(settings_of(preset), section))
        yield make_engine("array", *model_and_training(settings_of(preset), 27))
    for name in GENERATORS:
        yield make_rng(name, 7)


def test_everything_is_one_short_line(training):
    for one in everything(training.model):
        assert repr(one).startswith(type(one).__name__ + "(")
        assert len(repr(one)) <= MAX_LINE
        assert repr(one).isprintable()


def test_a_subclass_has_its_own_name(training):
    class Mine(GPT):
        pass

    assert repr(Mine.train(WORDS, **QUICK)).startswith("Mine(")


@given(st.lists(st.text(max_size=60), max_size=12))
def test_any_values_fit(texts):
    line = concise("Name", {f"v{i}": text for i, text in enumerate(texts)})
    assert len(line) <= MAX_LINE
    assert line.startswith("Name(")
    assert line.endswith(")")


@settings(max_examples=60, deadline=None)
@given(
    steps=st.integers(1, 40), log_every=st.integers(1, 15), count_from=st.integers(0, 1),
    left=st.integers(0, 8), eval_every=st.none() | st.integers(1, 15),
    val_fraction=st.sampled_from([0.0, 0.3]),
)  # fmt: skip
def test_how_many_records(steps, log_every, count_from, left, eval_every, val_fraction):
    """The length is what iterating gives, before, in the middle and at the end."""
    given_settings = dict(locals())
    del given_settings["left"]
    training = GPT.training(WORDS, engine="array", n_embd=4, n=1, **given_settings, preset="microgpt")
    whole = len(training)
    for _, record in zip(range(left), training, strict=False):
        assert record
    assert len(training) == whole
    list(training)
    assert len(training.records) == whole == len(training)


def test_a_long_training_has_a_length():
    assert len(GPT.training(WORDS, steps=2**42, log_every=1, engine="array", preset="microgpt")) == 2**42


def test_a_resumed_training_counts_its_own(tmp_path):
    next(iter(GPT.training(WORDS, out=tmp_path / "run", **QUICK, preset="microgpt")))
    training = GPT.training(WORDS, resume=tmp_path / "run")
    assert len(training) == len(list(copy.copy(training))) == 3
