"""Properties that all commands share: help, exit codes, --quiet and --json."""

import json
import re
import shlex
import subprocess
import sys

import click
import pytest

from motegpt.cli import COMMANDS, cli

SUBCOMMANDS = {"data": ("check", "fetch", "make")}
ALL = [words for name in COMMANDS for words in [[name], *([name, one] for one in SUBCOMMANDS.get(name, ()))]]
WITH_DATA = [command for command in ALL if command != ["data"]]
NO_DATA = {"sample", "plot", "play", "data fetch", "completion"}  # --format jsonl; else a path or a script
HEAVY = ("numpy", "safetensors", "rich", "matplotlib", "torch", "rapidfuzz", "pooch", "filelock")


CONTEXT = click.Context(cli, info_name="motegpt", **cli.context_settings)


def resolved(words):
    """The click command behind some words."""
    command = cli
    for word in words:
        command = command.get_command(CONTEXT, word)
    return command


def test_every_subcommand_is_in_the_table_above():
    groups = {name: resolved([name]) for name in COMMANDS}
    found = {name: tuple(group.commands) for name, group in groups.items() if isinstance(group, click.Group)}
    assert found == SUBCOMMANDS


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_help_has_an_example_that_parses_and_fits(motegpt, monkeypatch, words):
    monkeypatch.setenv("COLUMNS", "80")
    ended = motegpt(*words, "--help")
    assert (ended.code, ended.err) == (0, "")
    assert max(map(len, ended.out.splitlines())) <= 80
    assert motegpt(*words, "-h").out == ended.out
    examples = re.findall(r"Example: motegpt (.*)", ended.out)
    assert examples
    for example in examples:
        parts = shlex.split(example.partition(" < ")[0])
        assert parts[: len(words)] == words
        command = resolved(words)
        rest = parts[len(words) :]
        if isinstance(command, click.Group):
            command, rest = resolved(parts[: len(words) + 1]), parts[len(words) + 1 :]
        command.make_context("example", rest, parent=CONTEXT)  # raises where the words are not understood


def test_the_check_of_examples_detects_errors():
    for words, rest in ((["train"], ["--stesp", "3"]), (["score"], []), (["data", "fetch"], ["a", "b"])):
        with pytest.raises(click.UsageError):
            resolved(words).make_context("example", rest, parent=CONTEXT)


@pytest.mark.parametrize("words", WITH_DATA, ids=" ".join)
def test_every_command_has_quiet_and_json(words):
    flags = {flag for param in resolved(words).params for flag in param.opts}
    assert "--quiet" in flags
    assert ("--json" in flags) == (" ".join(words) not in NO_DATA)


