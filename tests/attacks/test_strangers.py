"""A run folder from a stranger: it executes nothing, writes nowhere else, and keeps nobody waiting."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from motegpt import GPT
from motegpt.cli.console import escape_control_characters
from motegpt.errors import RunFolderError
from motegpt.training.run_folder import RunFolder
from tests.attacks.forge import copied, edit_json, file_of, forge, make_run
from tests.attacks.oracle import command, snapshot

pytestmark = pytest.mark.skipif(os.name != "posix", reason="links, pipes and devices as POSIX has them")
MOTEGPT = [sys.executable, "-m", "motegpt"]
PRECIOUS = '{"step": 1, "loss": 1.0}\n'  # even as metrics it is not ours to change


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def run(made, tmp_path, monkeypatch):
    """A run to spoil, and files outside it that must stay as they are."""
    (tmp_path / "outside").mkdir()
    for name in ("precious.txt", "metrics.jsonl"):
        (tmp_path / "outside" / name).write_text(PRECIOUS)
    monkeypatch.chdir(tmp_path)
    return copied(made, tmp_path / "run")


READING = (["show"], ["sample", "-n", "1"], ["sample", "-n", "1", "--novel"], ["score", "anna"],
           ["eval", "--samples", "2"])  # fmt: skip


def everything(run):
    """Every command that takes a run; (words, exit code, errors) of each."""
    for name, *words in READING:
        yield name, *command(name, str(run), *words)[::2]
    yield "plot", *command("plot", str(run), "--out", "picture.svg", "--overwrite")[::2]
    yield "resume", *command("train", "--resume", str(run), "--steps", "6")[::2]


def bounded(*words, seconds=60, memory=2**31):
    """A command line as a process of its own, with so much memory and time and no more."""

    def limit():
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))

    return subprocess.run(
        [*MOTEGPT, *map(str, words)], capture_output=True, text=True, timeout=seconds, preexec_fn=limit,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip


FILES = ("config.json", "tokenizer.json", "metrics.jsonl", "model.safetensors", "trainer.safetensors")
NAMES = (*FILES, ".lock", ".metrics.jsonl.new", ".config.json.new", ".trainer.safetensors.new",
         ".model.safetensors.new", "checkpoint-2.safetensors")  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_link_is_never_written_through(run, tmp_path, name):
    before = snapshot(tmp_path / "outside")
    (run / name).unlink(missing_ok=True)
    target = "metrics.jsonl" if name == "metrics.jsonl" else "precious.txt"
    (run / name).symlink_to(tmp_path / "outside" / target)
    list(everything(run))
    command(
        "train", "--preset", "microgpt", "--steps", "2", "--engine", "array", "--out", str(run), "--overwrite"
    )
    assert snapshot(tmp_path / "outside") == before


def test_a_lock_that_is_a_link_is_named_before_anything_is_written(run, tmp_path):
    """filelock 3.13 opens the lock through the link, and empties what it leads to."""
    (run / ".lock").unlink()
    (run / ".lock").symlink_to(tmp_path / "outside" / "precious.txt")
    code, _, error = command("train", "--resume", str(run), "--steps", "6")
    assert code == 2
    assert ".lock: expected a regular file, got a link; nothing was written; remove it first" in error
    assert (tmp_path / "outside" / "precious.txt").read_text() == PRECIOUS


def test_links_between_files_are_read(run, tmp_path):
    """Caches of downloaded models are made of links."""
    (tmp_path / "blobs").mkdir()
    for name in FILES:
        (run / name).rename(tmp_path / "blobs" / name)
        (run / name).symlink_to(tmp_path / "blobs" / name)
    assert command("sample", str(run), "-n", "2", "--seed", "1")[0] == 0
    assert command("show", str(run))[0] == 0


@pytest.mark.parametrize("name", NAMES)
def test_a_pipe_or_a_folder_in_the_place_of_a_file(run, name):
    for make in (os.mkfifo, os.mkdir):
        path = run / name
        path.unlink(missing_ok=True) if not path.is_dir() else path.rmdir()
        make(path)
        for what, code, error in everything(run):
            assert code in (0, 2), (what, error)


SOURCES = {
    "a pipe": (lambda folder: os.mkfifo(folder / "data"), "data", "not a regular file"),
    "a folder": (lambda folder: (folder / "data").mkdir(), "data", "not a regular file"),
    "a device": (lambda folder: None, "/dev/zero", "not a regular file"),
    "a terminal": (lambda folder: None, "/dev/tty", "cannot be read|not a regular file"),
    "memory": (lambda folder: None, "/proc/self/mem", "does not match the recorded training data"),
    "the kernel's log": (
        lambda folder: None,
        "/proc/kmsg",
        "does not match the recorded|cannot be read",
    ),
    "no such file": (lambda folder: None, "nowhere/at/all", "not found here"),
    "below a file": (lambda folder: None, "/etc/passwd/x", "cannot be read"),
    "no name": (lambda folder: None, "", "not a regular file|not found here"),
    "no name of a file": (lambda folder: None, "a\0b", "cannot be read"),
    "a long name": (lambda folder: None, "x" * 5000, "cannot be read"),
    "another's file": (lambda folder: (folder / "data").write_bytes(b"secret\xff"), "data", "does not match"),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_what_a_run_says_it_learned_from_is_read_as_data_or_not_at_all(run, tmp_path, kind):
    make, path, messages = SOURCES[kind]
    make(tmp_path)
    edit_json(run / "config.json", "source", "path", value=path)
    code, _, error = command("sample", str(run), "-n", "1", "--novel")
    assert code == 2
    assert any(words in error for words in messages.split("|")), error
    assert "secret" not in error
    for what, code, error in everything(run):
        assert code in (0, 2), (what, error)


def test_errors_reveal_nothing_of_a_file_that_is_not_the_training_data(run, tmp_path):
    """Its digest is compared first: an error about its third line would tell what stands there."""
    (tmp_path / "list.jsonl").write_text('{"password": "hunter2", "user": "anna"}\n')
    edit_json(run / "config.json", "source", "path", value=str(tmp_path / "list.jsonl"))
    for what, _, error in everything(run):
        assert "password" not in error, what


@pytest.mark.parametrize("step", ["../../x", "-1", "1e3", "²", "0x1", "9" * 30, "", "00", "last/../../x"])
def test_checkpoints_are_named_by_steps_only(run, step):
    for name in ("checkpoint-../x.safetensors".replace("/", ""), "checkpoint-٣.safetensors",
                 f"checkpoint-{'9' * 60}.safetensors", "checkpoint-007.safetensors"):  # fmt: skip
        (run / name).write_bytes(b"")
    assert RunFolder(run).kept_steps() == []
    assert command("sample", str(run), f"--checkpoint={step}")[0] == 2


@pytest.mark.parametrize(
    "engine", ["os:system", "../engines/array", "torch; rm -rf x", "", "array\n", "\x1b[2J"]
)
def test_unknown_engines_are_refused(run, engine):
    edit_json(run / "config.json", "engine", value=engine)
    code, _, error = command("sample", str(run))
    assert code == 2
    assert "engine: expected one of" in error


HUGE = [
    {"n_layer": 4096}, {"n_embd": 2**20, "n_head": 1}, {"vocab_size": 2**20, "n_embd": 2**20},
    {"block_size": 2**20}, {"block_size": 2**20, "n_embd": 1024, "n_head": 1}, {"n_layer": 2**63},
    {"vocab_size": 2**20, "n_embd": 2000, "n_head": 1}, {"block_size": 2**20, "n_layer": 4096},
]  # fmt: skip


@pytest.mark.slow
def test_sizes_in_the_settings_cost_no_memory(run):
    """They are compared with what the file has before there is a model of them."""
    import tracemalloc

    before = (run / "config.json").read_text()
    for sizes in HUGE:
        (run / "config.json").write_text(before)
        for key, value in sizes.items():
            edit_json(run / "config.json", "model", key, value=value)
        tracemalloc.start()
        assert command("show", str(run))[0] == 2
        assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
        tracemalloc.stop()


def long_context(run, n_layer, block_size):
    """The files, all right and small, of a model whose keys and values would fill any memory."""
    values = json.loads((run / "config.json").read_text())
    sizes = {"n_layer": n_layer, "block_size": block_size, "n_embd": 1, "n_head": 1}
    (run / "config.json").write_text(json.dumps({**values, "model": {**values["model"], **sizes}}))
    shapes = {"wte": (9, 1), "wpe": (block_size, 1), "lm_head": (9, 1)}
    for i in range(n_layer):
        shapes |= {f"layer{i}.attn_w{name}": (1, 1) for name in "qkvo"}
        shapes |= {f"layer{i}.mlp_fc1": (4, 1), f"layer{i}.mlp_fc2": (1, 4)}

    def replace(tensors):
        tensors.clear()
        tensors.update({name: np.zeros(shape, np.float32) for name, shape in shapes.items()})

    forge(run / "model.safetensors", tensors=replace)
    (run / "trainer.safetensors").unlink()


def test_keys_and_values_beyond_any_memory_are_refused(run):
    long_context(run, 2048, 2**20)
    ended = bounded("sample", run, "-n", 1)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1), ended.stderr
    assert "the keys of one sequence" in ended.stderr


@pytest.mark.slow
def test_show_bounds_the_cost_of_samples(run):
    long_context(run, 64, 2**14)
    values = json.loads((run / "config.json").read_text())
    values["sample"] |= {"tries": 2**20, "suffix": "zzz".replace("z", "b"), "max_new_tokens": 2**24}
    (run / "config.json").write_text(json.dumps(values))
    assert command("show", str(run))[0] == 0
    edit_json(run / "config.json", "sample", "suffix", value="")
    edit_json(run / "config.json", "sample", "prefix", value="a" * 10**6)
    code, out, _ = command("show", str(run))
    assert code == 0
    assert "samples: none, expected a prefix of at most 256 characters, got a longer one" in out
    values["sample"] |= {"suffix": "", "beams": 2**16}
    (run / "config.json").write_text(json.dumps(values))
    assert command("show", str(run))[0] == 0


def test_beams_beyond_any_memory_are_refused(run):
    long_context(run, 64, 2**14)
    ended = bounded("sample", run, "--beams", 2**16)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1), ended.stderr
    assert "beams: expected at most" in ended.stderr


def test_huge_sparse_files_are_refused(run):
    """An archive can hold a file of a terabyte that takes no room on the disk."""
    for name in FILES:
        before = (run / name).read_bytes()
        os.truncate(run / name, 2**40)
        ended = bounded("show", run)
        assert (ended.returncode, ended.stderr.count("\n")) == (2, 1), ended.stderr
        (run / name).unlink()
        (run / name).write_bytes(before)


def test_a_header_of_gigabytes_is_refused(run):
    (run / "model.safetensors").write_bytes(file_of(b"{", length=2**33))
    with pytest.raises(RunFolderError, match="expected a header of at most 1 bytes, got 8,589,934,592"):
        GPT.load(run, "array")
    os.truncate(run / "model.safetensors", 2**34)
    with pytest.raises(RunFolderError, match="expected at most 16,779,528 bytes, got 17,179,869,184"):
        GPT.load(run, "array")


ESCAPE = "\x1b]0;owned\x07\x1b[2J\x9b31m"


def on_a_terminal(*words):
    """What a command prints on a terminal, as bytes."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([*MOTEGPT, *map(str, words)], stdout=theirs, stderr=theirs, stdin=theirs)
    os.close(theirs)
    printed = b""
    try:
        while piece := os.read(ours, 4096):
            printed += piece
    except OSError:  # the other end was closed
        pass
    os.close(ours)
    assert process.wait(60) in (0, 2)
    return printed


