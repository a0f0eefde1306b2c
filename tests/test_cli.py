"""The commands, their settings and their errors."""

import json
import re
import subprocess
import sys

import pytest

from motegpt.cli import COMMANDS
from motegpt.config.fields import kinds
from motegpt.config.presets import PRESETS
from motegpt.config.sections import FOUND_FROM_DATA, SECTIONS
from tests.conftest import ENGINES_HERE

QUICK = ("--steps", 3, "--engine", "array", "-n", 2)


def test_train_prints_the_plain_lines(motegpt):
    ended = motegpt("train", "--steps", 200, "--engine", "array", "-n", 20)
    assert ended.code == 0
    lines = ended.out.splitlines()
    assert lines[:4] == ["num docs: 98", "vocab size: 26", "num params: 4160", "Training..."]
    assert re.fullmatch(r"step    1 /  200 \| loss 3\.\d{4}", lines[4])
    assert [line.split()[1] for line in lines[4:7]] == ["1", "100", "200"]
    assert lines[7] == "--- inference (new, hallucinated names) ---"
    assert lines[8].startswith("sample  1: ")
    assert lines[27].startswith("sample 20: ")
    assert len(lines) == 28
    assert ended.err == ""


def test_zeroclaw_prints_its_own_numbering(motegpt, zeroclaw_reference):
    ended = motegpt("train", "--preset", "zeroclaw", "--engine", "array", "--until", 1)
    samples = zeroclaw_reference["printed_table"][0]["samples"]
    expected = [
        "step    0 / 5000 | loss 3.2943",
        *(f"sample  {i}: {text}" for i, text in enumerate(samples, 1)),
    ]
    assert ended.out.splitlines()[4:] == expected


def test_microgpt_as_a_command_prints_the_reference(motegpt, names_txt, microgpt_reference, tmp_path):
    ended = motegpt("train", names_txt, "--preset", "microgpt", "--engine", "array", "--dtype", "float64",
                    "--log-every", 1, "--out", "run")  # fmt: skip
    lines = ended.out.splitlines()
    assert lines[:3] == ["num docs: 32033", "vocab size: 27", "num params: 4192"]
    assert lines[4] == "step    1 / 1000 | loss 3.3660"
    assert [line.partition(": ")[2] for line in lines[-20:]] == microgpt_reference["samples"]
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == list(range(1, 1001))
    assert [record["loss"] for record in records] == pytest.approx(microgpt_reference["losses"], abs=1e-9)


def test_train_save_sample(motegpt, tmp_path):
    (tmp_path / "list.txt").write_text("жанна\nиванна\nанна\n")
    assert motegpt("train", "list.txt", *QUICK, "--out", "run").code == 0
    assert json.loads((tmp_path / "run" / "config.json").read_text())["source"]["path"] == str(
        tmp_path / "list.txt"
    )
    first = motegpt("sample", "run", "-n", 6, "--seed", 1, "--prefix", "ан")
    assert first.code == 0
    assert len(first.out.splitlines()) == 6
    assert all(line.startswith("ан") for line in first.out.splitlines())
    assert motegpt("sample", "run", "-n", 6, "--seed", 1, "--prefix", "ан").out == first.out
    assert motegpt("sample", "run", "-n", 6, "--seed", 2, "--prefix", "ан").out != first.out
    assert len(set(motegpt("sample", "run", "-n", 4, "--temperature", 0).out.splitlines())) == 1


