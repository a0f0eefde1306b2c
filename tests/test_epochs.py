"""Epochs: their conversion to steps, for every source of settings."""

import json
from fractions import Fraction

import pytest

from motegpt.api.gpt import GPT
from motegpt.config.epochs import epochs_to_steps, merge_settings
from motegpt.config.presets import settings_of
from motegpt.data.corpus import corpus_of
from motegpt.data.plan import DocumentPlan, WindowPlan
from motegpt.data.split import split_documents
from motegpt.errors import SettingError
from motegpt.training.build import prepare

QUICK = ("--engine", "array", "-n", 1)
NAMES = [f"{a}{b}" for a in "abcdef" for b in ("nna", "lex", "ob", "ria", "m")]  # 30 of them


def test_steps_per_epoch():
    assert DocumentPlan([[0, 1]] * 30, 4, "documents").epoch == Fraction(30, 4)
    assert WindowPlan(list(range(101)), 5, 4, "documents", 0).epoch == 5


@pytest.mark.parametrize(
    ("epochs", "steps"), [(1.0, 8), (2.0, 15), (0.1, 1), (1e-9, 1), (0.4, 3), (1e6, 7_500_000)]
)
def test_epochs_are_rounded_up_in_decimal(epochs, steps):
    assert epochs_to_steps(epochs, Fraction(30, 4)) == steps
    assert epochs_to_steps(0.07, Fraction(100)) == 7


def steps_of(**changes):
    documents = ["\n".join(NAMES)] if changes.get("format") == "stream" else NAMES
    return prepare(corpus_of(documents), {**settings_of("microgpt"), **changes}, "array").config.train.steps


def test_epochs_count_training_documents_only():
    training, held_out = split_documents(NAMES, 0.2, 42)
    assert (len(training), len(held_out)) == (24, 6)
    assert steps_of(epochs=3.0) == 90
    assert steps_of(epochs=3.0, val_fraction=0.2) == 72
    assert steps_of(epochs=3.0, val_fraction=0.2, batch_size=5) == 15
    assert steps_of(epochs=0.5, batch_size=7) == 3


def test_epochs_of_a_stream_count_targets():
    targets = len("\n".join(NAMES)) - 1
    assert steps_of(epochs=1.0, format="stream", block_size=targets) == 1
    assert steps_of(epochs=2.0, format="stream", block_size=8, batch_size=2) == -(-2 * targets // 16)


def test_changes_override_the_length_and_may_not_give_both():
    below = {"steps": 1000, "lr": 0.1}
    assert merge_settings(below, {"epochs": 2.0}) == {"lr": 0.1, "epochs": 2.0}
    assert merge_settings({"epochs": 2.0, "lr": 0.1}, {"steps": 5}) == {"lr": 0.1, "steps": 5}
    assert merge_settings(below, {"epochs": None, "lr": 0.2}) == {"steps": 1000, "lr": 0.2, "epochs": None}
    with pytest.raises(SettingError, match="expected `steps` or `epochs`, got `steps=5` and `epochs=2"):
        merge_settings(below, {"steps": 5, "epochs": 2.0})


def test_a_run_records_only_steps(motegpt, tmp_path):
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    (tmp_path / "epochs.toml").write_text("[train]\nepochs = 0.5\n")
    (tmp_path / "steps.toml").write_text("steps = 7\n")
    for name, words in (
        ("flag", ["--epochs", 0.5]),
        ("table", ["--config", "epochs.toml"]),
        ("flag over file", ["--config", "steps.toml", "--epochs", 0.5]),
    ):
        assert motegpt("train", "--preset", "microgpt", "names.txt", *QUICK, *words, "--out", name).code == 0
        train = json.loads((tmp_path / name / "config.json").read_text())["train"]
        assert (train["steps"], "epochs" in train) == (15, False)
    ended = motegpt("train", "names.txt", *QUICK, "--config", "epochs.toml", "--steps", 4, "--out", "steps")
    assert json.loads((tmp_path / "steps" / "config.json").read_text())["train"]["steps"] == 4, ended.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--epochs", 2, "--steps", 5], "got --steps 5 and --epochs 2.0; leave one out"),
        (
            ["--epochs", 0],
            "epochs: expected a number above 0 and at most 4,398,046,511,104, or none, got 0.0",
        ),
        (["--epochs", "nan"], "epochs: expected a number above 0"),
        (["--epochs", 1e300], "epochs: expected a number above 0 and at most"),
        (["--epochs", 1e12], "steps: expected at most 4,398,046,511,104, got 98,"),
    ],
    ids=str,
)
def test_invalid_length_error_is_one_line(motegpt, tmp_path, words, message):
    ended = motegpt("train", "--preset", "microgpt", *QUICK, *words, "--out", "run")
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert message in ended.err
    assert not (tmp_path / "run").exists()