def is_harmless(printed):
    text = printed.decode()
    assert "\\x1b" in text or "\\u001b" in text, text
    return not any((ord(c) < 32 and c not in "\r\n\t") or 127 <= ord(c) < 160 for c in text)


@pytest.mark.slow
def test_control_characters_of_a_run_do_not_reach_a_terminal(tmp_path):
    (tmp_path / "list.txt").write_text(f"anna{ESCAPE}\n{ESCAPE}bob\n")
    model = GPT.train(tmp_path / "list.txt", engine="array", steps=2, n_embd=4, n_head=2, block_size=40,
                      prefix=ESCAPE, preset="microgpt")  # fmt: skip
    model.save(tmp_path / "run")
    assert is_harmless(on_a_terminal("show", tmp_path / "run"))
    assert is_harmless(on_a_terminal("sample", tmp_path / "run", "-n", 2, "--seed", 1))
    assert is_harmless(on_a_terminal("sample", tmp_path / "run", "-n", 2, "--format", "jsonl"))
    assert is_harmless(on_a_terminal("score", tmp_path / "run", ESCAPE))
    assert is_harmless(on_a_terminal("eval", tmp_path / "run", "--samples", 3))
    assert is_harmless(on_a_terminal("data", "check", tmp_path / "list.txt"))
    edit_json(tmp_path / "run" / "config.json", "source", "path", value=f"/no{ESCAPE}")
    assert is_harmless(on_a_terminal("sample", tmp_path / "run", "--novel"))
    edit_json(tmp_path / "run" / "config.json", "engine", value=ESCAPE)
    assert is_harmless(on_a_terminal("show", tmp_path / "run"))


