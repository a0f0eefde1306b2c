"""Judging a model: against an n-gram by hand, from the command line, and by lines that are piped in."""

import io
import json
import math
import sys

import pytest

from motegpt.api.gpt import GPT
from motegpt.errors import DataError
from motegpt.evaluation.nll import MODEL, evaluate
from motegpt.ngrams.counts import NAMES, baselines
from tests.conftest import ENGINES_HERE

QUICK = ("--steps", 30, "--engine", "array", "-n", 2)


@pytest.fixture
def run(motegpt):
    ended = motegpt("train", *QUICK, "--val-fraction", 0.2, "--out", "run")
    assert ended.code == 0, ended.err
    return motegpt


def test_an_evaluation_by_hand():
    model = GPT.train(["anna", "hanna", "nan"], steps=3, seed=1, preset="microgpt")
    found = evaluate(model.engine, model.tokenizer, ["nana", "bob", "anna"], ["anna", "hanna", "nan"])
    assert (found.documents, found.tokens, found.characters) == (2, 10, 10)
    assert (found.known, found.left_out) == (1, ["bob"])
    assert list(found.losses) == [*NAMES, MODEL]
    learned, evaluated = (
        [[3, *map("ahn".index, text), 3] for text in texts]
        for texts in (("anna", "hanna", "nan"), ("nana", "anna"))
    )
    expected = baselines(learned, evaluated, 4)
    assert {name: found.losses[name] for name in NAMES} == pytest.approx(expected)
    assert found.bits_per_character("uniform") == pytest.approx(2.0)


def test_of_bytes_a_character_may_be_several_tokens():
    model = GPT.train(["жанна", "иван"], steps=1, tokenizer="bytes", preset="microgpt")
    found = evaluate(model.engine, model.tokenizer, ["жан"])
    assert (found.tokens, found.characters) == (7, 4)
    assert found.bits_per_character(MODEL) == pytest.approx(found.losses[MODEL] / math.log(2) * 7 / 4)


def test_no_data_to_evaluate_on():
    model = GPT.train(["anna", "nan"], steps=1, preset="microgpt")
    with pytest.raises(DataError, match="the model can read, got none; text 'xyz': expected only characters"):
        evaluate(model.engine, model.tokenizer, ["xyz"])


@pytest.mark.parametrize("engine", ENGINES_HERE)
def test_engines_agree(engine, motegpt):
    assert motegpt("train", *QUICK, "--dtype", "float64", "--out", "run").code == 0
    here, array = (GPT.load("run", name) for name in (engine, "array"))
    losses = [
        evaluate(model.engine, model.tokenizer, ["anna", "emma"]).losses[MODEL] for model in (here, array)
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-12)


def test_eval_by_what_was_held_out(run):
    ended = run("eval", "run", "--samples", 200)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("20 documents of the held-out data\n")
    rows = dict(line.split()[:2] for line in ended.out.splitlines()[3:9])
    assert list(rows) == ["uniform", "unigram", "bigram", "trigram", "kneser-ney", "model"]
    assert float(rows["uniform"]) == pytest.approx(math.log(26), abs=1e-4)
    assert "in the held-out data" in ended.out
    assert all(len(line) <= 80 for line in ended.out.splitlines())
    assert run("eval", "run", "--samples", 200).out == ended.out


def test_eval_as_json_and_by_a_file(run, tmp_path):
    (tmp_path / "more.txt").write_text("emma\nÉva\nzoe\n")
    ended = run("eval", "run", "more.txt", "--json")
    assert ended.code == 0
    assert "left out 1 with characters unknown to the model" in ended.err
    values = json.loads(ended.out)
    assert ended.out.isascii()
    assert (values["documents"], values["tokens"], values["left_out"]) == (2, 9, ["Éva"])
    assert values["bits_per_character"]["uniform"] == pytest.approx(math.log2(26))
    assert 0 <= values["samples"]["new"] <= values["samples"]["texts"] == 1000
    assert run("eval", "run", "more.txt", "--json", "--quiet").err == ""


def test_eval_without_the_training_data(motegpt, tmp_path):
    (tmp_path / "list.txt").write_text("anna\nhanna\nnan\n")
    assert motegpt("train", "list.txt", *QUICK, "--out", "run").code == 0
    whole = motegpt("eval", "run", "--samples", 0)
    assert "no data were held out" in whole.err
    (tmp_path / "list.txt").rename(tmp_path / "moved.txt")
    assert motegpt("eval", "run", "--training", "moved.txt", "--samples", 0).out == whole.out
    gone = motegpt("eval", "run")
    assert (gone.code, gone.out) == (2, "")
    evaluated = motegpt("eval", "run", "moved.txt")
    assert evaluated.code == 0
    assert "no baselines and no novelty" in evaluated.err
    (tmp_path / "list.txt").write_text("otto\n")
    ended = motegpt("eval", "run", "--training", "list.txt")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "does not match the recorded training data" in ended.err


def test_eval_of_a_stream(motegpt, tmp_path):
    (tmp_path / "book.txt").write_text("the cat sat on the mat. the dog sat on the cat.\n" * 20)
    ended = motegpt("train", "book.txt", "--format", "stream", "--val-fraction", 0.2, *QUICK, "--out", "run")
    assert ended.code == 0, ended.err
    ended = motegpt("eval", "run")
    assert ended.code == 0, ended.err
    assert "trigram" in ended.out


def test_score_lines(run, monkeypatch):
    ended = run("score", "run", "emma", "anna")
    assert (ended.code, ended.err) == (0, "")
    rows = [line.split("\t") for line in ended.out.splitlines()]
    assert [row[2] for row in rows] == ["emma", "anna"]
    model = GPT.load("run")
    for row in rows:
        (score,) = model.score([row[2]])
        assert float(row[0]) == pytest.approx(score.log_probability, abs=1e-4)
        assert float(row[1]) == pytest.approx(score.bits_per_character, abs=1e-4)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("emma\r\nÉva\n\n".encode())))
    piped = run("score", "run", "-", "--json")
    assert piped.code == 0
    values = [json.loads(line) for line in piped.out.splitlines()]
    assert [value["text"] for value in values] == ["emma", "Éva", ""]
    assert values[0]["log_probability"] == pytest.approx(float(rows[0][0]), abs=1e-4)
    assert (values[1]["log_probability"], values[1]["unknown"]) == (None, "É")
    assert values[2]["tokens"] == 1


def test_score_of_what_is_no_text(run, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"em\xffma\n")))
    ended = run("score", "run", "-")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "expected UTF-8" in ended.err


def test_each_checkpoint_can_be_evaluated(run):
    best, last = (run("score", "run", "emma", "--checkpoint", which) for which in ("best", "last"))
    assert best.code == last.code == 0
    wrong = run("score", "run", "emma", "--checkpoint", "first")
    assert (wrong.code, wrong.err.count("\n")) == (2, 1)
    assert "expected best, last or a step" in wrong.err


def test_one_document_is_no_documents(motegpt, tmp_path):
    motegpt("train", "--engine", "array", "--steps", 2, "--out", "run", "-n", 1)
    for text, said in (("anna\n", "1 document of"), ("anna\nemma\n", "2 documents of")):
        (tmp_path / "evaluated.txt").write_text(text)
        assert motegpt("eval", "run", "evaluated.txt", "--samples", 0).out.startswith(said)
