"""The average of a GPT with Kneser-Ney n-grams: its parts, its weight, and everything that uses it."""

import json
import math
import pickle
import subprocess
import sys
import warnings
from itertools import product

import numpy as np
import pytest

from motegpt import GPT
from motegpt.data.batches import Batch
from motegpt.engines.average import Averaged
from motegpt.errors import RunFolderError, SettingError, UsageError
from motegpt.evaluation.nll import evaluation_sequences, token_nll
from motegpt.generation.request import request_of
from motegpt.model.rng import Stream
from motegpt.ngrams.average import EVEN, MOSTLY, Average, constant_weight, fitted_weight
from motegpt.ngrams.kneser_ney import KneserNey
from motegpt.sampling.generate import generate_by_token
from motegpt.training.run_folder import KNESER_NEY, RunFolder
from tests.attacks.forge import forge
from tests.conftest import ENGINES_HERE

DOCS = ["anna", "hanna", "nan", "ann", "han", "hannah"]
SMALL = {"steps": 20, "seed": 1, "engine": "array", "n_embd": 8, "block_size": 8}
SPLIT = {"val_fraction": 0.2, "log_every": 20}


@pytest.fixture(scope="module")
def model():
    return GPT.train(DOCS, kneser_ney=3, kneser_ney_weight=0.25, **SMALL, preset="microgpt")


@pytest.fixture(scope="module")
def names(names_txt):
    return names_txt.read_text().split()[:3000]


def of_weight(model, weight):
    """The same model with another weight of the n-grams."""
    return Averaged(model.engine, Average(model.average.kneser_ney, weight))


def test_the_fitted_weight_has_the_highest_likelihood():
    gpt, n_grams = np.random.default_rng(1).random((2, 500))

    def likelihood(w):
        return np.log((1 - w) * gpt + w * n_grams).sum()

    w = fitted_weight(gpt, n_grams)
    assert 0.1 < w < 0.9
    assert likelihood(w) >= max(likelihood(w - 0.001), likelihood(w + 0.001))
    assert fitted_weight(gpt, gpt / 2) == 0
    assert fitted_weight(gpt / 2, gpt) == 1


def test_the_weight_without_validation_data():
    few, many = (KneserNey.count([[2, 0, 1, 2]] * n, 2, 3) for n in (100, 200))
    assert (constant_weight(few), constant_weight(many)) == (MOSTLY, EVEN)
    assert GPT.train(DOCS, kneser_ney=3, **SMALL, preset="microgpt").average.weight == MOSTLY
    assert GPT.train(DOCS * 20, kneser_ney=3, **SMALL, preset="microgpt").average.weight == EVEN
    assert (
        GPT.train(DOCS * 20, kneser_ney=3, **SMALL, **SPLIT, preset="microgpt").average.weight == EVEN
    )  # too little to fit it


@pytest.mark.parametrize("engine", ENGINES_HERE)
def test_probabilities_are_those_of_the_parts(engine, model, tmp_path):
    model.save(tmp_path / "run")
    here = GPT.load(tmp_path / "run", engine)
    sequences = evaluation_sequences(["hanna", "nah"], model.tokenizer)
    together, gpt, n_grams = (
        np.exp(-np.concatenate(token_nll(one, sequences)))
        for one in (here.language_model, here.engine, of_weight(here, 1.0))
    )
    np.testing.assert_allclose(together, 0.75 * gpt + 0.25 * n_grams, rtol=1e-6)
    np.testing.assert_allclose(n_grams, here.average.kneser_ney.probabilities(sequences), rtol=1e-12)
    alone = np.concatenate(token_nll(of_weight(here, 0.0), sequences))
    np.testing.assert_allclose(np.exp(-alone), gpt, rtol=1e-6)


@pytest.mark.parametrize("engine", ENGINES_HERE)
def test_a_decoder_gives_what_logits_give(engine, model, tmp_path):
    model.save(tmp_path / "run")
    here = GPT.load(tmp_path / "run", engine).language_model
    rows = [[3, 0, 1, 2, 2], [3, 1, 0, 2, 0]]
    logits = here.logits(Batch.of([[*row, 0] for row in rows], "tokens"))
    decoder = here.decoder(2)
    for _ in range(2):
        for t in range(5):
            fed = decoder.feed([row[t] for row in rows])
            np.testing.assert_allclose(fed, [one[t] for one in logits], rtol=1e-5, atol=1e-5)
        decoder.reset()
    decoder.feed([3, 3])
    decoder.feed([rows[1][1], rows[0][1]])
    decoder.reorder([1, 0])
    np.testing.assert_allclose(
        decoder.feed([row[2] for row in rows]), [one[2] for one in logits], rtol=1e-5, atol=1e-5
    )


