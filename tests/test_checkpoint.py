"""Run folders: atomic writes, detection of damage, and what may be overwritten."""

import contextlib
import errno
import json
import os
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from motegpt import GPT
from motegpt.errors import MotegptError, RunFolderError
from motegpt.system.files import replace_file
from motegpt.training.run_folder import RunFolder


@pytest.fixture
def run(tmp_path):
    """The folder of a small finished run."""
    GPT.train(["anna", "bob", "carla"], engine="array", steps=5, preset="microgpt").save(tmp_path / "run")
    return tmp_path / "run"


def edit_json(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def rewrite(path, change):
    """Change the tensors of a safetensors file and keep its metadata."""
    from safetensors import safe_open

    with safe_open(path, "numpy") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata)


def test_save_and_load_round_trip(tmp_path):
    model = GPT.train(["anna", "bob", "carla"], engine="array", steps=5, seed=3, preset="microgpt")
    model.save(tmp_path / "run")
    loaded = GPT.load(tmp_path / "run")
    assert loaded.config == model.config
    for name, array in model.engine.export().parameters.items():
        np.testing.assert_array_equal(loaded.engine.export().parameters[name], array)
    assert loaded.generate(5, seed=1) == model.generate(5, seed=1)
    loaded.save(tmp_path / "copy")
    assert GPT.load(tmp_path / "copy", engine="scalar").generate(5, seed=1) == model.generate(5, seed=1)


def test_the_folder_holds_only_json_and_safetensors(run):
    assert sorted(path.name for path in run.iterdir()) == [
        ".lock", "config.json", "metrics.jsonl", "model.safetensors", "tokenizer.json", "trainer.safetensors",
    ]  # fmt: skip


def truncate(path):
    path.write_bytes(path.read_bytes()[:-9])


def flip_bit(path):
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


def replace_with_foreign(path):
    save_file({"a": np.zeros(3)}, path)