def test_until_and_resume(motegpt, tmp_path):
    whole = motegpt("train", "--steps", 9, "--engine", "array", "--out", "whole").out
    assert motegpt("train", "--steps", 9, "--engine", "array", "--out", "parts", "--until", 4).code == 0
    parts = motegpt("train", "--resume", "parts").out
    assert parts.splitlines()[-21:] == whole.splitlines()[-21:]
    for name in ("model.safetensors", "trainer.safetensors", "metrics.jsonl"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    again = motegpt("train", "--resume", "parts")
    assert (again.code, again.err.count("\n")) == (2, 1)
    assert "set a larger --steps to continue" in again.err
    assert motegpt("train", "--resume", "parts", "--steps", 12).code == 0


OTHER_VALUES = {
    "n_layer": 2, "n_embd": 12, "n_head": 2, "block_size": 9, "activation": "squared_relu", "tied": True,
    "embedding_norm": False, "norm_eps": 0.001, "init_std": 0.03, "zero_init": True, "framing": "bos_eos",
    "position": "rope", "rope_base": 50.0, "qk_norm": True, "n_kv_head": 2, "n_hidden": 9, "bias": True,
    "norm": "layer", "norm_gain": True, "norm_bias": True, "final_norm": True, "scaled_init": True,
    "cut": "tokens", "shuffle": False, "reshuffle": True, "deduplicate": True, "format": "text",
    "column": "emma",
    "header": True, "delimiter": "n", "encoding": "ascii",
    "normalize": "nfc", "tokenizer": "bytes", "max_vocab_size": 60, "token_pattern": "a|.",
    "tokenizer_file": "tokens.json", "steps": 2, "batch_size": 3,
    "loss_mean": "tokens", "seed": 7, "rng": "lcg", "lr": 0.002, "schedule": "cosine", "warmup_steps": 1,
    "lr_min": 0.0001, "adam": "folded", "beta1": 0.8, "beta2": 0.9, "eps": 1e-7, "weight_decay": 0.1,
    "optimizer": "sgd", "momentum": 0.5, "dropout": 0.1, "kneser_ney": 3, "kneser_ney_weight": 0.25,
    "clip_node": 3.0, "clip_value": 2.0, "clip_norm": 1.5, "dtype": "float32", "threads": 1,
    "checkpoint_activations": True, "device": "cpu", "autocast": "bfloat16", "tf32": True, "compile": True,
    "accumulate": 3, "shard": True, "log_every": 5, "sample_every": 2, "checkpoint_every": 2, "count_from": 0,
    "n": 2, "temperature": 0.7, "prefix": "a", "repetition_penalty": 1.3, "top_k": 4, "top_p": 0.9,
    "min_p": 0.1, "typical_p": 0.6, "min_new_tokens": 2, "max_new_tokens": 5, "min_length": 3,
    "max_length": 7, "stop": "n", "allow": "abc", "forbid": "xyz", "suffix": "a", "tries": 30, "beams": 3,
    "length_penalty": 1.5, "on_cut": "mark", "val_fraction": 0.1, "split_seed": 3, "unique": True,
    "novel": True, "eval_every": 3, "patience": 4,
    "checkpoint_minutes": 2.5, "keep": 3,
    "ngram_orders": 3, "ngram_min_count": 3, "ngram_dropout": 0.25, "ngram_weight_decay": 2.0,
}  # fmt: skip
NEEDED_BESIDE = {
    "column": ("--format", "csv"),  # the first built-in name is the header then
    "header": ("--format", "csv"),
    "autocast": ("--dtype", "float32"),
    "accumulate": ("--batch-size", 3),
    "momentum": ("--optimizer", "sgd"),
    "max_vocab_size": ("--tokenizer", "bpe"),
    "token_pattern": ("--tokenizer", "regex"),
    "tokenizer_file": ("--tokenizer", "file"),
    "kneser_ney_weight": ("--kneser-ney", "4"),
    **dict.fromkeys(("ngram_min_count", "ngram_dropout", "ngram_weight_decay"), ("--ngram-orders", 2)),
}


def test_every_setting_is_in_the_table_above():
    names = {name for config in SECTIONS.values() for name in kinds(config)} - FOUND_FROM_DATA
    assert names == set(OTHER_VALUES)
    assert not {name for name in names if PRESETS["microgpt"].get(name) == OTHER_VALUES[name]}


@pytest.mark.parametrize("name", OTHER_VALUES)
def test_every_setting_has_a_flag_and_a_toml_key(motegpt, tmp_path, monkeypatch, name):
    (kind,) = (kinds(section)[name] for section in SECTIONS.values() if name in kinds(section))
    engine = next((engine for engine in kind.engines or ("array",) if engine in ENGINES_HERE), None)
    if engine is None:
        pytest.skip(f"{name} is a setting of an engine that is not installed")
    if name == "compile":
        monkeypatch.setattr("torch.compile", lambda module: module)  # test_torch.py has the real one
    if name == "tokenizer_file":
        pytest.importorskip("tokenizers", reason="reads tokenizer.json; pip install 'motegpt[hf]'")
        model = {"type": "BPE", "vocab": {chr(97 + i): i for i in range(26)}, "merges": []}
        (tmp_path / "tokens.json").write_text(json.dumps({"version": "1.0", "model": model}))
    value, flag = OTHER_VALUES[name], name.replace("_", "-")
    words = [f"--{flag}" if value else f"--no-{flag}"] if isinstance(value, bool) else [f"--{flag}", value]
    (tmp_path / "c.toml").write_text(f"{name} = {json.dumps(value)}\n")
    common = ("--engine", engine, *(() if name == "steps" else ("--steps", 1)), *NEEDED_BESIDE.get(name, ()))
    for out, given in (("by_flag", words), ("by_file", ["--config", "c.toml"])):
        ended = motegpt("train", "--preset", "microgpt", *common, *given, "--out", out)
        assert ended.code == 0, ended.err
        config = json.loads((tmp_path / out / "config.json").read_text())
        (section,) = (section for section, kind in SECTIONS.items() if name in kinds(kind))
        assert config[section][name] == value


def test_flags_override_toml_tables_which_override_the_preset(motegpt, tmp_path):
    (tmp_path / "c.toml").write_text(
        'preset = "zeroclaw"\nengine = "array"\n[model]\nn_layer = 2\n'
        '[train]\nsteps = 2\nlr = 0.5\nsample_every = "none"\n'
    )
    ended = motegpt("train", "--config", "c.toml", "--lr", 0.25, "--out", "run")
    assert ended.code == 0, ended.err
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["model"]["n_layer"], config["model"]["tied"]) == (2, True)
    assert (config["train"]["steps"], config["train"]["lr"], config["train"]["sample_every"]) == (
        2,
        0.25,
        None,
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stps = 3", "unknown setting 'stps'; did you mean steps?"),
        ("[train]\nn_layer = 3", "n_layer belongs in [model]"),
        ("[trian]\nlr = 3", "unknown setting 'trian'; did you mean train?"),
        ("steps = ", "expected a TOML file"),
        ('steps = "ten"', "steps: expected a whole number of at least 1, got 'ten'"),
        ("model = 3", "[model] is a table of settings"),
        ("vocab_size = 3", "vocab_size is determined by the data"),
    ],
)
def test_an_invalid_toml_file(motegpt, tmp_path, text, message):
    (tmp_path / "c.toml").write_text(text)
    ended = motegpt("train", "--config", "c.toml", "--out", "run")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert message in ended.err
    assert not (tmp_path / "run").exists()


