"""Any command line: a documented exit code, a one-line error, and no unrequested files."""

import random
import shutil
import subprocess
import sys

import pytest

from motegpt import GPT
from motegpt.cli import COMMANDS
from tests.attacks.forge import DOCUMENTS, copied, make_run
from tests.attacks.oracle import command, snapshot
from tests.attacks.words import EVERY, OUTPUTS, VALUES, params_of, vector

LINES = 1200
FIGURE = {"median": 1.0, "low": 1.0, "high": 1.0}
ROW = {
    "dtype": "float32", "step_seconds": FIGURE, "documents": 1, "tokens": 1, "operations": 1.0,
    "peak_share": None, "generated_per_second": FIGURE, "generate_one_seconds": FIGURE, "added_bytes": 0,
    "busy": None,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working folder with a run and files, beside files that must not change."""
    return work_in(tmp_path_factory.mktemp("work"))


def work_in(parent):
    """The folder `parent`/work with the files that command lines name."""
    work = parent / "work"
    work.mkdir()
    run = make_run(parent)
    copied(run, work / "run")
    GPT.load(run).export(work / "hf")
    (work / "list.txt").write_text("\n".join(DOCUMENTS))
    (work / "list.csv").write_text("x,ab\nanna,1\nbob,2\n")
    (work / "sweep.toml").write_text('preset = "microgpt"\ngrid = {lr = [0.01, 0.1]}\n')
    (work / "empty").write_text("")
    (work / "full").mkdir()
    (work / "full" / "thesis").write_text("years of work")
    return work


def expected_changes(words, before, after):
    """Changed files that the arguments do not name as outputs."""
    asked = {word.partition("=")[2] or word for word in words} & set(OUTPUTS)
    if "--resume" in words or any(word.startswith("--resume=") for word in words):
        asked.add("run")
    changed = {name for name in before.keys() | after.keys() if before.get(name, 0) != after.get(name, 0)}
    if words[:1] in (["plot"], ["graph"]):  # these have a default output
        changed -= {name for name in changed if name not in before and "/" not in name}
    return {name for name in changed if name != "run/.lock" and name.split("/")[0] not in
            {path.split("/")[0] for path in asked}}  # fmt: skip


def hold(folder, words):
    """Run a command line in the folder, check the result, restore the folder; returns the exit code."""
    before = snapshot(folder.parent)
    code, _, _ = command(*words)
    after = snapshot(folder.parent)
    inside = {name.removeprefix("work/"): value for name, value in after.items() if name.startswith("work/")}
    was = {name.removeprefix("work/"): value for name, value in before.items() if name.startswith("work/")}
    assert expected_changes(words, was, inside) == set(), words
    if "--overwrite" not in words:
        kept = ("list.txt", "list.csv", "empty", "full/thesis")
        assert {name: inside.get(name) for name in kept} == {name: was.get(name) for name in kept}
    outside = [{k: v for k, v in state.items() if not k.startswith("work/")} for state in (before, after)]
    assert outside[0] == outside[1]
    if after != before:
        restore(folder, before)
    return code


def restore(folder, before):
    """Put the folder's contents back; the folder itself stays, as it is where the commands run."""
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for name, value in before.items():
        path = folder.parent / name
        if not path.exists() and name.startswith("work/"):
            path.mkdir() if value is None else path.write_bytes(value)


@pytest.mark.slow
def test_random_command_lines(folder, monkeypatch, tmp_path):
    """Many command lines over all commands and options; `bench` does not measure, as it is slow."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("motegpt.bench.measure.measure", lambda *_: ROW)
    monkeypatch.setattr("motegpt.bench.machine.multiply_add_peak", lambda dtype, level: 1e9)
    monkeypatch.setattr("motegpt.bench.machine.describe", dict)
    rng, words_used, done = random.Random(1), set(), set()
    for _ in range(LINES):
        words = vector(rng.randrange, EVERY)
        if hold(folder, words) == 0:
            done.add(words[0])
        words_used.update(word.partition("=")[0] for word in words)
    flags = {flag for name in EVERY for option in params_of(name)[1] for flag in option.opts}
    assert len(flags & words_used) > 0.9 * len(flags)
    assert done == set(COMMANDS), "every command was understood once at least"


@pytest.mark.parametrize("words", [["score", "run", value] for value in VALUES] + [
    ["sample", "run", "--prefix", "\udcff"], ["graph", "\udcff"], ["graph", "\0"], ["show", "a\0b"],
    ["train", "a\0b"], ["train", "--out", "a\0b"], ["train", "--config", "a\0b"], ["data", "check", "a\0b"],
    ["sample", "run", "--output", "a\0b"], ["plot", "run", "--out", "a\0b.png"], ["data"], [], ["--debug=x"],
])  # fmt: skip
def test_regressions(folder, monkeypatch, words):
    monkeypatch.chdir(folder)
    hold(folder, words)


NOT_UTF8 = b"\xff"


@pytest.mark.parametrize(
    "words",
    [["show", "run"], ["score", "run", NOT_UTF8], ["sample", NOT_UTF8], ["eval", "run", NOT_UTF8]],
    ids=str,
)
def test_as_processes(folder, words):
    motegpt = [sys.executable, "-m", "motegpt"]
    done = subprocess.run([*motegpt, *words], capture_output=True, cwd=folder, timeout=60, check=False)
    assert done.returncode in (0, 2)
    assert b"Traceback" not in done.stderr
    assert done.returncode == 0 or done.stderr.count(b"\n") == 1


def test_the_oracle_detects_faults(folder, monkeypatch):
    """Commands that crash, exit with an unknown code, write files, or print too many lines."""
    import click

    from motegpt.cli.commands import show

    monkeypatch.chdir(folder)

    def crash(run):
        raise KeyError(run)

    def leave(run):
        sys.exit(7)

    def litter(run):
        (folder / "litter").write_text(run)

    def babble(run):
        click.echo("a\nb\nc\nd\ne\nf\ng", err=True)
        sys.exit(1)

    for fault in (crash, leave, litter, babble):
        faulty = click.Command("show", callback=fault, params=[click.Argument(["run"])])
        monkeypatch.setattr(show, "command", faulty)
        with pytest.raises((KeyError, AssertionError)):
            hold(folder, ["show", "run"])
    (folder / "litter").unlink()
