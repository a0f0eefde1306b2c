"""Texts given after training are normalized like the training data; output of texts."""

import json
import math

import numpy as np
import pytest

from motegpt import GPT
from motegpt.config.sections import ReadConfig
from motegpt.data.corpus import corpus_from
from motegpt.data.documents import normalize_document, normalize_fragment
from motegpt.errors import DataError, PrefixError

APART, WHOLE = "zoe\u0308", "zoë"
QUICK = {"steps": 20, "engine": "array", "n": 1}


@pytest.fixture(scope="module")
def model():
    """A model trained on normalized names."""
    return GPT.train([APART, "anna", "hanna"], normalize="nfc", **QUICK, preset="microgpt")


def test_documents_are_stripped_and_normalized(model):
    given = [WHOLE, APART, f"  {APART}\n", f"{WHOLE}\r\n"]
    scores = model.score(given)
    assert len({score.log_probability for score in scores}) == 1
    assert math.isfinite(scores[0].log_probability)
    assert {score.text for score in scores} == {WHOLE}
    assert model.evaluate(given).losses == model.evaluate([WHOLE] * 4).losses


def test_lines_of_a_file_can_be_scored(model, tmp_path):
    (tmp_path / "names.txt").write_text("anna\nhanna\n")
    with (tmp_path / "names.txt").open() as file:
        assert all(math.isfinite(score.log_probability) for score in model.score(file.readlines()))


def test_fragments_are_normalized_but_not_stripped(model):
    assert model.generate(3, prefix=APART, seed=1) == model.generate(3, prefix=WHOLE, seed=1)
    assert all(text.startswith(WHOLE) for text in model.generate(3, prefix=APART, seed=1))
    for name in ("suffix", "stop", "allow", "forbid"):
        allowed = {"allow": f"an{APART}"}.get(name, APART)
        same = {"allow": f"an{WHOLE}"}.get(name, WHOLE)
        settings = {"tries": 5000} if name == "suffix" else {}
        one, other = (model.generate(2, seed=1, **{name: text}, **settings) for text in (allowed, same))
        assert one == other, name
    with pytest.raises(PrefixError, match=r"got ' ' \(U\+0020\)"):
        model.generate(1, prefix="anna ")
    saved = GPT.train([APART, "anna"], normalize="nfc", prefix=APART, **QUICK, preset="microgpt")
    assert saved.config.sample.prefix == WHOLE


def test_a_stream_keeps_its_spaces():
    stream = GPT.train(
        ["the cat sat\r\non the mat "], format="stream", block_size=8, **QUICK, preset="microgpt"
    )
    assert stream.score([" the\r\n"])[0].text == " the\n"
    assert stream.generate(1, prefix="the ", seed=1, max_new_tokens=2)[0].startswith("the ")


def test_normalization_functions():
    reading = ReadConfig(normalize="nfkc")
    assert normalize_document(" ﬁn\r", reading) == "fin"
    assert normalize_fragment(" ﬁn\r", reading) == " fin\n"
    assert normalize_document(" a ", ReadConfig(format="stream")) == " a "


def test_unknown_characters_are_reported_with_code_points(motegpt):
    motegpt("train", "--steps", 1, "--engine", "array", "-n", 1, "--quiet", "--out", "run")
    assert "(U+0301)" in motegpt("sample", "run", "--prefix", "e\u0301").err
    assert "(U+0301)" in motegpt("score", "run", "e\u0301").err


MANY_LINES = ["X:1\nabc", "X:2\ncba", "X:3\nbca"]


def test_texts_of_several_lines_are_written_one_per_line(motegpt, tmp_path):
    (tmp_path / "tunes.abc").write_text("\n\n".join(MANY_LINES))
    words = ("--steps", 400, "--engine", "array", "--delimiter", r"\n\n")
    trained = motegpt(
        "train", "--preset", "microgpt", "tunes.abc", *words, "-n", 3, "--quiet", "--out", "run"
    )
    assert trained.out.count("\n") == 3
    assert r"\n" in trained.out
    lines = motegpt("sample", "run", "-n", 5, "--seed", 1).out.splitlines()
    assert len(lines) == 5
    texts = GPT.load("run").generate(5, seed=1)
    assert [text.replace("\n", r"\n") for text in texts] == lines
    assert any("\n" in text for text in texts)
    motegpt("sample", "run", "-n", 5, "--seed", 1, "--output", "x.jsonl")
    assert [json.loads(line)["text"] for line in (tmp_path / "x.jsonl").open()] == texts
    assert motegpt("score", "run", MANY_LINES[0]).out.count("\n") == 1


def test_a_stream_is_written_unchanged(motegpt, tmp_path):
    (tmp_path / "book.txt").write_text("ab\n" * 20)
    words = ("--format", "stream", "--block-size", 8, "--steps", 50, "--engine", "array", "-n", 1)
    motegpt("train", "--preset", "microgpt", "book.txt", *words, "--quiet", "--out", "run")
    assert "b\na" in motegpt("sample", "run", "-n", 1, "--seed", 1, "--prefix", "ab").out