DAMAGE = {
    "no config": (lambda run: (run / "config.json").unlink(), "is not a run folder"),
    "no model": (lambda run: (run / "model.safetensors").unlink(), "before its first checkpoint"),
    "another version": (
        lambda run: edit_json(run / "config.json", format=9),
        "expected run format 2 or 3, got 9",
    ),
    "not json": (lambda run: (run / "config.json").write_text("{"), "expected JSON"),
    "deep json": (lambda run: (run / "config.json").write_text("[" * 10**6), "expected JSON"),
    "a list": (lambda run: (run / "config.json").write_text("[]"), "expected run format 2 or 3"),
    "unknown key": (lambda run: edit_json(run / "config.json", extra=1), "unknown setting 'extra'"),
    "no key": (
        lambda run: edit_json(run / "config.json", model={}),
        "vocab_size: expected a whole number of at least 2 and at most 1,048,576, got none",
    ),
    "other characters": (
        lambda run: edit_json(run / "tokenizer.json", characters="abc"),
        "expected the tokenizer of model.safetensors, got another one",
    ),
    "no characters": (lambda run: edit_json(run / "tokenizer.json", characters=None), "expected characters"),
    "truncated": (lambda run: truncate(run / "model.safetensors"), "not a complete safetensors file"),
    "one bit": (lambda run: flip_bit(run / "model.safetensors"), "do not match the digest"),
    "foreign": (
        lambda run: replace_with_foreign(run / "model.safetensors"),
        "expected run format 2 or 3, got None",
    ),
    "empty": (lambda run: (run / "model.safetensors").write_bytes(b""), "not a complete safetensors file"),
    "absurd header": (
        lambda run: (run / "model.safetensors").write_bytes(b"\xff" * 64),
        "not a complete safetensors",
    ),
    "number": (
        lambda run: rewrite(run / "model.safetensors", lambda t: t["wte"].fill(0)),
        "do not match the digest",
    ),
    "config of a larger model": (
        lambda run: edit_json(
            run / "config.json",
            model={**json.loads((run / "config.json").read_text())["model"], "n_embd": 32},
        ),
        "belongs to another model",
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_raises_one_line(run, kind):
    damage, message = DAMAGE[kind]
    damage(run)
    with pytest.raises(RunFolderError) as error:
        GPT.load(run)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def reverse_alphabet(path):
    tokenizer = path.parent / "tokenizer.json"
    edit_json(tokenizer, characters=json.loads(tokenizer.read_text())["characters"][::-1])


@pytest.mark.parametrize("damage", [truncate, flip_bit, replace_with_foreign, reverse_alphabet])
def test_a_damaged_trainer_state_is_not_resumed(run, damage):
    damage(run / "trainer.safetensors")
    folder = RunFolder(run)
    with pytest.raises(RunFolderError):
        folder.trainer_state(folder.config(), folder.tokenizer())


def test_a_run_is_overwritten_only_on_request(run):
    model = GPT.load(run)
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    with pytest.raises(RunFolderError, match=r"a run already exists.*`resume=.*`overwrite=True`"):
        model.save(run)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before
    model.save(run, overwrite=True)


def test_other_files_are_never_overwritten(tmp_path, run):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(RunFolderError, match="holds other files"):
            GPT.load(run).save(tmp_path / "precious", overwrite=overwrite)
    with pytest.raises(RunFolderError, match="got a file"):
        GPT.load(run).save(tmp_path / "precious" / "thesis.txt")


def test_a_write_that_fails_leaves_the_old_file(run, monkeypatch):
    before = (run / "model.safetensors").read_bytes()

    def no_space(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    model = GPT.load(run)
    with pytest.raises(MotegptError, match=r"model.safetensors: cannot be written .No space"):
        RunFolder(run).save_parameters(model.engine.export().parameters, model.tokenizer)
    assert (run / "model.safetensors").read_bytes() == before


def test_an_incomplete_metrics_line_is_ignored(run):
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')
    folder = RunFolder(run)
    assert [record["step"] for record in folder.metrics()] == [1, 5]
    folder.truncate_metrics(3)
    assert [record["step"] for record in folder.metrics()] == [1]


@pytest.mark.parametrize("invalid", ["{", "[]", '{"loss": 1}', '{"step": "x"}', "\xff"])
def test_an_invalid_metrics_line_is_reported_with_its_number(run, invalid):
    with (run / "metrics.jsonl").open("a", encoding="latin1") as file:
        file.write(invalid + "\n")
    with pytest.raises(RunFolderError, match=r"metrics.jsonl: line 3: expected an object with a step"):
        RunFolder(run).truncate_metrics(3)


def test_a_save_that_fails_at_any_call_leaves_the_old_state_or_the_new(run, monkeypatch):
    """The first, second, third … system call that writes fails; the folder still loads."""
    folder = RunFolder(run)
    config, tokenizer = folder.config(), folder.tokenizer()
    old = folder.trainer_state(config, tokenizer)
    moved = {k: v + 1 for k, v in old.snapshot.parameters.items()}
    new = replace(old, done=old.done - 1, snapshot=replace(old.snapshot, parameters=moved))
    outcomes = []
    for successes in range(10):
        calls = iter(range(successes))
        for name in ("fsync", "replace", "open"):
            real = getattr(os, name)

            def failing(*arguments, real=real, calls=calls, **options):
                if next(calls, None) is None:
                    raise OSError(28, "No space left on device")
                return real(*arguments, **options)

            monkeypatch.setattr(os, name, failing)
        with contextlib.suppress(MotegptError):
            folder.save(new, tokenizer)
        monkeypatch.undo()
        left = folder.trainer_state(config, tokenizer)
        expected = {old.done: old, new.done: new}[left.done]
        np.testing.assert_array_equal(left.snapshot.parameters["wte"], expected.snapshot.parameters["wte"])
        assert np.isfinite(folder.parameters(config, tokenizer)["wte"]).all()
        outcomes.append(left.done)
        folder.save(old, tokenizer)
    assert outcomes[0] == old.done
    assert outcomes[-1] == new.done
    assert outcomes == sorted(outcomes, reverse=True)


QUICK = {"engine": "array", "steps": 3, "seed": 1}


def full_disk(monkeypatch, name):
    """Fail to write the file `name`, as on a full disk."""
    from motegpt.training import run_files

    write = run_files.replace_file

    def fail(path, temporary, data):
        if path.name == name:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, temporary, data)

    monkeypatch.setattr(run_files, "replace_file", fail)


@pytest.mark.parametrize("error", [OSError, ValueError, KeyboardInterrupt])
def test_a_failed_write_leaves_the_old_file(tmp_path, error):
    def fail(file):
        file.write(b"half")
        raise error

    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(error):
        replace_file(tmp_path / "file", tmp_path / "temporary", fail)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"old")]


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "model.safetensors", "trainer.safetensors"]
)
def test_a_full_disk_before_the_first_checkpoint(motegpt, monkeypatch, tmp_path, name):
    words = ["train", "--engine", "array", "--steps", 3, "-n", 1, "--out", "run"]
    with monkeypatch.context() as patch:
        full_disk(patch, name)
        ended = motegpt(*words)
        assert (ended.code, ended.err.count("\n")) == (1, 1)
        assert "No space left on device" in ended.err
    if name == "model.safetensors":  # written last
        assert motegpt("sample", "run", "-n", 1).code == 0
        assert motegpt("train", "--resume", "run").code == 0
    else:
        assert motegpt(*words).code == 0
    assert motegpt("sample", "run", "-n", 1).code == 0


