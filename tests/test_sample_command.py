"""motegpt sample as a person or a script meets it."""

import csv
import io
import json
import os
import subprocess
import sys

import pytest

from motegpt.api.gpt import GPT
from motegpt.evaluation.nll import score_texts
from motegpt.views.writers import WRITERS, format_of
from tests.conftest import ENGINES_HERE

AWKWARD = ['an"na', "b,ob", "c;d'e", "ж анна", "łódź,x", "naïve"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run of a few awkward words."""
    path = tmp_path_factory.mktemp("runs")
    (path / "list.txt").write_text("\n".join(AWKWARD))
    GPT.train(path / "list.txt", steps=60, engine="array", preset="microgpt").save(path / "run")
    return path


def ended_well(ended):
    assert (ended.code, ended.err) == (0, ""), ended.err
    return ended.out


def test_text_is_a_line_a_sample(motegpt, folder):
    out = ended_well(motegpt("sample", folder / "run", "-n", 7, "--seed", 1))
    assert out.splitlines() == GPT.load(folder / "run").generate(7, seed=1)


def test_settings_arrive(motegpt, folder):
    words = ("--seed", 1, "--top-k", 5, "--top-p", 0.9, "--min-p", 0.01, "--repetition-penalty", 1.3,
             "--min-length", 3, "--max-length", 8, "--forbid", "ж", "--prefix", "an")  # fmt: skip
    out = ended_well(motegpt("sample", folder / "run", "-n", 9, *words))
    given = {"top_k": 5, "top_p": 0.9, "min_p": 0.01, "repetition_penalty": 1.3, "min_length": 3,
             "max_length": 8, "forbid": "ж", "prefix": "an"}  # fmt: skip
    assert out.splitlines() == GPT.load(folder / "run").generate(9, seed=1, **given)


def test_a_filter_that_the_core_lacks_is_drawn_token_by_token(motegpt, folder):
    drawn = {
        engine: ended_well(
            motegpt("sample", folder / "run", "--engine", engine, "--seed", 1, "--typical-p", 0.4)
        )
        for engine in ENGINES_HERE
    }
    assert set(drawn.values()) == {drawn["scalar"]}
    assert drawn["scalar"] != ended_well(motegpt("sample", folder / "run", "--seed", 1))


def test_greedy_is_temperature_zero(motegpt, folder):
    greedy = ended_well(motegpt("sample", folder / "run", "-n", 2, "--greedy"))
    assert greedy == ended_well(motegpt("sample", folder / "run", "-n", 2, "--temperature", 0))
    assert len(set(greedy.splitlines())) == 1


def read_back(text, form):
    """(text, logprob) pairs by the modules that scripts use."""
    if form == "csv":
        return [(row["text"], float(row["logprob"])) for row in csv.DictReader(io.StringIO(text, newline=""))]
    return [(row["text"], row["logprob"]) for row in map(json.loads, text.splitlines())]


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_csv_and_json_lines_are_read_back_with_log_probabilities(motegpt, folder, tmp_path, form):
    model = GPT.load(folder / "run")
    expected = model.generate(40, seed=2)
    assert any('"' in text for text in expected)
    assert any("," in text for text in expected)
    scores = [score.log_probability for score in score_texts(model.engine, model.tokenizer, expected)]
    words = ("sample", folder / "run", "-n", 40, "--seed", 2)
    printed = ended_well(motegpt(*words, "--format", form))
    assert ended_well(motegpt(*words, "--output", tmp_path / f"names.{form}")) == ""
    assert (tmp_path / f"names.{form}").read_text(encoding="utf-8") == printed
    rows = read_back(printed, form)
    assert [text for text, _ in rows] == expected
    assert [value for _, value in rows] == pytest.approx(scores)
    assert all(value < 0 for value in scores)


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@pytest.mark.parametrize("text", ["", "a\nb", "a\r\nb", "\r", '"', ",", "'", "жш\u2028", "1.5", " a ", "\t"])
def test_whatever_is_in_a_text_is_read_back(form, text, tmp_path):
    path = tmp_path / "file"
    with path.open("w", encoding="utf-8", newline="") as file:
        WRITERS[form](file).write([text, "b"], [-1.5, -2.0])
    with path.open(encoding="utf-8", newline="") as file:
        assert read_back_lines(file.read(), form) == [(text, -1.5), ("b", -2.0)]


def read_back_lines(text, form):
    """As read_back, with lines that end at newlines alone."""
    return read_back(text, form) if form == "csv" else [
        (row["text"], row["logprob"]) for row in map(json.loads, text.split("\n")[:-1])
    ]  # fmt: skip


def test_a_text_that_the_model_cannot_write_has_no_number_in_json():
    file = io.StringIO()
    WRITERS["jsonl"](file).write(["a"], [float("-inf")])
    assert json.loads(file.getvalue()) == {"text": "a", "logprob": None}


def test_the_name_of_a_file_says_its_format():
    assert [format_of(path) for path in (None, "a.csv", "b.JSONL", "csv", "d.txt", "e")] == [
        "text", "csv", "jsonl", "csv", "text", "text"
    ]  # fmt: skip


def test_a_file_is_kept_unless_told(motegpt, folder, tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    words = ("sample", folder / "run", "-n", 2, "--seed", 1, "--output", "mine.txt")
    ended = motegpt(*words)
    assert (ended.code, ended.err.count("\n"), ended.out) == (2, 1, "")
    assert "--overwrite" in ended.err
    assert (tmp_path / "mine.txt").read_text() == "precious"
    ended_well(motegpt(*words, "--overwrite"))
    assert len((tmp_path / "mine.txt").read_text().splitlines()) == 2


def test_unique_and_novel(motegpt, folder):
    out = ended_well(motegpt("sample", folder / "run", "-n", 30, "--unique", "--novel", "--seed", 1))
    lines = out.splitlines()
    assert len(set(lines)) == 30
    assert not set(lines) & set(AWKWARD)


def test_what_was_found_is_printed_before_the_tries_run_out(motegpt, folder):
    ended = motegpt("sample", folder / "run", "-n", 5, "--greedy", "--unique", "--tries", 3)
    assert (ended.code, len(ended.out.splitlines()), ended.err.count("\n")) == (1, 1, 1)
    assert (
        "expected 5 texts, got 1, as 3 in a row did not qualify (unique); try a higher --temperature"
        in ended.err
    )


def test_beams(motegpt, folder):
    out = ended_well(motegpt("sample", folder / "run", "--beams", 8))
    assert out.splitlines() == GPT.load(folder / "run").generate(beams=8)
    assert len(out.splitlines()) == 8


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--top-k", 0], "top_k: expected a whole number of at least 1"),
        (["--top-p", 0], "top_p: expected a number above 0 and at most 1"),
        (["--min-p", 2], "min_p"),
        (["--repetition-penalty", 0], "repetition_penalty"),
        (["--min-length", 9, "--max-length", 3], "min_length: expected at most max_length = 3, got 9"),
        (["--min-length", 99], "set a larger --max-new-tokens to generate beyond the block"),
        (["--allow", "XYZ"], "at least one allowed character"),
        (["--stop", "Q"], "'Q'"),
        (["--suffix", "Q"], "'Q'"),
        (["--tries", 0], "tries"),
        (["--beams", 3, "-n", 4], "n: expected at most beams = 3, got 4"),
        (["--beams", 3, "--top-p", 0.5], "expected top_p none, got 0.5"),
        (["--greedy", "--temperature", 0.5], "greedy"),
        (["--data", "list.txt"], "used only with --novel"),
        (["--novel", "--data", "nothing.txt"], "no such file"),
        (["--format", "xml"], "xml"),
        (["--output", "no/such/file.txt"], "cannot be written"),
        (["--max-new-tokens", 2**63], "max_new_tokens"),
    ],
    ids=str,
)
def test_wrong_use_is_one_line_and_exit_2(motegpt, folder, words, said):
    ended = motegpt("sample", folder / "run", *words)
    assert (ended.code, ended.err.count("\n"), ended.out) == (2, 1, "")
    assert said in ended.err


def test_a_closed_pipe_is_silent_and_quick(folder):
    command = f"{sys.executable} -m motegpt sample {folder / 'run'} -n 100000000 | head -3"
    for more in ("", " --format csv", " --format jsonl"):
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command.replace(" |", f"{more} |")],
            capture_output=True, text=True, timeout=60, env={**os.environ, "COLUMNS": "80"},
        )  # fmt: skip
        assert (done.returncode, len(done.stdout.splitlines()), done.stderr) == (0, 3, "")


@pytest.mark.parametrize("where", [">&-", ">/dev/full"])
def test_standard_output_that_is_closed_or_full(folder, where):
    command = f"{sys.executable} -m motegpt sample {folder / 'run'} -n 2 {where}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr


def test_words_that_mean_nothing_else_in_a_toml_file(motegpt, tmp_path):
    (tmp_path / "c.toml").write_text('allow = "none"\nsuffix = "none"\ntop_k = "none"\n')
    assert motegpt("train", "--engine", "array", "--steps", 1, "--config", "c.toml", "--out", "run").code == 0
    sample = json.loads((tmp_path / "run" / "config.json").read_text())["sample"]
    assert (sample["allow"], sample["suffix"], sample["top_k"]) == ("none", "none", None)