def test_evaluation_data_are_utf_8_by_default(motegpt, tmp_path):
    (tmp_path / "old.txt").write_bytes("zoë\nanna\nrené\n".encode("latin-1"))
    (tmp_path / "new.txt").write_text("zoë\nrené\n", encoding="utf-8")
    words = ("--steps", 5, "--engine", "array", "-n", 1, "--quiet", "--out", "run")
    assert motegpt("train", "--preset", "microgpt", "old.txt", "--encoding", "latin-1", *words).code == 0
    assert motegpt("eval", "run", "--samples", 0).code == 0
    new = json.loads(motegpt("eval", "run", "new.txt", "--samples", 0, "--json").out)
    assert (new["documents"], new["left_out"]) == (2, [])
    old = motegpt("eval", "run", "old.txt", "--samples", 0)
    assert old.code == 2
    assert "expected UTF-8" in old.err
    flags = ("--encoding", "latin-1", "--samples", 0, "--json")
    assert json.loads(motegpt("eval", "run", "old.txt", "new.txt", *flags).out)["left_out"] != []


class Table:
    """Like a pandas DataFrame."""

    columns = ("name", "age")

    def __iter__(self):
        return iter(self.columns)


@pytest.mark.parametrize("given", [{"name": ["anna"], "age": [7]}, Table()])
def test_table_error_lists_the_columns(given):
    with pytest.raises(
        DataError, match=r"with the columns \['name', 'age'\]; give one column, as in table\['name'\]"
    ):
        GPT.train(given, preset="microgpt")


def test_other_types_of_documents(tmp_path):
    for given in (
        ("anna", "bob"),
        iter(["anna", "bob"]),
        np.array(["anna", "bob"]),
        {"anna": 1, "bob": 1}.keys(),
    ):
        assert corpus_from(given, ReadConfig()).documents == ["anna", "bob"]
    for wrong in (["anna", float("nan")], ["anna", None], b"anna", 5, [b"anna"]):
        with pytest.raises(DataError, match="expected strings, or the name of a file"):
            corpus_from(wrong, ReadConfig())
    (tmp_path / "a.txt").write_text("anna\n")
    assert corpus_from([tmp_path / "a.txt", tmp_path], ReadConfig()).documents == ["anna", "anna"]


@pytest.mark.parametrize("settings", [{}, {"format": "stream"}])
def test_line_ends_are_converted_in_every_input(tmp_path, settings):
    words = ["ab\rcd", "efg\r\nhij", "x" * 20]
    model = GPT.train(words, **QUICK, **settings, preset="microgpt")
    assert "\r" not in model.tokenizer.characters
    assert all(math.isfinite(score.log_probability) for score in model.score(words))
    assert model.generate(n=1, prefix="ab\rc")[0].startswith("ab\nc")


def test_line_ends_in_json_are_converted(tmp_path):
    (tmp_path / "a.jsonl").write_text('"ab\\rcd"\n"efg"\n')
    assert GPT.train(tmp_path / "a.jsonl", **QUICK, preset="microgpt").tokenizer.characters == "\nabcdefg"


def test_assumptions_are_warnings_in_python(tmp_path):
    (tmp_path / "list.csv").write_text("emma\nolivia\n")
    with pytest.warns(UserWarning, match="its first row, 'emma', is not a header; `header=True` if it is"):
        model = GPT.train(tmp_path / "list.csv", **QUICK, preset="microgpt")
    assert model.config.source.documents == 2


def test_assumptions_are_logged_on_the_command_line(motegpt, tmp_path):
    (tmp_path / "list.csv").write_text("emma\nolivia\n")
    words = ("--steps", 1, "--engine", "array", "-n", 1)
    assert (
        "'emma', is not a header; --header if it is"
        in motegpt("train", "--preset", "microgpt", "list.csv", *words).err
    )
    assert motegpt("train", "--preset", "microgpt", "list.csv", *words, "--no-header").err == ""


def test_a_run_on_several_files_can_be_resumed(motegpt, tmp_path):
    for name, text in (("a.txt", "anna\nhanna\n"), ("b.txt", "bob\n")):
        (tmp_path / name).write_text(text)
    words = ("train", "a.txt", "b.txt", "--steps", 20, "--engine", "array", "-n", 1)
    assert motegpt(*words, "--out", "whole").code == 0
    assert motegpt(*words, "--out", "parts", "--until", 7).out.startswith("num docs: 3\n")
    assert motegpt("train", "--resume", "parts").code == 0
    whole, parts = (tmp_path / run / "trainer.safetensors" for run in ("whole", "parts"))
    assert whole.read_bytes() == parts.read_bytes()
    (tmp_path / "b.txt").write_text("bert\n")
    gone = motegpt("train", "--resume", "whole", "--steps", 30)
    assert "a.txt and 1 more does not match the recorded training data" in gone.err
    assert motegpt("show", "whole").code == 0