BAD_DATA = {"empty.txt": b"", "binary.txt": b"a\0b", "latin.txt": b"a\nzo\xeb\n", "one.txt": b"aaa\naa\n"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["none.txt"], "no such file; expected a text file with one document per line"),
        (["empty.txt"], "empty file"),
        (["binary.txt"], "binary data"),
        (["latin.txt"], "byte 0xeb in line 2, byte 3"),
        (["one.txt"], "at least 2 distinct characters"),
        ([".", "--steps", "3"], "binary.txt: expected text, got binary data"),
        (["--n-embd", "10"], "multiple of n_head = 4"),
        (["--n-embd", "0"], "n_embd: expected a whole number of at least 1 and at most 1,048,576, got 0"),
        (["--n-layer", "-1"], "n_layer"),
        (["--layers", "0"], "n_layer"),
        (["--n-head", "0"], "n_head"),
        (["--block-size", "0"], "block_size"),
        (["--batch-size", "0"], "batch_size"),
        (["--steps", "0"], "steps"),
        (["--steps", "-5"], "steps"),
        (["--lr", "nan"], "lr"),
        (["--temperature", "-1"], "temperature"),
        (["--seed", "-1"], "seed"),
        (["--until", "0"], "until"),
        (["--prefix", "X"], "'X'"),
        (["--prefix", "a" * 16], "at most 15 characters"),
        (["--engine", "scalar", "--dtype", "float32"], "the scalar engine expected float64"),
        (["--engine", "abacus"], "abacus"),
        (["--stesp", "3"], "--steps"),
        (["--steps", "three"], "three"),
        (["a", "b"], "a: no such file"),
        (["--config", "none.toml"], "none.toml"),
        (["--resume", "nowhere"], "no such run folder"),
        (["--resume", "nowhere", "--preset", "zeroclaw"], "expected no --preset, --out or --overwrite"),
    ],
    ids=str,
)
def test_usage_errors_are_one_line_exit_2_and_write_nothing(motegpt, tmp_path, words, message):
    for name, data in BAD_DATA.items():
        (tmp_path / name).write_bytes(data)
    others = [] if "--resume" in words else ["--preset", "microgpt", "--out", "run"]
    ended = motegpt("train", *words, *others)
    assert ended.code == 2
    assert ended.err.count("\n") == 1
    assert message.lower() in ended.err.lower()
    assert ended.out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(BAD_DATA)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "no such run folder"),
        (["run", "--prefix", "Q"], "'Q'"),
        (["run", "--prefix", "a" * 16], "at most 15"),
        (["run", "-n", 0], "n: expected a whole number of at least 1, got 0"),
        (["run", "--temperature", -0.5], "temperature"),
        ([], "missing argument"),
    ],
    ids=str,
)
def test_usage_errors_of_sample(motegpt, words, message):
    assert motegpt("train", *QUICK, "--out", "run").code == 0
    ended = motegpt("sample", *words)
    assert (ended.code, ended.err.count("\n"), ended.out) == (2, 1, "")
    assert message.lower() in ended.err.lower()


