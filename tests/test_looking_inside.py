"""What GPT shows of a text: tokens, attention, residual stream, logits, gradients, the next characters."""

import math

import numpy as np
import pytest

from motegpt import GPT, DataError, PrefixError, SettingError, make_engine
from motegpt.data.batches import Batch
from motegpt.evaluation.gradcheck import finite_difference
from motegpt.evaluation.nll import sequence_of
from tests.conftest import ENGINES_HERE

NAMES = ["anna", "hanna", "nan", "hana", "ann", "han"]
SMALL = {
    "n_layer": 2,
    "n_embd": 8,
    "n_head": 2,
    "block_size": 8,
    "steps": 20,
    "seed": 3,
    "preset": "microgpt",
}
KINDS = {
    "plain": {},
    "rope": {"position": "rope", "qk_norm": True},
    "ngrams": {"ngram_orders": 3, "ngram_min_count": 1},
    "averaged": {"kneser_ney": 3, "kneser_ney_weight": 0.4},
    "zeroclaw": {"preset": "zeroclaw"},
    "dropout": {"dropout": 0.3, "tied": True},
    "stream": {"format": "stream", "block_size": 6},
    "bytes": {"tokenizer": "bytes"},
}


def trained(engine="array", **settings):
    return GPT.train(NAMES, engine=engine, **{**SMALL, **settings})


@pytest.fixture(scope="module", params=KINDS)
def model(request):
    return trained(**KINDS[request.param])


@pytest.fixture(scope="module")
def plain():
    return trained()


def starts(model):
    return int(model.tokenizer.bos is not None)


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def test_shapes(model):
    t, v, shape = 4 + starts(model), model.tokenizer.vocab_size, model.config.model
    assert model.tokens("anna")[starts(model) :] == list("anna")
    assert model.attention("anna").shape == (2, shape.n_head, t, t)
    assert model.residuals("anna").shape == (3, t, shape.n_embd)
    assert model.logits("anna").shape == (t, v)
    assert model.embeddings.shape == (v, shape.n_embd)
    assert model.activations("anna")["blocks.1.mlp.hook_pre"].shape == (1, t, 4 * shape.n_embd)
    np.testing.assert_allclose(model.attention("anna").sum(-1), 1.0)


def test_the_logits_are_those_of_the_engine(model):
    ids = [*([] if model.tokenizer.bos is None else [model.tokenizer.bos]), *model.tokenizer.encode("hann")]
    (expected,) = model.engine.logits(Batch.of([[*ids, 0]], "tokens"))
    np.testing.assert_allclose(model.logits("hann"), expected, rtol=2e-5, atol=2e-5)


def test_next_is_the_distribution_of_score(model):
    """log p(text) is the sum over its characters of the log of the probability that `next` gives."""
    if model.tokenizer.bos is None:
        pytest.skip("score reads a stream after a separator, which generation replaces by the prefix")
    text, names = "hann", model.tokenizer.names
    asked = [text[:i] for i in range(len(text) + (model.tokenizer.stop is not None))]
    following = names(model.tokenizer.encode(text)) + names([model.tokenizer.stop] * starts(model))
    total = sum(math.log(model.next(before)[name]) for before, name in zip(asked, following, strict=True))
    assert total == pytest.approx(model.score([text])[0].log_probability, abs=1e-5)


def test_next_is_sorted_and_sums_to_one(model):
    found = list(model.next("a").values())
    assert found == sorted(found, reverse=True)
    assert len(found) == model.tokenizer.vocab_size
    assert sum(found) == pytest.approx(1.0)


def test_next_is_what_generate_draws(plain):
    asked = {"temperature": 0.7, "top_k": 2}
    drawn = [
        text[2:3] or "<BOS>" for text in plain.generate(4000, seed=1, prefix="an", max_length=3, **asked)
    ]
    found = plain.next("an", **asked)
    assert {token for token, p in found.items() if p > 0} == set(drawn)
    for token in set(drawn):
        assert drawn.count(token) / 4000 == pytest.approx(found[token], abs=0.03)


def test_next_at_temperature_zero_is_certain(plain):
    assert list(plain.next("an", temperature=0).items())[:1] == [(next(iter(plain.next("an"))), 1.0)]


