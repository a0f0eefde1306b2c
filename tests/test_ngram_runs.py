"""Runs with the n-gram embedding: folders, resuming, generation, evaluation, commands; damaged tables."""

import json
import pickle
import shutil

import numpy as np
import pytest

from motegpt import GPT
from motegpt.data.batches import Batch
from motegpt.engines.scalar.graph import Value
from motegpt.engines.scalar.model import FUSED, empty_cache, forward_token
from motegpt.engines.scalar.ngrams import NGramReader
from motegpt.errors import RunFolderError, SettingError, UsageError
from motegpt.evaluation.inspect import ids_of, trace
from motegpt.training.run_folder import CONTEXTS, RunFolder
from tests.attacks.forge import forge
from tests.conftest import ENGINES_HERE

WORDS = ["anna", "hanna", "nan", "hana", "joanna", "susanna", "nina", "ana", "lena", "helena"]
QUICK = {
    "ngram_orders": 4, "ngram_dropout": 0.4, "ngram_weight_decay": 2.0, "batch_size": 2, "n_embd": 8,
    "block_size": 8, "seed": 3, "n": 3, "steps": 12, "log_every": 1, "val_fraction": 0.2,
}  # fmt: skip
FILES = ("model.safetensors", "trainer.safetensors", "contexts.safetensors")


def train(folder, engine="array", **changes):
    return GPT.train(WORDS, engine=engine, out=folder, **{**QUICK, **changes}, preset="microgpt")