def test_every_filter_acts_on_the_average(model):
    """The GPT and the n-grams alone prefer other texts than both together."""
    texts = {}
    for weight in (0.0, 0.25, 1.0):
        one = GPT(model.config, model.tokenizer, model.engine, average=of_weight(model, weight).average)
        texts[weight] = one.generate(50, seed=3, temperature=1.0)
        greedy = one.generate(1, temperature=0.0)
        assert one.generate(1, seed=9, top_k=1, temperature=5.0) == greedy
        assert one.generate(1, seed=9, top_p=1e-9) == greedy
        best = one.generate(1, beams=400, length_penalty=0.0)
        drawn = [text for text in texts[weight] if text]
        assert one.score(best)[0].log_probability >= max(s.log_probability for s in one.score(drawn))
    assert texts[0.0] == GPT(model.config, model.tokenizer, model.engine).generate(
        50, seed=3, temperature=1.0
    )
    assert len({tuple(found) for found in texts.values()}) == 3


REQUESTS = (
    {}, {"temperature": 0.0}, {"top_k": 2, "top_p": 0.9}, {"repetition_penalty": 1.5}, {"min_new_tokens": 3},
    {"max_new_tokens": 30}, {"prefix": "ha", "stop": "nn"}, {"forbid": "h", "min_p": 0.05},
)  # fmt: skip