def test_next_reads_long_texts_as_generation_does(plain):
    long = "hanna" * 5
    (text,) = plain.generate(1, seed=1, prefix=long, max_new_tokens=1, temperature=0, on_cut="keep")
    assert text[len(long) :] == next(iter(plain.next(long))).replace("<BOS>", "")


def test_gradients_are_finite_differences(model):
    loss, gradients = model.gradients("hana")
    parameters = {name: x.astype(float) for name, x in model.parameters.items()}
    assert gradients.keys() == parameters.keys()
    train = model.config.train.replace(dtype="float64", clip_node=None)
    engine = make_engine("array", model.config.model, train, model.engine.contexts)
    batch = Batch.of([sequence_of("hana", model.tokenizer)], "tokens")
    for name, gradient in gradients.items():
        index = int(np.abs(gradient).argmax())
        expected = finite_difference(engine, parameters, name, index, batch)
        assert gradient.flat[index] == pytest.approx(expected, abs=1e-7), name
    if model.average is None:
        score = model.score(["hana"])[0]
        assert loss == pytest.approx(-score.log_probability / score.tokens, abs=1e-5)


@pytest.mark.parametrize("engine", ENGINES_HERE)
def test_every_engine(engine, plain):
    model = trained(engine, dtype="float64")
    np.testing.assert_allclose(model.attention("hanna"), plain.attention("hanna"), atol=1e-6)
    assert list(model.next("ha")) == list(plain.next("ha"))
    assert model.gradients("hanna").loss == pytest.approx(plain.gradients("hanna").loss, abs=1e-6)


@pytest.mark.skipif("torch" not in ENGINES_HERE, reason="needs torch")
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision(dtype):
    model = trained("torch", autocast=dtype, dtype="float32")
    assert model.logits("hanna").dtype == np.float64
    assert sum(model.next("ha").values()) == pytest.approx(1.0)
    assert all(np.isfinite(x).all() for x in model.gradients("hanna").by_name.values())


def test_arrays_are_copies(plain):
    before = plain.logits("anna")
    plain.parameters["wte"][:] = 0.0
    plain.embeddings[:] = 0.0
    np.testing.assert_array_equal(plain.logits("anna"), before)


def test_the_empty_text(plain):
    assert plain.tokens("") == ["<BOS>"]
    assert plain.attention("").shape == (2, 2, 1, 1)
    assert plain.next() == plain.next("")
    assert softmax(plain.logits(""))[0].max() == pytest.approx(next(iter(plain.next().values())), abs=1e-6)
    assert plain.gradients("").loss == pytest.approx(-math.log(plain.next()["<BOS>"]), abs=1e-6)
    stream = trained(**KINDS["stream"])
    assert sum(stream.next().values()) == pytest.approx(1.0)
    with pytest.raises(DataError, match="expected at least one character, got none"):
        stream.attention("")


def test_a_text_that_cannot_be_read(plain):
    for method in (plain.attention, plain.residuals, plain.logits, plain.gradients, plain.tokens):
        with pytest.raises(PrefixError, match="known characters: 'ahn'"):
            method("anz")
        with pytest.raises(DataError, match=r"at most 7 characters .* got 8"):
            method("hannahan")
        with pytest.raises(DataError, match="text: expected a string, got 3"):
            method(3)
    with pytest.raises(PrefixError):
        plain.next("z")
    with pytest.raises(DataError, match="text: expected a string"):
        plain.next(["a"])
    with pytest.raises(SettingError, match="did you mean temperature"):
        plain.next("a", temprature=1)
    with pytest.raises(SettingError, match="temperature: expected"):
        plain.next("a", temperature=-1)


def test_texts_are_normalized_as_the_training_data_was():
    model = GPT.train(["\u00e9", "ac", "e"], normalize="nfc", engine="array", **{**SMALL, "steps": 2})
    assert model.tokens("e\u0301") == ["<BOS>", "\u00e9"]
    assert model.next("e\u0301") == model.next("\u00e9")
    assert model.gradients("e\u0301").loss == model.gradients("\u00e9").loss


def test_a_byte_has_a_name():
    model = trained(tokenizer="bytes")
    assert model.tokens("é") == ["<BOS>", "<C3>", "<A9>"]
    assert "<C3>" in model.next("a")


def test_reprs_are_short(plain):
    assert repr(plain.next("a")).startswith("NextToken('")
    assert len(repr(plain.next("a"))) <= 100
    assert repr(plain.gradients("anna")).startswith("Gradients(loss=")
