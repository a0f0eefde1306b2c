"""Arguments of the Python API: accepted types, and one-line errors for others."""

import enum
import os
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from motegpt import GPT, DataError, RunFolderError, SettingError
from motegpt.errors import MotegptError

WORDS = ["anna", "hanna", "nan"]
QUICK = {"steps": 3, "engine": "array", "seed": 1}


class Name(enum.StrEnum):
    ARRAY = "array"
    MICROGPT = "microgpt"
    ANNA = "anna"


class Engine(enum.Enum):
    ARRAY = "array"


class Place:
    """An os.PathLike."""

    def __init__(self, path):
        self.path = path

    def __fspath__(self):
        return str(self.path)


class Table:
    """Like a DataFrame: iterates over the names of its columns."""

    columns = ("name", "sex")

    def __iter__(self):
        return iter(self.columns)


@pytest.fixture(scope="module")
def model():
    return GPT.train(WORDS, **QUICK, preset="microgpt")


@pytest.fixture(scope="module")
def run(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run"
    model.save(path)
    return path


@pytest.mark.parametrize("given", [
    np.array(WORDS), tuple(WORDS), iter(WORDS), [np.str_(word) for word in WORDS],
    dict.fromkeys(WORDS).keys(), [Name.ANNA, *WORDS[1:]],
], ids=lambda given: type(given).__name__)  # fmt: skip
def test_documents_of_any_type(model, given):
    assert GPT.train(given, **QUICK, preset="microgpt").generate(3, seed=1) == model.generate(3, seed=1)


@pytest.mark.parametrize("kind", [str, Path, Place, np.str_], ids=lambda kind: kind.__name__)
def test_paths_of_any_type(tmp_path, run, kind):
    (tmp_path / "list.txt").write_text("\n".join(WORDS))
    trained = GPT.train(kind(tmp_path / "list.txt"), out=kind(tmp_path / "new"), **QUICK, preset="microgpt")
    assert type(trained.config.source.path) is str
    for path in (tmp_path / "new", run):
        assert GPT.load(kind(path)).generate(1, seed=1)
    trained.save(kind(tmp_path / "saved"))
    assert trained.generate(1, novel=True, data=kind(tmp_path / "list.txt"), tries=1000, temperature=9.0)


def test_string_arguments_of_any_type(model, run):
    for engine in (np.str_("array"), Name.ARRAY, Engine.ARRAY):
        other = GPT.train(WORDS, preset=Name.MICROGPT, **{**QUICK, "engine": engine})
        assert other.config == model.config
        assert GPT.load(run, engine=engine).config == GPT.load(run, engine="array").config
    for checkpoint in ("last", np.str_("last"), None):
        assert GPT.load(run, checkpoint=checkpoint).generate(2, seed=1) == model.generate(2, seed=1)
    with pytest.raises(RunFolderError, match="has no checkpoint of step 2"):
        GPT.load(run, checkpoint=np.int64(2))


def test_numbers_of_any_type(model):
    assert model.generate(np.int8(3), seed=np.uint64(4), temperature=np.float32(0.5)) == model.generate(
        3, seed=4
    )
    assert model.score(np.array(["anna"])) == model.score(["anna"])
    assert model.generate(3, seed=1, unique=np.True_) == model.generate(3, seed=1, unique=True)


def test_one_callback_or_several():
    seen = []
    GPT.train(WORDS, callbacks=seen.append, log_every=1, **QUICK, preset="microgpt")
    GPT.train(
        WORDS,
        callbacks=(seen.append, lambda record: np.bool_(record.step > 1)),
        log_every=1,
        **QUICK,
        preset="microgpt",
    )
    assert [record.step for record in seen] == [1, 2, 3, 1, 2]


REFUSED = [
    (lambda model, run: model.generate(unique=1), "unique: expected true or false, got 1"),
    (lambda model, run: model.generate(novel="yes"), "novel: expected true or false, got 'yes'"),
    (lambda model, run: model.generate(novel=True, data=5), "data: expected a path, got 5"),
    (lambda model, run: model.generate(data="list.txt"), "data: is used only with `novel`"),
    (lambda model, run: model.generate(True), "n: expected a whole number"),
    (lambda model, run: model.score(None), "score: expected a list of strings, got None"),
    (lambda model, run: model.score(5), "score: expected a list of strings, got 5"),
    (lambda model, run: model.score({"a": 1}), "score: expected a list of strings, got {'a': 1}"),
    (lambda model, run: model.evaluate(Table()), "evaluate: expected a list of strings, got "),
    (lambda model, run: model.score(["a", 5]), "score: expected a list of strings, got 5 at index 1"),
    (lambda model, run: model.score(b"ab"), "score: expected a list of strings, got 97 at index 0"),
    (lambda model, run: model.evaluate(None), "evaluate: expected a list of strings, got None"),
    (lambda model, run: model.save(5), "save: expected a path, got 5"),
    (lambda model, run: model.save("a\0b"), r"save: expected a path, got 'a\\x00b'"),
    (lambda model, run: model.save(run, overwrite=1), "overwrite: expected true or false, got 1"),
    (lambda model, run: GPT.load(5), "load: expected a path, got 5"),
    (lambda model, run: GPT.load(""), "load: expected a path, got ''"),
    (lambda model, run: GPT.load(b"run"), "load: expected a path, got b'run'"),
    (lambda model, run: GPT.load("\ud800"), "load: expected a path"),
    (lambda model, run: GPT.load("x" * 300), "no such run folder|cannot be read"),
    (lambda model, run: GPT.load(run, engine=5), "engine: expected one of .* got 5"),
    (lambda model, run: GPT.load(run, engine=[]), r"engine: expected one of .* got \[\]"),
    (
        lambda model, run: GPT.load(run, checkpoint=True),
        "checkpoint: expected best, last or a step, got True",
    ),
    (lambda model, run: GPT.load(run, checkpoint=1.5), "checkpoint: expected"),
    (lambda model, run: GPT.load(run, checkpoint=10**5000), "checkpoint: expected"),
    (lambda model, run: GPT.load(run, checkpoint=np.arange(3)), "checkpoint: expected"),
    (
        lambda model, run: GPT.train(WORDS, callbacks=5, preset="microgpt"),
        "callbacks: expected one or more functions of a record",
    ),
    (
        lambda model, run: GPT.train(WORDS, callbacks=[1], preset="microgpt"),
        "callbacks: expected one or more",
    ),
    (lambda model, run: GPT.train(WORDS, out="a\0b", preset="microgpt"), "out: expected a path"),
    (lambda model, run: GPT.train(WORDS, out=5, preset="microgpt"), "out: expected a path, got 5"),
    (lambda model, run: GPT.train(WORDS, out="", preset="microgpt"), "out: expected a path, got ''"),
    (lambda model, run: GPT.train(WORDS, out="x" * 300, **QUICK, preset="microgpt"), "cannot be written"),
    (lambda model, run: GPT.train(WORDS, engine="", preset="microgpt"), "engine: expected one of"),
    (lambda model, run: GPT.train(WORDS, preset=5), "preset: expected one of"),
    (
        lambda model, run: GPT.train(5, preset="microgpt"),
        "documents: expected strings, or the name of a file, got 5",
    ),
    (
        lambda model, run: GPT.train(["a", None], preset="microgpt"),
        "documents: expected strings.*, got None at index 1",
    ),
    (lambda model, run: GPT.train("a\0b", preset="microgpt"), "documents: expected a path"),
    (
        lambda model, run: GPT.train(WORDS, vocab_size=3, preset="microgpt"),
        "vocab_size is determined by the data",
    ),
]
KINDS = {"load": RunFolderError, "save": RunFolderError, "out": RunFolderError, "checkpoint": RunFolderError,
         "score": DataError, "evaluate": DataError, "documents": DataError, "data": DataError}  # fmt: skip


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_invalid_argument_error_is_one_line(model, run, monkeypatch, tmp_path, call, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MotegptError, match=message) as error:
        call(model, run)
    name, colon, _ = message.partition(":")
    assert not colon or error.type is KINDS.get(name, SettingError) or "`novel`" in message
    assert "\n" not in str(error.value)
    assert os.listdir(tmp_path) == []


def test_a_pure_path_is_a_path(run):
    assert GPT.load(PurePosixPath(run)).tokenizer.characters == "ahn"
