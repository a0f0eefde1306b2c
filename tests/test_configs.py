"""The configurations that motegpt ships: each can be trained, and each states what it costs."""

import json
import math

import pytest

from motegpt.cli.options import read_toml, shipped_configs
from motegpt.config.sections import section_of

from .conftest import ENGINES_HERE

CONFIGS = list(shipped_configs().values())
ENGINES = [name for name in ENGINES_HERE if name != "scalar"]
REDUCED = {"n_embd": 12, "block_size": 24, "batch_size": 3, "steps": 2, "n": 1}
MARK = "# $ motegpt "


def statement(text):
    """The command a file names, and the output it states under it."""
    lines = text.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith(MARK))
    stated = []
    for line in lines[at + 1 :]:
        if line == "#":
            break
        stated.append(line.removeprefix("# ").rstrip())
    return lines[at].removeprefix(MARK).split(), stated


def is_true(text, motegpt):
    """Whether a file states what the command it names prints."""
    words, stated = statement(text)
    ended = motegpt(*words)
    assert ended.code == 0, ended.err
    return stated == ended.out.splitlines() and len(stated) > 5


def test_there_are_the_three():
    assert list(shipped_configs()) == ["gpt2-small", "names-200k", "shakespeare"]


def test_a_file_wins_over_a_shipped_one_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read_toml("shakespeare")["steps"] == 5000
    (tmp_path / "shakespeare").write_text("steps = 3\n")
    assert read_toml("shakespeare") == {"steps": 3}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_what_a_file_states_is_what_is_computed(motegpt, path):
    text = path.read_text()
    assert statement(text)[0][1:3] == ["--config", path.stem]
    assert is_true(text, motegpt)


@pytest.mark.parametrize(
    ("old", "new"), [("10,765,056", "10,765,057"), ("5.52e+15", "5.53e+15"), ("2,197", "2,198")]
)
def test_a_wrong_statement_is_found(motegpt, old, new):
    text = shipped_configs()["shakespeare"].read_text()
    assert old in text
    assert not is_true(text.replace(old, new), motegpt)


@pytest.fixture
def text_file(tmp_path):
    """Lines of a few words, enough of them for every split."""
    lines = [f"{'abcdefgh'[i % 8] * (1 + i % 5)} line {i * 37 % 101}" for i in range(300)]
    (tmp_path / "text.txt").write_text("\n".join(lines) + "\n")
    return "text.txt"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_two_steps_at_reduced_width(motegpt, tmp_path, text_file, path, engine):
    flags = [word for name, value in REDUCED.items() for word in (f"--{name.replace('_', '-')}", value)]
    ended = motegpt(
        "train", text_file, "--config", path, "--engine", engine, "--out", "run", "--log-every", 1,
        "--max-new-tokens", 8, *flags,
    )  # fmt: skip
    assert ended.code == 0, ended.err
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [1, 2]
    assert all(math.isfinite(record["loss"]) for record in records)
    assert math.isfinite(records[-1]["val_loss"])
    written = json.loads((tmp_path / "run" / "config.json").read_text())
    changed = {*REDUCED, "log_every", "max_new_tokens"}
    for name, value in read_toml(str(path)).items():
        if name != "preset" and name not in changed:
            assert written[section_of(name)][name] == value


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_wrong_name_in_a_file_is_refused(motegpt, tmp_path, text_file, path):
    for old, new in {"n_layer": "n_layers", "batch_size": "batchsize", "steps": "stepps"}.items():
        text = path.read_text().replace(f"\n{old} =", f"\n{new} =")
        (tmp_path / "wrong.toml").write_text(text)
        ended = motegpt("train", text_file, "--config", "wrong.toml", "--out", "run")
        assert (ended.code, ended.err.count("\n")) == (2, 1)
        assert f"unknown setting '{new}'; did you mean {old}?" in ended.err
        assert not (tmp_path / "run").exists()


def test_flags_win_over_preset_and_engine_of_a_file(motegpt, tmp_path):
    (tmp_path / "c.toml").write_text('preset = "zeroclaw"\nengine = "scalar"\nsteps = 1\n')
    ended = motegpt(
        "train", "--config", "c.toml", "--preset", "oxidized", "--engine", "array", "--out", "run"
    )
    assert ended.code == 0, ended.err
    written = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (written["engine"], written["train"]["rng"], written["train"]["steps"]) == ("array", "lcg", 1)
