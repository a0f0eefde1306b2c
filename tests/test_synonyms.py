"""Synonyms and misspelled names suggest motegpt's names; unrelated names suggest nothing."""

import pytest

from motegpt import GPT, SettingError
from motegpt.cli import COMMANDS
from motegpt.config.fields import kinds
from motegpt.config.sections import SECTIONS, DataConfig
from motegpt.config.synonyms import SYNONYMS, closest_name, hint

SETTINGS = [name for section in SECTIONS.values() for name in kinds(section)]
ARGUMENTS = ["engine", "out", "resume", "callbacks", "preset"]
UNKNOWN = {  # name -> suggestion or None
    "learning_rate": "lr", "num_samples": "n", "hidden_size": "n_embd", "n_heads": "n_head",
    "context_length": "block_size", "batch": "batch_size", "lr_decay": "schedule", "prompt": "prefix",
    "num_layers": "n_layer", "d_model": "n_embd", "warmup": "warmup_steps", "grad_clip": "clip_norm",
    "max_tokens": "max_new_tokens", "eval_interval": "eval_every", "early_stopping": "patience",
    "stepz": "steps", "stesp": "steps", "stps": "steps", "temprature": "temperature",
    "batchsize": "batch_size", "n-embd": "n_embd", "batchSize": "batch_size", "learning-rate": "lr",
    "device_map": "device", "drop_out": "dropout", "colour": None, "optimiser": "optimizer", "x": None,
    "": None, "topk": "top_k", "loss": None, "heads": "n_head", "max_steps": "steps", "output": "out",
    "length": "max_length",
}  # fmt: skip


@pytest.mark.parametrize(("name", "expected"), UNKNOWN.items())
def test_synonyms_and_misspelled_names(name, expected):
    assert closest_name(name, [*SETTINGS, *ARGUMENTS]) == expected


def test_every_key_is_a_name_of_motegpt():
    known = {*SETTINGS, *ARGUMENTS, *COMMANDS, "epochs"}
    assert SYNONYMS.keys() <= known


def test_every_synonym_suggests_its_key():
    for own, others in SYNONYMS.items():
        for other in others.split():
            assert other == "epochs" or other not in SETTINGS
            assert closest_name(other, [own]) == own


def test_a_synonym_of_a_synonym():
    assert closest_name("init_from", ["resume", "train"]) == "resume"
    assert closest_name("init_from", ["train", "eval"]) == "train"


def test_hints():
    assert hint("resid_pdrop", SETTINGS) == "did you mean dropout?"
    assert hint("colour", SETTINGS) == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "--learning-rate", 3], "No such option '--learning-rate'. Did you mean --lr?"),
        (["train", "--num-samples", 3], "Did you mean --n?"),
        (["train", "--data", "x"], "No such option '--data'; see motegpt train --help"),
        (["train", "--dropout-rate", 0.1], "No such option '--dropout-rate'. Did you mean --dropout?"),
        (["train", "--output-dir", "x"], "Did you mean --out?"),
        (["sample", "--prompt", "x"], "Did you mean --prefix?"),
        (["sample", "run", "--unqiue"], "Did you mean --unique?"),
        (["train", "--stesp", "3"], "Did you mean --steps?"),
        (["train", "--colour"], "No such option '--colour'; see motegpt train --help"),
        (["generate"], "No such command 'generate'. Did you mean sample?"),
        (["trian"], "No such command 'trian'. Did you mean train?"),
        (["paint"], "No such command 'paint'; see motegpt --help"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "",
)
def test_on_the_command_line(motegpt, words, message):
    ended = motegpt(*words)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert message in ended.err


def test_in_a_toml_file(motegpt, tmp_path):
    for text, message in {
        "max_iters = 3": "did you mean steps?",
        "colour = 3": "motegpt train --help lists them",
        "dropout_prob = 0.1": "did you mean dropout?",
        "[trian]": "did you mean train?",
    }.items():
        (tmp_path / "c.toml").write_text(text)
        ended = motegpt("train", "--config", "c.toml")
        assert (ended.code, ended.err.count("\n")) == (2, 1)
        assert message in ended.err


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model: GPT.train(["ab"], max_lr=3), "unknown setting 'max_lr'; did you mean lr?"),
        (lambda model: GPT.train(["ab"], output_dir="x"), "did you mean out?"),
        (lambda model: GPT.training(["ab"], resid_pdrop=0.1), "did you mean dropout?"),
        (lambda model: GPT.train(["ab"], colour=1), "unknown setting 'colour'; motegpt.config has them all"),
        (lambda model: model.generate(prompt="a"), "unknown setting 'prompt'; did you mean prefix?"),
        (lambda model: model.generate(random_seed=1), "did you mean seed?"),
        (lambda model: model.generate(uniqe=1), "did you mean unique?"),
        (lambda model: model.config.train.replace(max_lr=1), "unknown setting 'max_lr'; did you mean lr?"),
    ],
)  # fmt: skip
def test_in_python(call, message):
    model = GPT.train(["ab"], steps=1, engine="array", preset="microgpt")
    with pytest.raises(SettingError) as error:
        call(model)
    assert message in str(error.value)


def test_a_former_name_is_accepted_everywhere_and_hidden(motegpt, tmp_path):
    (tmp_path / "list.txt").write_text("Zoe\u0308\nanna\n")
    for name in ("normalise", "normalize"):
        (tmp_path / "c.toml").write_text(f"{name} = 'nfc'\n")
        (tmp_path / "table.toml").write_text(f"[data]\n{name} = 'nfc'\n")
        quick = ("--engine", "array", "--steps", 1, "-n", 1, "--out", name, "--overwrite")
        for words in (["--config", "c.toml"], ["--config", "table.toml"], [f"--{name}", "nfc"]):
            assert motegpt("train", "--preset", "microgpt", "list.txt", *words, *quick).code == 0
            assert GPT.load(tmp_path / name).config.data.normalize == "nfc"
    assert "normalise" not in motegpt("train", "--help").out
    assert "normalise" not in (tmp_path / "normalise" / "config.json").read_text()


def test_a_former_name_in_python_and_in_a_recorded_run():
    model = GPT.train(["Zoe\u0308", "anna"], normalise="nfc", steps=1, engine="array", preset="microgpt")
    assert model.config.data.normalize == "nfc"
    values = model.config.data.values()
    values["normalise"] = values.pop("normalize")
    assert DataConfig.of(values) == model.config.data
    assert model.config.data.replace(normalise=None).normalize is None
    with pytest.raises(SettingError, match="normalize: expected one value, got another as `normalise`"):
        GPT.train(["ab"], normalise="nfc", normalize="nfkc", preset="microgpt")