@pytest.mark.parametrize("name", ENGINES_HERE)
@pytest.mark.parametrize("changes", [{}, {"format": "stream", "block_size": 5}], ids=["list", "stream"])
def test_a_resumed_run_is_one_that_never_stopped(name, tmp_path, changes):
    dtype = "float32" if name == "torch" else "float64"
    whole = train(tmp_path / "whole", name, dtype=dtype, **changes)
    assert len(whole.config.model.ngram_rows) == 3
    training = GPT.training(
        WORDS, engine=name, out=tmp_path / "parts", dtype=dtype, **{**QUICK, **changes}, preset="microgpt"
    )
    for record in training:
        if record.step == 5:
            break
    GPT.train(WORDS, resume=tmp_path / "parts")
    for file in FILES:
        assert (tmp_path / "parts" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


@pytest.mark.parametrize("name", ENGINES_HERE)
def test_loaded_copied_and_saved_models_say_the_same(name, tmp_path):
    model = train(tmp_path / "run", name)
    loaded, copied = GPT.load(tmp_path / "run"), pickle.loads(pickle.dumps(model))
    model.save(tmp_path / "saved")
    for other in (loaded, copied, GPT.load(tmp_path / "saved")):
        assert other.engine.contexts.sizes == model.config.model.ngram_rows
        assert other.generate(5, seed=1, max_new_tokens=20) == model.generate(5, seed=1, max_new_tokens=20)
        assert other.score(WORDS) == model.score(WORDS)
        assert other.evaluate(WORDS[:3]).losses["model"] == model.evaluate(WORDS[:3]).losses["model"]


def test_engines_agree_on_whole_runs(tmp_path):
    models = [train(tmp_path / name, name, dtype="float64") for name in ENGINES_HERE]
    for model in models[1:]:
        losses = [record.loss for record in models[0].records]
        assert [record.loss for record in model.records] == pytest.approx(losses, abs=1e-9)
        for settings in ({}, {"beams": 3}, {"max_new_tokens": 30}):
            assert model.generate(3, seed=5, **settings) == models[0].generate(3, seed=5, **settings)
    for name in ENGINES_HERE:
        other = GPT.load(tmp_path / ENGINES_HERE[0], engine=name)
        assert [one.log_probability for one in other.score(WORDS)] == pytest.approx(
            [one.log_probability for one in models[0].score(WORDS)], abs=1e-9
        )


def test_a_run_goes_on_with_another_engine(tmp_path):
    whole = train(tmp_path / "whole", dtype="float64")
    for record in GPT.training(WORDS, engine="array", out=tmp_path / "run", **QUICK, preset="microgpt"):
        if record.step == 4:
            break
    other = GPT.train(WORDS, resume=tmp_path / "run", engine="scalar")
    losses = [record.loss for record in whole.records]
    assert [record.loss for record in other.records] == pytest.approx(losses[4:], abs=1e-9)


def test_contexts_are_of_the_training_part_alone():
    model = GPT.train(
        [*WORDS, *["zzzz"] * 9],
        engine="array",
        **{**QUICK, "val_fraction": 0.5, "steps": 1},
        preset="microgpt",
    )
    tokens = {key & (2**20 - 1) for key in model.engine.contexts.keys[0].tolist()}
    held_out = model._trainer.validation.data.sequences
    z = model.tokenizer.encode("z")[0]
    assert (z in tokens) != any(z in sequence for sequence in map(list, held_out))


def test_a_training_that_uses_no_contexts_writes_none(tmp_path):
    with pytest.warns(
        UserWarning, match="no two adjacent tokens occur 2 times .* try a smaller `ngram_min_count`"
    ):
        GPT.train(
            ["ab", "cd"],
            engine="array",
            out=tmp_path / "run",
            **{**QUICK, "val_fraction": 0.0},
            preset="microgpt",
        )
    assert not (tmp_path / "run" / CONTEXTS).exists()
    assert GPT.load(tmp_path / "run").config.model.ngram_rows == ()
    train(tmp_path / "run", overwrite=True)
    assert (tmp_path / "run" / CONTEXTS).exists()
    train(tmp_path / "run", overwrite=True, ngram_orders=None, ngram_dropout=0.0, ngram_weight_decay=0.0)
    assert not (tmp_path / "run" / CONTEXTS).exists()


DAMAGED = {
    "not ascending": lambda arrays: arrays.update(ngram2=arrays["ngram2"][::-1].copy()),
    "rows out of range": lambda arrays: arrays["ngram3"].__iadd__(len(arrays["ngram2"]) << 20),
    "tokens out of range": lambda arrays: arrays["ngram2"].__iadd__(2**19),
    "negative": lambda arrays: arrays["ngram4"].__isub__(2**62),
    "another length": lambda arrays: arrays.update(ngram3=arrays["ngram3"][:-1].copy()),
    "floats": lambda arrays: arrays.update(ngram2=arrays["ngram2"].astype(np.float64)),
    "32 bits": lambda arrays: arrays.update(ngram2=arrays["ngram2"].astype(np.int32)),
    "one less": lambda arrays: arrays.pop("ngram4"),
    "one more": lambda arrays: arrays.update(ngram5=arrays["ngram2"]),
    "two dimensions": lambda arrays: arrays.update(ngram2=arrays["ngram2"][:, None].copy()),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    train(folder := tmp_path_factory.mktemp("runs") / "run")
    return folder


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_tables_are_one_clear_line_and_nothing_is_lost(run, tmp_path, motegpt, kind):
    copy = shutil.copytree(run, tmp_path / "copy")
    forge(copy / CONTEXTS, tensors=DAMAGED[kind])
    refused_with_a_line(copy, motegpt, CONTEXTS)


@pytest.mark.parametrize("how", ["missing", "cut", "flipped"])
def test_files_that_are_not_whole(run, tmp_path, motegpt, how):
    copy = shutil.copytree(run, tmp_path / "copy")
    data = bytearray((copy / CONTEXTS).read_bytes())
    (copy / CONTEXTS).unlink()
    if how == "cut":
        (copy / CONTEXTS).write_bytes(data[:-9])
    elif how == "flipped":
        data[-9] ^= 1
        (copy / CONTEXTS).write_bytes(data)
    refused_with_a_line(copy, motegpt, CONTEXTS)


def refused_with_a_line(copy, motegpt, said):
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    with pytest.raises(RunFolderError, match=said) as error:
        GPT.load(copy)
    assert CONTEXTS in str(error.value)
    with pytest.raises(RunFolderError, match=said):
        GPT.train(WORDS, resume=copy, steps=20)
    for words in (["sample", copy], ["eval", copy, "--samples", 0], ["score", copy, "anna"], ["show", copy]):
        ended = motegpt(*words)
        assert (ended.code, ended.err.count("\n")) == (2, 1), ended.err
        assert CONTEXTS in ended.err
    assert {path.name: path.read_bytes() for path in copy.iterdir() if path.name != ".lock"} == {
        name: data for name, data in before.items() if name != ".lock"
    }


@pytest.mark.parametrize("rows", [[2**31 - 1, 1, 1], [1, 1], [], [6, 3, 1, 1], ["x"], 5, [-1], [10**30]])
def test_forged_sizes(run, tmp_path, rows):
    copy = shutil.copytree(run, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    config["model"]["ngram_rows"] = rows
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(RunFolderError) as error:
        GPT.load(copy)
    assert "\n" not in str(error.value)


def test_show_and_cost_list_the_tables(run, motegpt, tmp_path):
    folder = RunFolder(run)
    rows = folder.config().model.ngram_rows
    facts = json.loads(motegpt("show", run, "--json").out)
    assert facts["parameters"]["groups"]["n-gram embedding"] == 8 * sum(rows)
    assert CONTEXTS in facts["files"]
    (tmp_path / "words.txt").write_text("\n".join(WORDS))
    words = ("cost", "words.txt", "--n-embd", 8, "--json")
    plain, with_tables = (
        json.loads(motegpt(*words, *more).out) for more in ((), ("--ngram-orders", 3, "--ngram-min-count", 1))
    )
    added = with_tables["parameters"] - plain["parameters"]
    assert added > 0
    assert added % 8 == 0
    assert (plain["ngram_rows"], sum(with_tables["ngram_rows"])) == ([], added // 8)
    assert " of 2, 3, … tokens" in motegpt("cost", "words.txt", "--ngram-orders", 3).out
    for before, after in zip(plain["memory"], with_tables["memory"], strict=True):
        assert after["optimizer"] - before["optimizer"] == 2 * added * 8
    assert with_tables["operations"]["token"] == plain["operations"]["token"]
    ended = motegpt("cost", "--vocab-size", 30, "--ngram-orders", 3)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "ngram_orders" in ended.err


def test_gradcheck_covers_the_tables(motegpt):
    engines = [word for name in ENGINES_HERE for word in ("--engine", name)]
    ended = motegpt("gradcheck", *engines, "--ngram-orders", 4)
    assert ended.code == 0, ended.err
    for order in (2, 3, 4):
        assert ended.out.count(f"ngram{order}") == len(ENGINES_HERE)


def test_the_sum_of_the_vectors_is_an_intermediate():
    model = GPT.train(WORDS, engine="array", dtype="float64", **QUICK, preset="microgpt")
    parameters, shape = model.engine.export().parameters, model.config.model
    ids = ids_of("hannas", model.tokenizer, shape.block_size)
    found = trace(parameters, shape, ids, model.engine.contexts)
    vectors = found["hook_ngram_embed"]
    assert vectors.shape == (1, len(ids), 8)
    assert np.abs(vectors).max() > 0
    embedded = found["hook_embed"] + found["hook_pos_embed"] + vectors
    np.testing.assert_allclose(
        found["embed.ln.hook_normalized"],
        embedded / np.sqrt((embedded**2).mean(-1, keepdims=True) + shape.norm_eps),
    )
    np.testing.assert_allclose(found["logits"][0], model.engine.logits(Batch.of([[*ids, 0]], "tokens"))[0])
    w = {name: [[Value(x) for x in row] for row in rows.tolist()] for name, rows in parameters.items()}
    reader, cache = NGramReader(w, model.engine.contexts, model.config.train), empty_cache(shape)
    for at, token in enumerate(ids):
        own = {}
        forward_token(token, at, w, cache, shape, FUSED, own, vectors=reader.vectors(ids[: at + 1]))
        values = [value.data for value in own["hook_ngram_embed"]]
        np.testing.assert_allclose(values, vectors[0, at], atol=1e-14)
    with pytest.raises(SettingError, match="contexts: expected tables"):
        trace(parameters, shape, ids)


def test_plots_know_the_contexts(run, motegpt):
    for kind in ("attention", "embeddings"):
        ended = motegpt("plot", run, f"--{kind}", "anna", "--out", f"{kind}.svg")
        assert ended.code == 0, ended.err


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"ngram_rows": (3,)}, SettingError, "ngram_rows is determined by the data"),
        ({"ngram_dropout": 0.5}, SettingError, "ngram_dropout: expected an n-gram embedding"),
        ({"ngram_weight_decay": 0.5}, SettingError, "ngram_weight_decay: expected an n-gram embedding"),
        ({"ngram_min_count": 3}, SettingError, "ngram_min_count: expected an n-gram embedding"),
        ({"ngram_orders": 3, "ngram_dropout": 1.0}, SettingError, "ngram_dropout: expected"),
        (
            {"ngram_orders": 9},
            SettingError,
            "ngram_orders: expected a whole number of at least 2 and at most 8",
        ),
        (
            {"ngram_orders": 3, "clip_node": 1.0},
            SettingError,
            "clip_node: Oxidized-GPT has no `ngram_orders=3`",
        ),
    ],
)
def test_settings_that_do_not_go_together(given, error, said):
    with pytest.raises(error, match=said):
        GPT.train(WORDS, engine="array", steps=1, **given, preset="microgpt")


def test_what_cannot_change_in_a_run(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    for given in ({"ngram_orders": 3}, {"ngram_min_count": 3}, {"ngram_orders": None}):
        with pytest.raises(UsageError, match="cannot change within a run"):
            GPT.train(WORDS, resume=copy, steps=20, **given)
    model = GPT.train(WORDS, resume=copy, steps=20, ngram_dropout=0.1, ngram_weight_decay=0.0)
    assert model.config.train.ngram_dropout == 0.1