def test_a_run_without_a_checkpoint_is_replaced(run, tmp_path):
    for name in ("model.safetensors", "trainer.safetensors"):
        (run / name).unlink()
    (run / ".model.safetensors.new").write_bytes(b"half written")
    with pytest.raises(RunFolderError, match=r"stopped before its first checkpoint; .* `out=.*run'`"):
        GPT.load(run)
    model = GPT.train(["anna", "bob"], out=run, **QUICK, preset="microgpt")
    assert GPT.load(run).generate(3, seed=1) == model.generate(3, seed=1)
    assert len(RunFolder(run).metrics()) == 2


@pytest.mark.parametrize("names", [["tokenizer.json"], ["config.json", "tokenizer.json"], ["metrics.jsonl"]])
def test_files_of_other_programs_are_not_overwritten(tmp_path, names):
    (tmp_path / "other").mkdir()
    for name in names:
        (tmp_path / "other" / name).write_text("{}")
    with pytest.raises(RunFolderError, match="the folder holds other files"):
        GPT.train(["anna", "bob"], out=tmp_path / "other", **QUICK, preset="microgpt")
    assert {path.read_text() for path in (tmp_path / "other").iterdir()} == {"{}"}


def test_a_folder_is_locked_before_the_first_step(tmp_path):
    first = GPT.training(["anna", "bob"], out=tmp_path / "run", **QUICK, preset="microgpt")
    with pytest.raises(RunFolderError, match="another process is training in this folder"):
        GPT.training(["carla", "dora"], out=tmp_path / "run", **QUICK, preset="microgpt")
    list(first)
    with pytest.raises(RunFolderError, match="a run already exists"):
        GPT.training(["carla", "dora"], out=tmp_path / "run", **QUICK, preset="microgpt")
    assert GPT.load(tmp_path / "run").generate(3, seed=1) == first.model.generate(3, seed=1)


def test_a_training_that_is_discarded_releases_its_folder(tmp_path):
    GPT.training(["anna", "bob"], out=tmp_path / "run", **QUICK, preset="microgpt")
    assert GPT.train(["carla", "dora"], out=tmp_path / "run", **QUICK, preset="microgpt").generate(1)


def test_a_failure_to_write_records_is_a_motegpt_error(monkeypatch, tmp_path):
    training = GPT.training(["anna", "bob"], out=tmp_path / "run", **QUICK, preset="microgpt")
    (tmp_path / "run" / "metrics.jsonl").mkdir()
    with pytest.raises(MotegptError, match=r"metrics\.jsonl: "):
        list(training)
