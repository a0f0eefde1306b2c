"""A run, or a folder of transformers, in the wrong place: messages say what would be right."""

import json
import shutil
from pathlib import Path

import pytest

from motegpt import GPT, DataError, RunFolderError, UsageError
from tests.attacks.forge import make_run
from tests.exported import small_model


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """A run, the same in one file, its list, and a folder of transformers."""
    room = tmp_path_factory.mktemp("room")
    GPT.load(make_run(room)).save(room / "run.motegpt")
    small_model(preset="llama").export(room / "hf")
    return room


def said(motegpt, *words):
    """The message of a command that refuses, in one line."""
    ended = motegpt(*words)
    assert (ended.code, ended.err.count("\n")) == (2, 1), ended.err
    return ended.err


@pytest.mark.parametrize("to", ["hf", "gguf"])
def test_only_a_run_is_exported_to_the_name_of_one(to, room, motegpt, tmp_path):
    out = tmp_path / "new.motegpt"
    message = said(motegpt, "export", room / "run", "--to", to, "--out", out)
    assert message.endswith(f"got {out}, a run in one file; choose another, or --to file\n")
    with pytest.raises(UsageError, match="choose another, or `to='file'`"):
        GPT.load(room / "run").export(out, to)
    assert not out.exists()


def test_no_folder_is_imported_to_the_name_of_a_file(room, motegpt, tmp_path):
    message = said(motegpt, "import", room / "hf", "--out", tmp_path / "new.motegpt")
    assert message.endswith("import with another --out, then export the run to this file\n")
    assert not (tmp_path / "new.motegpt").exists()


def test_an_export_is_never_overwritten(room, motegpt):
    message = said(motegpt, "export", room / "run", "--to", "file", "--out", room / "run.motegpt")
    assert message.endswith("already exists; choose another, as nothing is overwritten\n")
    with pytest.raises(RunFolderError, match="as nothing is overwritten"):
        GPT.load(room / "run").export(room / "run.motegpt", "file")


def test_a_list_that_was_moved_is_left_out_of_the_page(motegpt, tmp_path):
    run = make_run(tmp_path)
    (tmp_path / "list.txt").unlink()
    message = said(motegpt, "play", run, "--with-list", "--out", tmp_path / "page.html")
    assert message.endswith("is not found here; leave out --with-list\n")


def test_the_way_to_fine_tune_is_named(room, motegpt, tmp_path):
    file, imported = room / "run.motegpt", tmp_path / "imported"
    assert f"or fine-tune it with --from {file}" in said(motegpt, "train", "--resume", file)
    with pytest.raises(RunFolderError, match=r"fine-tune it with `GPT.load\('.*'\).fine_tune`$"):
        GPT.train(resume=file)
    motegpt("import", room / "hf", "--out", imported)
    assert said(motegpt, "train", "--resume", imported).endswith(f"fine-tune it with --from {imported}\n")


def test_what_creates_a_missing_run(room, motegpt):
    message = said(motegpt, "sample", "nope.motegpt")
    assert message.endswith(
        "no such run; exporting a run with --to file and --out nope.motegpt creates one\n"
    )
    assert f"did you mean {room / 'run.motegpt'}?" in said(motegpt, "sample", room / "rum.motegpt")
    assert "training with --out nope creates one" in said(motegpt, "sample", "nope")


def changed_config(room, folder, **changes):
    """A copy of the folder of transformers with other values in config.json."""
    shutil.copytree(room / "hf", folder)
    values = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(values))
    return folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_attention_heads": 5}, "hidden_size: expected a multiple of num_attention_heads = 5, got 12"),
        (
            {"num_key_value_heads": 2},
            "num_key_value_heads: expected a divisor of num_attention_heads = 3, got 2",
        ),
        ({"num_hidden_layers": 0}, "num_hidden_layers: expected a whole number of at least 1"),
        ({"rope_parameters": None, "rope_theta": -1}, "rope_theta: expected a number above 1, got -1"),
    ],
)
def test_a_wrong_value_has_the_name_of_its_key(changes, message, room, motegpt, tmp_path):
    folder = changed_config(room, tmp_path / "changed", **changes)
    found = said(motegpt, "import", folder, "--out", tmp_path / "new")
    assert f"config.json: {message}" in found
    assert "--" not in found


@pytest.mark.parametrize(
    "words",
    [("train", "few.txt", "--from"), ("sample",), ("show",), ("play",), ("eval",), ("train", "--resume")],
    ids=" ".join,
)
def test_a_folder_of_transformers_is_no_run(words, room, motegpt):
    Path("few.txt").write_text("anna\nnan\n")
    message = (
        f"{room / 'hf'}: expected a run, got a folder of the library transformers; motegpt import makes "
    )
    assert message in said(motegpt, *words, room / "hf")


@pytest.mark.parametrize("name", ["run", "run.motegpt"])
def test_a_run_needs_no_import(name, room, motegpt, tmp_path):
    message = said(motegpt, "import", room / name, "--out", tmp_path / "new")
    assert message.endswith(
        "expected a folder of the library transformers, got a run, which needs no import\n"
    )
    with pytest.raises(RunFolderError, match="which needs no import"):
        GPT.from_hf(room / name)


@pytest.mark.parametrize("words", [("train",), ("cost",), ("data", "check")], ids=" ".join)
def test_a_run_is_no_data(words, room, motegpt):
    run, file = room / "run", room / "run.motegpt"
    expected = (
        f"{run}: expected documents, got a run; training fine-tunes it with --from {run}, and continues "
    )
    assert said(motegpt, *words, run).endswith(f"{expected}it with --resume {run}\n")
    assert said(motegpt, *words, file).endswith(f"got a run; training fine-tunes it with --from {file}\n")
    with pytest.raises(DataError, match=r"fine-tunes it with `GPT.load\('.*'\).fine_tune`$"):
        GPT.train(file)


def test_a_folder_of_documents_may_have_a_config(motegpt, tmp_path):
    (tmp_path / "config.json").write_text('["anna", "nan"]')
    assert motegpt("cost", tmp_path).code == 0