@pytest.mark.skipif("native" not in ENGINES_HERE, reason="the core is not built")
@pytest.mark.parametrize("settings", REQUESTS, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("framing", ["bos", "bos_eos"])
def test_the_core_generates_what_is_generated_token_by_token(settings, dtype, framing):
    native = {**SMALL, "engine": "native", "dtype": dtype, "framing": framing}
    model = GPT.train(DOCS * 3, kneser_ney=4, kneser_ney_weight=0.4, **native, preset="microgpt")
    sample = model.config.sample.replace(**{"temperature": 1.0, **settings})
    request = request_of(sample, model.tokenizer, model.config.model.block_size)
    averaged = model.language_model
    assert averaged.why_not(request=request) is None
    for count in (1, 3, 70):
        once, again = ([Stream.of(5, i) for i in range(count)] for _ in range(2))
        assert averaged.generate(request, once) == generate_by_token(averaged, request, again)
        assert [rng.number for rng in once] == [rng.number for rng in again]
    alone = model.engine.generate(request, [Stream.of(5, i) for i in range(70)])
    assert alone == generate_by_token(model.engine, request, [Stream.of(5, i) for i in range(70)])


@pytest.mark.skipif("native" not in ENGINES_HERE, reason="the core is not built")
def test_the_core_refuses_n_grams_that_lead_outside():
    from motegpt.engines.native import _core

    n_grams = KneserNey.count([[2, 0, 1, 2], [2, 1, 2]], 3, 3)
    tables, unigrams = n_grams.tables(), n_grams.unigrams
    _core.NGrams(tables, unigrams)
    for level, (place, wrong) in product(range(2), enumerate((9, None, 9, 3, 2.0, -1.0))):
        for value in () if wrong is None else (wrong, -1):
            changed = [list(map(np.copy, arrays)) for arrays in tables]
            changed[level][place][-1] = value
            with pytest.raises(ValueError, match="NGrams: expected"):
                _core.NGrams(list(map(tuple, changed)), unigrams)
    for wrong in ([], [*tables] * 4, [tables[1]], [tuple(array[1:] for array in tables[0])]):
        with pytest.raises(ValueError, match="NGrams"):
            _core.NGrams(wrong, unigrams)
    model = GPT.train(DOCS, **{**SMALL, "engine": "native"}, preset="microgpt")
    request = request_of(model.config.sample, model.tokenizer, 8)
    with pytest.raises(ValueError, match="the same vocab_size"):
        model.engine.generate(request, [Stream.of(1, 0)], Average(n_grams, 0.5))
    with pytest.raises(ValueError, match="n_gram_weight of 0 … 1"):
        model.engine.generate(request, [Stream.of(1, 0)], Average(n_grams, 1.5))


def test_texts_longer_than_the_block(model):
    texts = model.generate(3, seed=1, max_new_tokens=40, min_new_tokens=30)
    assert all(len(text) >= 30 for text in texts)
    assert math.isfinite(model.score(texts)[0].log_probability)


def test_of_a_stream_and_of_bytes():
    text = "the cat sat on the mat. the dog sat on the cat. " * 20
    stream = GPT.train([text], format="stream", kneser_ney=4, **SMALL, preset="microgpt")
    assert set(stream.generate(1, seed=1, max_new_tokens=60)[0]) <= set(text)
    framed = GPT.train(
        ["жанна", "иван"],
        tokenizer="bytes",
        kneser_ney=4,
        framing="bos_eos",
        **{**SMALL, "block_size": 16},
        preset="microgpt",
    )
    assert framed.score(["иван"])[0].log_probability > framed.score(["навж"])[0].log_probability
    assert framed.generate(3, seed=1)


def test_the_weight_is_fitted_to_the_best_parameters(names, tmp_path):
    settings = {**SMALL, "block_size": 16, "steps": 60, "val_fraction": 0.3, "log_every": 20, "batch_size": 8}
    model = GPT.train(names, kneser_ney=5, out=tmp_path / "run", **settings, preset="microgpt")
    folder = RunFolder(tmp_path / "run")
    assert folder.average(model.config, model.tokenizer).weight == model.average.weight
    from motegpt.data.split import split

    training, held_out = split(names, model.config.data, model.config.train.seed)
    losses = {
        weight: np.concatenate(
            token_nll(of_weight(model, weight), evaluation_sequences(held_out, model.tokenizer))
        ).mean()
        for weight in (0.0, model.average.weight - 0.1, model.average.weight, model.average.weight + 0.1, 1.0)
    }
    assert min(losses, key=losses.get) == model.average.weight
    found = model.evaluate(held_out)
    assert list(found.losses) == ["uniform", "unigram", "bigram", "trigram", "kneser-ney", "gpt", "model"]
    expected = [losses[1.0], losses[0.0], losses[model.average.weight]]
    assert list(found.losses.values())[4:] == pytest.approx(expected, rel=1e-6)
    assert model.average.kneser_ney.targets == sum(map(len, training)) + len(training)


def test_a_run_keeps_its_n_grams(model, tmp_path):
    model.save(tmp_path / "run")
    (tmp_path / "run").rename(tmp_path / "moved")
    for copy in (GPT.load(tmp_path / "moved"), pickle.loads(pickle.dumps(model))):
        assert copy.average.weight == 0.25
        assert copy.generate(20, seed=5) == model.generate(20, seed=5)
        assert copy.score(["anna"]) == model.score(["anna"])
    GPT.train(DOCS, **SMALL, preset="microgpt").save(tmp_path / "moved", overwrite=True)
    assert not (tmp_path / "moved" / KNESER_NEY).exists()


def test_the_weight_in_the_settings_is_a_request(tmp_path, names):
    settings = {**SMALL, **SPLIT, "preset": "microgpt", "kneser_ney": 3}
    GPT.train(names, kneser_ney_weight=0.25, out=tmp_path / "run", **settings)
    fitted = GPT.train(names, **{**settings, "steps": 30}).average.weight
    path = tmp_path / "run" / "config.json"
    values = json.loads(path.read_text())
    assert values["train"]["kneser_ney_weight"] == 0.25
    values["train"]["kneser_ney_weight"] = None
    path.write_text(json.dumps(values))
    assert GPT.load(tmp_path / "run").average.weight == 0.25
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the learning rate rises
        resumed = GPT.train(names, resume=tmp_path / "run", steps=30).average.weight
    assert resumed == pytest.approx(fitted, abs=0.1)
    assert resumed != 0.25


def test_a_resumed_run_is_one_that_never_stopped(names, tmp_path):
    settings = {
        **SMALL,
        "block_size": 16,
        "val_fraction": 0.3,
        "log_every": 10,
        "batch_size": 8,
        "kneser_ney": 3,
    }
    whole = GPT.train(names, **settings, preset="microgpt")
    training = GPT.training(names, **settings, out=tmp_path / "run", preset="microgpt")
    for record in training:
        if record.step >= 10:
            break
    resumed = GPT.train(names, resume=tmp_path / "run")
    assert resumed.average.weight == whole.average.weight
    assert resumed.generate(5, seed=1) == whole.generate(5, seed=1)
    set_now = GPT.train(names, resume=tmp_path / "run", kneser_ney_weight=0.5, steps=30)
    assert set_now.average.weight == GPT.load(tmp_path / "run").average.weight == 0.5
    with pytest.raises(UsageError, match="kneser_ney cannot change"):
        GPT.train(names, resume=tmp_path / "run", kneser_ney=4, steps=40)


def test_settings_that_contradict_each_other():
    with pytest.raises(SettingError, match=r"kneser_ney_weight: expected none without n-grams, got 0.5"):
        GPT.train(DOCS, kneser_ney_weight=0.5, **SMALL, preset="microgpt")
    for wrong in (1, 9, 2.5):
        with pytest.raises(SettingError, match="kneser_ney: expected a whole number"):
            GPT.train(DOCS, kneser_ney=wrong, **SMALL, preset="microgpt")


def set_to(key, value):
    return lambda arrays: arrays.update({key: value(arrays[key])})


FORGED = {
    "another weight": (None, {"weight": 1.5}, "weight: expected a number from 0 to 1"),
    "no weight": (None, {"weight": None}, "weight: expected a number from 0 to 1"),
    "another order": (set_to("grams", lambda a: np.ascontiguousarray(a[:, 1:])), {}, "expected shapes"),
    "fewer counts": (set_to("counts", lambda a: a[1:]), {}, "expected shapes"),
    "no n-grams": (lambda arrays: [set_to(name, lambda a: a[:0])(arrays) for name in arrays], {}, "shapes"),
    "a count of zero": (set_to("counts", lambda a: a * 0), {}, "counts: expected 1 to"),
    "huge counts": (
        set_to("counts", lambda a: np.full(len(a), 2**63, np.uint64)),
        {},
        "counts: expected 1 to",
    ),
    "unknown ids": (set_to("grams", lambda a: a + 9), {}, "grams: expected ids of 4 tokens"),
    "a start as target": (set_to("grams", lambda a: a * 0 + 4), {}, "grams: expected ids of 4 tokens"),
    "floats": (set_to("counts", lambda a: a.astype(float)), {}, "counts: expected U8"),
    "another tensor": (lambda arrays: arrays.update(more=arrays["counts"]), {}, "more"),
    "another tokenizer": (None, {"tokenizer": "x"}, "expected the tokenizer of"),
}


def test_ids_may_be_wider_than_they_need(model, tmp_path):
    model.save(tmp_path / "run")
    widen = set_to("grams", lambda a: a.astype(np.uint64))
    forge(tmp_path / "run" / KNESER_NEY, lambda arrays: [widen(arrays), set_to("counts", np.uint64)(arrays)])
    assert GPT.load(tmp_path / "run").score(["anna"]) == model.score(["anna"])


@pytest.mark.parametrize("name", FORGED)
def test_forged_n_grams(name, model, tmp_path):
    tensors, metadata, message = FORGED[name]
    model.save(tmp_path / "run")
    forge(tmp_path / "run" / KNESER_NEY, tensors or (lambda _: None), lambda found: found.update(metadata))
    with pytest.raises(RunFolderError, match=message) as error:
        GPT.load(tmp_path / "run")
    assert "\n" not in str(error.value)


def test_n_grams_that_are_damaged_or_gone(model, tmp_path):
    model.save(tmp_path / "run")
    path = tmp_path / "run" / KNESER_NEY
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1]), b""):
        path.write_bytes(damaged)
        with pytest.raises(RunFolderError, match=KNESER_NEY):
            GPT.load(tmp_path / "run")
    path.unlink()
    with pytest.raises(RunFolderError, match=f"has no {KNESER_NEY}"):
        GPT.load(tmp_path / "run")


