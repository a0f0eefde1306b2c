"""The public names and the Python API."""

import subprocess
import sys

import pytest

import motegpt
from motegpt import GPT, DataError, PrefixError, RunFolderError, SettingError
from motegpt.data.split import split_documents
from motegpt.evaluation.nll import mean_nll


def test_exactly_the_public_names_are_exported():
    namespace = {}
    exec("from motegpt import *", namespace)
    assert {"GPT", "Training", "SettingError"} <= set(motegpt.__all__) == namespace.keys() - {"__builtins__"}
    assert dir(motegpt) == motegpt.__all__
    with pytest.raises(AttributeError, match="no attribute 'Gpt'"):
        motegpt.Gpt  # noqa: B018


def test_import_loads_no_heavy_library():
    program = "import motegpt, sys; assert not {'numpy', 'safetensors', 'click', 'rich'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_three_lines(tmp_path):
    model = GPT.train(["anna", "hanna", "nan"], steps=20, seed=1, preset="microgpt")
    model.save(tmp_path / "names")
    texts = GPT.load(tmp_path / "names").generate(n=3, seed=7)
    assert texts == model.generate(n=3, seed=7)
    assert [record.step for record in model.records] == [1, 20]


def test_training_on_a_file_and_on_the_built_in_names(tmp_path):
    (tmp_path / "list.txt").write_text("anna\nbob\n")
    assert GPT.train(tmp_path / "list.txt", steps=1, preset="microgpt").tokenizer.characters == "abno"
    assert GPT.train(steps=1, preset="microgpt").config.source.documents == 98


def test_generate_without_a_seed_differs_each_time():
    model = GPT.train(["anna", "hanna", "nan"], steps=1, preset="microgpt")
    assert model.generate(50) != model.generate(50)


def test_invalid_arguments():
    with pytest.raises(SettingError, match="did you mean steps"):
        GPT.train(["ab"], stepz=3, preset="microgpt")
    with pytest.raises(DataError):
        GPT.train([], preset="microgpt")
    model = GPT.train(["ab"], steps=1, preset="microgpt")
    with pytest.raises(PrefixError):
        model.generate(prefix="z")
    with pytest.raises(SettingError, match="temperature"):
        model.generate(temperature=-1.0)


def test_a_training_can_be_paused_and_continued():
    training = GPT.training(
        ["anna", "hanna", "nan"], steps=30, log_every=5, engine="array", preset="microgpt"
    )
    for record in training:
        if record.step == 10:
            break
    early = training.model
    assert [record.step for record in training] == [15, 20, 25, 30]
    assert [record.step for record in training.records] == [1, 5, 10, 15, 20, 25, 30]
    whole = GPT.train(["anna", "hanna", "nan"], steps=30, log_every=5, engine="array", preset="microgpt")
    assert training.model.generate(9, seed=1) == whole.generate(9, seed=1) != early.generate(9, seed=1)
    assert [record.loss for record in whole.records] == [record.loss for record in training.records]


def test_callbacks_receive_every_record_and_can_stop_the_training():
    seen = []
    model = GPT.train(
        ["anna", "nan"],
        steps=30,
        log_every=5,
        callbacks=[seen.append, lambda r: r.step >= 15],
        preset="microgpt",
    )
    assert [record.step for record in seen] == [1, 5, 10, 15]
    assert model.records == seen


def test_a_paused_training_with_a_folder_can_be_resumed(motegpt, tmp_path):
    (tmp_path / "list.txt").write_text("anna\nhanna\nnan\n")
    for record in GPT.training(
        "list.txt", steps=30, log_every=5, engine="array", out="run", preset="microgpt"
    ):
        if record.step == 10:
            break
    ended = motegpt("train", "--resume", "run")
    assert "resumed after step 10" in ended.out
    with pytest.raises(RunFolderError, match="a run already exists"):
        GPT.train("list.txt", steps=1, out="run", preset="microgpt")


def test_saving_a_copy_does_not_mark_the_training_as_saved(tmp_path):
    settings = {
        "steps": 40,
        "log_every": 5,
        "val_fraction": 0.3,
        "checkpoint_minutes": 60.0,
        "engine": "array",
    }
    training = GPT.training(
        ["anna", "hanna", "nan", "hana"], out=tmp_path / "own", **settings, preset="microgpt"
    )
    for record in training:
        if record.step == 20:
            training.model.save(tmp_path / "copy")
            break
    own, copy = (GPT.load(tmp_path / name) for name in ("own", "copy"))
    assert own.config == copy.config
    for name in ("model.safetensors", "trainer.safetensors"):
        assert (tmp_path / "own" / name).read_bytes() == (tmp_path / "copy" / name).read_bytes()


def test_the_model_is_the_best_on_the_validation_set(tmp_path):
    documents = ["anna", "hanna", "nan", "han", "ann", "nah", "hana", "anah", "nanna", "hah"]
    settings = {"steps": 200, "lr": 0.05, "val_fraction": 0.3, "log_every": 10, "engine": "array"}
    training = GPT.training(documents, **settings, preset="microgpt")
    best = min(record.val_loss for record in training)
    assert training.records[-1].val_loss > best
    model = training.model
    held_out = split_documents(documents, 0.3, 42)[1]
    assert mean_nll(model.engine, model.tokenizer.encode_documents(held_out)) == pytest.approx(best)
    for name in ("one", "two"):
        model.save(tmp_path / name)
        assert GPT.load(tmp_path / name).generate(9, seed=1) == model.generate(9, seed=1)
        last = GPT.load(tmp_path / name, checkpoint="last")
        assert last.generate(9, seed=1) != model.generate(9, seed=1)


def test_evaluate_includes_the_baselines(tmp_path):
    (tmp_path / "list.txt").write_text("anna\nhanna\nnan\n")
    model = GPT.train(tmp_path / "list.txt", steps=20, preset="microgpt")
    found = model.evaluate(["nana", "anna"])
    assert list(found.losses) == ["uniform", "unigram", "bigram", "trigram", "kneser-ney", "model"]
    model.save(tmp_path / "run")
    assert GPT.load(tmp_path / "run").evaluate(["nana", "anna"]) == found
    (tmp_path / "list.txt").unlink()
    assert list(GPT.load(tmp_path / "run").evaluate(["nana"]).losses) == ["model"]


def test_a_string_instead_of_a_list_is_refused():
    model = GPT.train(["anna", "hanna"], steps=2, engine="array", preset="microgpt")
    with pytest.raises(DataError, match=r"score: expected a list of strings, got 'anna'"):
        model.score("anna")
    with pytest.raises(DataError, match="expected a list of strings"):
        model.score([3])
    with pytest.raises(DataError, match=r"evaluate: expected a list of strings, got 'list.txt'"):
        model.evaluate("list.txt")
    with pytest.raises(DataError, match="expected strings, or the name of a file, got 5"):
        GPT.train(5, steps=2, engine="array", preset="microgpt")


def test_a_model_is_saved_unchanged_after_its_training_continues(tmp_path):
    training = GPT.training(
        ["anna", "hanna", "nan"], steps=20, log_every=5, engine="array", preset="microgpt"
    )
    for record in training:
        if record.step == 10:
            break
    early = training.model
    list(training)
    early.save(tmp_path / "early")
    assert GPT.load(tmp_path / "early").generate(9, seed=1) == early.generate(9, seed=1)
    assert not (tmp_path / "early" / "trainer.safetensors").exists()
    training.model.save(tmp_path / "late")
    assert (tmp_path / "late" / "trainer.safetensors").exists()