def test_a_run_of_another_version(motegpt, tmp_path):
    assert motegpt("train", *QUICK, "--out", "run").code == 0
    config = tmp_path / "run" / "config.json"
    config.write_text(config.read_text().replace('"format": 3', '"format": 9'))
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    for words in (["sample", "run"], ["train", "--resume", "run"]):
        ended = motegpt(*words)
        assert (ended.code, ended.err.count("\n")) == (2, 1)
        assert "expected run format 2 or 3, got 9" in ended.err
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_an_existing_run_is_kept_without_overwrite(motegpt):
    assert motegpt("train", *QUICK, "--out", "run").code == 0
    ended = motegpt("train", *QUICK, "--out", "run")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert motegpt("train", *QUICK, "--out", "run", "--overwrite").code == 0


def test_debug_shows_the_traceback(motegpt):
    from motegpt.cli import main
    from motegpt.errors import DataError

    with pytest.raises(DataError):
        main(["train", "none.txt", "--debug"])
    with pytest.raises(DataError):
        main(["--debug", "train", "none.txt"])


def test_debug_can_be_an_ordinary_argument(motegpt, tmp_path):
    (tmp_path / "list.txt").write_text("--debug\nanna\n")
    assert motegpt("train", "list.txt", *QUICK, "--prefix", "--debug", "--out", "run").code == 0
    assert motegpt("score", "run", "--", "--debug").out.endswith("\t--debug\n")
    ended = motegpt("train", "--", "--debug")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "--debug: no such file" in ended.err
    assert motegpt("graph", "--out", "--debug", "--", "--debug").code == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(motegpt, command):
    ended = motegpt(command, "--help")
    assert ended.code == 0
    assert f"Example: motegpt {command}" in ended.out
    assert all(len(line) <= 80 for line in ended.out.splitlines())
    assert command in motegpt("--help").out


def test_help_imports_no_numpy():
    program = (
        "import sys; sys.modules['numpy'] = None\nfrom motegpt.cli import main\nmain(['train', '--help'])"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True).returncode == 0


def test_graph_draws_and_counts(motegpt, tmp_path):
    ended = motegpt("graph", "emma")
    assert ended.code == 0
    assert re.search(r"relu +40\n", ended.out)
    svg = (tmp_path / "emma.svg").read_text()
    assert svg.startswith("<svg")
    nodes, constants = (int(re.search(rf"{op} +(\d+)", ended.out)[1]) for op in ("nodes", "constant"))
    assert svg.count('<g class="c"') == nodes - constants
    assert motegpt("graph", "em", "--out", "em.dot", "--plain").code == 0
    assert (tmp_path / "em.dot").read_text().startswith("digraph")
    for words, message in (
        (["emma"], "--overwrite"),
        (["em", "--out", "no/such/em.svg"], "cannot be written"),
        (["em", "--out", "em.png"], "*.svg"),
        ([""], "empty"),
        (["em", "--n-embd", 0], "n_embd"),
    ):
        ended = motegpt("graph", *words)
        assert (ended.code, ended.err.count("\n")) == (2, 1)
        assert message in ended.err