def test_in_a_pipe_samples_are_as_the_model_writes_them(tmp_path):
    (tmp_path / "list.txt").write_text(f"anna{ESCAPE}\n{ESCAPE}bob\n")
    model = GPT.train(tmp_path / "list.txt", engine="array", steps=2, n_embd=4, n_head=2, block_size=40,
                      prefix=ESCAPE, preset="microgpt")  # fmt: skip
    model.save(tmp_path / "run")
    done = subprocess.run([*MOTEGPT, "sample", tmp_path / "run", "-n", "1"], capture_output=True, check=True)
    assert done.stdout.decode().startswith(ESCAPE)


def test_text_of_every_script_is_printed_unchanged():
    text = "жанна\tنام\u200cها 👩\u200d💻 é\n"
    assert escape_control_characters(text) == text
    assert escape_control_characters(ESCAPE) == "\\x1b]0;owned\\x07\\x1b[2J\\x9b31m"


def test_names_that_the_encoding_does_not_have_are_one_line(run, tmp_path):
    done = subprocess.run([*MOTEGPT, "eval", run, "--samples", "0", "list\udcff.txt"], capture_output=True,
                          check=False)  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1
    Path(tmp_path, "l.txt").write_text("жанна\nиванна\n")
    latin = {**os.environ, "PYTHONIOENCODING": "latin-1:strict"}
    words = ["train", tmp_path / "l.txt", "--steps", "2", "--engine", "array"]
    done = subprocess.run([*MOTEGPT, *words], capture_output=True, env=latin, check=False)
    assert done.returncode == 1
    assert b"PYTHONUTF8=1" in done.stderr
    assert b"Traceback" not in done.stderr