def test_help_imports_nothing_heavy():
    program = f"""
import io, contextlib, sys
from motegpt.cli import main
for words in {ALL!r}:
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
        main([*words, "--help"])
    assert "Example" in out.getvalue(), words
    loaded = set({HEAVY!r}) & set(sys.modules)
    assert not loaded, (words, loaded)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def test_settings_are_listed_under_their_section(motegpt):
    page = motegpt("train", "--help").out
    headings = re.findall(r"^(\w+):", page, re.MULTILINE)
    assert headings == ["Usage", "Options", "Model", "Data", "Training", "Sampling"]
    sections = dict(zip(headings, re.split(r"^\w+:", page, flags=re.MULTILINE)[1:], strict=True))
    for heading, flag in (
        ("Options", "--resume"), ("Model", "--n-embd"), ("Data", "--column"), ("Training", "--lr"),
        ("Sampling", "--top-k"),
    ):  # fmt: skip
        assert [name for name, text in sections.items() if re.search(rf"^  .*{flag}\b", text, re.M)] == [
            heading
        ]
    assert re.search(r"--temperature FLOAT[^-]*\[0\.8\]", page)
    sample = motegpt("sample", "--help").out
    assert re.findall(r"^(\w+):", sample, re.MULTILINE) == ["Usage", "Options", "Sampling"]
    assert sample.index("--seed") < sample.index("Sampling:")


def test_exit_code_0_and_2_and_1(motegpt, monkeypatch):
    from motegpt.engines.array import ops

    assert motegpt("train", "--steps", 1, "--engine", "array", "-n", 1).code == 0
    for words in ([], ["trian"], ["train", "--stesp"], ["score"], ["data"], ["completion", "tcsh"]):
        ended = motegpt(*words)
        assert (ended.code, ended.out) == (2, "")
        assert "Traceback" not in ended.err
    monkeypatch.setitem(ops.BACKWARD, ops.rmsnorm, lambda dy, saved: dy * saved.r)
    ended = motegpt("gradcheck", "--engine", "array", "--json")
    assert ended.code == 1
    found = json.loads(ended.out)
    assert not found["passed"]
    assert [one for one in found["matrices"] if not one["passed"]]


def required_options(words):
    """The options that a command cannot do without, each with a value."""
    options = [param for param in resolved(words).params if isinstance(param, click.Option)]
    return [word for option in options if option.required for word in (option.opts[0], "x")]


@pytest.mark.parametrize("words", WITH_DATA, ids=" ".join)
def test_an_interrupted_command_ends_with_130(motegpt, monkeypatch, words):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(resolved(words), "invoke", interrupted)
    needed = [
        param for param in resolved(words).params if isinstance(param, click.Argument) and param.required
    ]
    ended = motegpt(*words, *["bash" for _ in needed], *required_options(words))
    assert (ended.code, ended.out, ended.err.strip()) == (130, "", "motegpt: interrupted")


def test_json_of_gradcheck_and_graph(motegpt, tmp_path):
    found = json.loads(motegpt("gradcheck", "--engine", "array", "--json").out)
    assert found["passed"]
    assert found["not_checked"] == {}
    assert {one["parameter"] for one in found["matrices"]} >= {"wte", "layer1.mlp_fc2"}
    assert all(one["error"] < found["tolerance"] for one in found["matrices"])
    graph = json.loads(motegpt("graph", "em", "--json").out)
    assert graph["drawn"] == "em.svg"
    assert (tmp_path / "em.svg").exists()
    assert graph["nodes"] == sum(graph["ops"].values())
    assert json.loads(motegpt("graph", "em", "--json", "--summary").out)["drawn"] is None


def test_a_program_can_add_a_command(motegpt, monkeypatch):
    monkeypatch.setattr(cli, "commands", {})

    @click.command()
    @click.argument("text")
    def shout(text):
        """Print TEXT in capitals."""
        click.echo(text.upper())

    cli.add_command(shout)
    assert (motegpt("shout", "anna").out, motegpt("shout", "anna", "--quiet").code) == ("ANNA\n", 0)
    assert re.search(r"completion .*\n  shout +Print TEXT in capitals\.\n", motegpt("--help").out)
    assert "did you mean shout?" in motegpt("shuot").err.lower()
    cli.add_command(shout, "train")
    assert "built-in" in motegpt("train", "--help").out, "a built-in command cannot be replaced"


def test_piped_help_and_narrow_terminals(motegpt, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    ended = motegpt("train", "--help")
    assert ended.code == 0
    assert "\x1b" not in ended.out


UNUSED = (
    "gzip", "importlib.resources", "logging", "matplotlib", "numpy.typing", "rich",
    "statistics", "tempfile", "tomllib", "torch", "zipfile", "motegpt.evaluation.novelty",
    "motegpt.training.archive", "motegpt.training.auto", "motegpt.training.facts",
    "motegpt.training.fine_tune", "motegpt.training.measure",
)  # fmt: skip


@pytest.mark.parametrize(
    ("words", "unused"),
    [
        (["--help"], (*UNUSED, "dataclasses", "json", "motegpt.config.fields", "motegpt.model", "pathlib")),
        (["train", "names.txt", "--preset", "microgpt", "--steps", "2", "--engine", "native"], UNUSED),
    ],
    ids=" ".join,
)
def test_a_command_imports_only_what_it_needs(tmp_path, words, unused):
    """A list of modules that would add to the time of the two commands that begin most sessions."""
    (tmp_path / "names.txt").write_text("anna\nida\n")
    program = f"""
import sys
from motegpt.cli import main
try:
    main({words!r})
finally:
    print(*(set({unused!r}) & set(sys.modules)), file=sys.stderr)
"""
    ended = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr.split()) == (0, [])