@pytest.mark.slow
def test_gradcheck_passes_on_every_preset(motegpt):
    for preset in PRESETS:
        ended = motegpt("gradcheck", "--preset", preset, "--layers", 1, "--n-embd", 4)
        assert ended.code == 0, ended.out + ended.err
        assert "WRONG" not in ended.out


@pytest.mark.parametrize(
    "words", [["--position", "rope"], ["--qk-norm"], ["--position", "rope", "--qk-norm"]]
)
def test_gradcheck_of_settings_of_the_model(motegpt, words):
    ended = motegpt("gradcheck", "--engine", "array", *words)  # the last has a kink within H
    assert ended.code == 0, ended.err
    assert ("attn_q_gain" in ended.out) == ("--qk-norm" in words)
    assert ("wpe" in ended.out) == ("rope" not in words)


def test_gradcheck_shows_an_error_alone(motegpt):
    ended = motegpt("gradcheck", "--engine", "array", "--n-embd", 7)
    assert (ended.code, ended.out) == (2, "")
    assert "n_embd: expected a multiple of n_head" in ended.err
    assert motegpt("gradcheck", "--engine", "array").out.count("largest relative error") == 1


def test_gradcheck_goes_red_on_a_wrong_gradient(motegpt, monkeypatch):
    from motegpt.engines.array import ops

    monkeypatch.setitem(ops.BACKWARD, ops.rmsnorm, lambda dy, saved: dy * saved.r)
    ended = motegpt("gradcheck", "--engine", "array")
    assert ended.code == 1
    assert "WRONG" in ended.out
    assert ended.err.count("\n") == 1


def test_a_bad_prefix_is_noticed_before_a_run_goes_on(motegpt, tmp_path):
    assert motegpt("train", *QUICK, "--until", 1, "--out", "run").code == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    ended = motegpt("train", "--resume", "run", "--prefix", "ÖÖ")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_folders_of_other_programs_are_never_taken_for_runs(motegpt, tmp_path):
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "config.json").write_text('{"architectures": ["Llama"]}')
    (tmp_path / "hf" / "model.safetensors").write_text("precious")
    assert motegpt("train", *QUICK, "--out", "hf", "--overwrite").code == 2
    assert (tmp_path / "hf" / "model.safetensors").read_text() == "precious"


@pytest.mark.parametrize(
    "text",
    ["lr = " + "9" * 400, "steps = " + "9" * 5000, "steps = 0x" + "f" * 6000, "engine = {a = 1}",
     'preset = ["microgpt"]',
     'prefix = "\\ud800"', "lr = 2026-01-01", "[train]\ntrain = 5", "seed = 1e3", "lr = true"],
)  # fmt: skip
def test_hostile_toml_values_are_one_line(motegpt, tmp_path, text):
    (tmp_path / "c.toml").write_text(text)
    ended = motegpt("train", "--config", "c.toml")
    assert (ended.code, ended.err.count("\n"), ended.out) == (2, 1, "")
    assert len(ended.err) < 400


def test_a_tiny_temperature_is_greedy(motegpt):
    assert motegpt("train", *QUICK, "--out", "run").code == 0
    greedy = motegpt("sample", "run", "-n", 3, "--temperature", 0).out
    assert motegpt("sample", "run", "-n", 3, "--temperature", "1e-320", "--seed", 1).out == greedy


def test_divergence_is_one_line(motegpt):
    ended = motegpt("train", "--steps", 3, "--lr", "1e308", "--engine", "array")
    assert (ended.code, ended.err.count("\n")) == (1, 1)


def test_devices_are_no_data(motegpt):
    ended = motegpt("train", "/dev/zero")
    assert (ended.code, ended.err.count("\n")) == (2, 1)


def test_a_typo_suggests_the_nearest_command(motegpt):
    near, far = motegpt("trian"), motegpt("qqqq")
    assert "No such command 'trian'. Did you mean train?" in near.err
    assert "mean" not in far.err
    assert (near.code, far.code, near.err.count("\n"), far.err.count("\n")) == (2, 2, 1, 1)