def test_the_commands(motegpt):
    quick = ("--steps", 30, "--engine", "array", "-n", 2, "--val-fraction", 0.2, "--out", "run")
    ended = motegpt("train", "--preset", "microgpt", *quick, "--kneser-ney", 4, "--kneser-ney-weight", 0.5)
    assert ended.code == 0, ended.err
    assert "averaged with Kneser-Ney n-grams of order 4, weight 0.50" in ended.err
    val_loss = ended.err.partition("validation loss ")[2].split()[0]
    ended = motegpt("eval", "run", "--samples", 0)
    rows = dict(line.split()[:2] for line in ended.out.splitlines()[3:])
    assert list(rows)[4:] == ["kneser-ney", "gpt", "model"]
    assert rows["model"] == val_loss
    assert float(rows["model"]) <= (float(rows["gpt"]) + float(rows["kneser-ney"])) / 2  # log is concave
    assert "Kneser-Ney n-grams of order 4, 0.50 of the GPT" in " ".join(motegpt("show", "run").out.split())
    facts = json.loads(motegpt("show", "run", "--json").out)
    assert (facts["average"]["order"], facts["average"]["weight"]) == (4, 0.5)
    assert facts["samples"]["texts"] == GPT.load("run", "array").generate(5, seed=0)
    assert motegpt("sample", "run", "-n", 3, "--seed", 1, "--format", "csv").code == 0
    refused = motegpt("train", "--preset", "microgpt", *quick, "--overwrite", "--kneser-ney-weight", 0.5)
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "--kneser-ney 5" in refused.err


def test_the_function_is_not_hidden_by_its_module():
    program = (
        "import importlib, pkgutil, motegpt.engines as e\n"
        "[importlib.import_module(f'{e.__name__}.{one.name}') for one in pkgutil.iter_modules(e.__path__)]\n"
        "assert callable(e.averaged)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