def test_resuming_with_more_epochs(motegpt, tmp_path):
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    assert motegpt("train", "names.txt", *QUICK, "--epochs", 1, "--out", "run").code == 0
    ended = motegpt("train", "--resume", "run", "--epochs", 1.5)
    assert ended.code == 0, ended.err
    assert "step   45 /   45" in ended.out
    fewer = motegpt("train", "--resume", "run", "--epochs", 1)
    assert (fewer.code, fewer.err.count("\n")) == (2, 1)
    both = motegpt("train", "--resume", "run", "--epochs", 2, "--steps", 70)
    assert (both.code, both.err.count("\n")) == (2, 1)


def test_epochs_in_python():
    assert GPT.train(NAMES, epochs=0.5, engine="array", preset="microgpt").config.train.steps == 15
    assert GPT.train(NAMES, epochs=None, steps=3, engine="array", preset="microgpt").config.train.steps == 3
    with pytest.raises(SettingError, match="leave one out"):
        GPT.train(NAMES, epochs=1, steps=3, preset="microgpt")
    with pytest.raises(SettingError, match=r"epochs: expected a number above 0 .* got '2'"):
        GPT.train(NAMES, epochs="2", preset="microgpt")


def test_the_cost_of_epochs(motegpt, tmp_path):
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    facts = json.loads(motegpt("cost", "names.txt", "--epochs", 4, "--json").out)
    assert facts["steps"] == 120
    assert facts["tokens"]["total"] == pytest.approx(4 * facts["tokens"]["data"])
    ended = motegpt("cost", "--vocab-size", 27, "--epochs", 4)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "epochs: expected DATA, whose size defines an epoch" in ended.err


WITHOUT_NORM = dict.fromkeys(("norm_gain", "norm_bias", "final_norm"), False)


@pytest.mark.parametrize(
    ("given", "off"),
    [
        ({"norm": "none"}, WITHOUT_NORM),
        (
            {"norm": "none", "final_norm": True},
            {**WITHOUT_NORM, "final_norm": True},
        ),  # refused, as it is given
        ({"norm": "rms"}, {"final_norm": True}),
        ({"norm": [1, 2]}, {"final_norm": True}),  # no setting: the sections refuse it
        ({"zero_init": True}, {"zero_init": True, "scaled_init": False}),
        ({"zero_init": False}, {"zero_init": False, "scaled_init": True}),
    ],
)
def test_a_given_setting_switches_off_what_it_excludes_in_the_preset(given, off):
    settings = merge_settings(settings_of("gpt2"), given)
    assert {name: settings[name] for name in off} == off
    assert settings == {**settings_of("gpt2"), **given, **off}


def test_nothing_is_switched_off_that_is_not_on():
    assert merge_settings({}, {"norm": "none", "zero_init": True}) == {"norm": "none", "zero_init": True}


SMALL = ("--layers", 1, "--n-embd", 8, "--n-head", 2)


@pytest.mark.parametrize(
    "words",
    [
        ("cost", "--vocab-size", 9, "--preset", "gpt2", "--norm", "none"),
        ("gradcheck", "--engine", "array", "--preset", "gpt2", "--norm", "none"),
        ("train", "--preset", "gpt2", "--norm", "none", *SMALL, "--block-size", 8, "--steps", 1, *QUICK),
        ("train", "--preset", "gpt2", "--zero-init", *SMALL, "--block-size", 8, "--steps", 1, *QUICK),
        ("train", "--preset", "auto", "--scaled-init", "--steps", 1, *QUICK),
        ("train", "--preset", "auto", "--norm", "none", "--steps", 1, *QUICK),
    ],
    ids=str,
)
def test_commands_switch_off_what_is_excluded(words, motegpt, tmp_path):
    (tmp_path / "few.txt").write_text("anna\nhanna\n")
    data = [str(tmp_path / "few.txt")] if words[0] == "train" else []
    ended = motegpt(*words, *data)
    assert (ended.code, ended.err.count("expected")) == (0, 0), ended.err


def test_what_the_user_gave_is_not_switched_off(motegpt):
    ended = motegpt("cost", "--vocab-size", 9, "--preset", "gpt2", "--norm", "none", "--norm-bias")
    assert ended.err == "motegpt: norm_bias: expected false with --norm none, got true\n"
