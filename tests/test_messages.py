"""Messages name settings and arguments as Python has them; the command line shows flags in their place."""

import ast
import inspect
import re
from pathlib import Path

import click
import pytest

from motegpt import GPT, sweep
from motegpt.cli import COMMANDS, cli
from motegpt.config.fields import kinds
from motegpt.config.sections import REQUESTS
from motegpt.views.text import IN_BACKTICKS, POSITIONAL, with_flags

SOURCE = Path(__file__).parents[1] / "src" / "motegpt"
FLAG = re.compile(r"(?<![\w-])--[a-z]")
OTHER_PROGRAMS = re.compile("--nproc-per-node|--always|--dirty")  # torchrun's, git's
PRINTED_BY_A_COMMAND = {"check.py", "lint.py"}  # no errors: what `motegpt data check` advises
METHODS = (
    GPT.train, GPT.training, GPT.fine_tune, GPT.load, GPT.generate, GPT.score, GPT.evaluate, GPT.save,
    GPT.export, sweep,
)  # fmt: skip
ARGUMENTS = {name for method in METHODS for name in inspect.signature(method).parameters}
ARGUMENTS.add("from")  # a flag alone: the model itself in Python
SETTINGS = {name for section in REQUESTS.values() for name in kinds(section)}


def texts_of(tree):
    """The strings of a module, docstrings aside; the parts of an f-string as one, {} for what is put in."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and isinstance(node.body[0], ast.Expr)
    }
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in parts | docstrings
        ):
            yield node.value


MESSAGES = [
    (str(path.relative_to(SOURCE)), text)
    for path in sorted(SOURCE.rglob("*.py"))
    if not {"views", "cli", "plots"} & set(path.parts) and path.name not in PRINTED_BY_A_COMMAND
    for text in texts_of(ast.parse(path.read_text(encoding="utf-8")))
]


def test_no_message_has_a_flag():
    assert [one for one in MESSAGES if FLAG.search(OTHER_PROGRAMS.sub("", one[1]))] == []


def test_a_flag_would_be_found():
    (text,) = texts_of(ast.parse('"""--fine"""\nraise ValueError(f"a larger --steps, not {1}")'))
    assert text == "a larger --steps, not {}"
    assert FLAG.search(text)
    assert not FLAG.search("a-b, x--y")


def test_what_stands_in_backticks_is_an_argument_and_a_flag():
    named = {match[1] for _, text in MESSAGES for match in IN_BACKTICKS.finditer(text)}
    assert {"steps", "out", "resume", "lr"} <= named
    assert named <= SETTINGS | ARGUMENTS
    context = click.Context(cli)
    flags = {
        flag for name in COMMANDS for param in cli.get_command(context, name).params for flag in param.opts
    }
    assert {f"--{name.replace('_', '-')}" for name in named - POSITIONAL.keys()} <= flags


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("try `n_embd=20`, `out='my runs'` or `tied=True`", "try --n-embd 20, --out 'my runs' or --tied"),
        ("give it as `docs`, with `resume='a'`", "give it as DATA, with --resume a"),
        ("a larger `tries`, or `device=None`", "a larger --tries, or --device none"),
        ("fine-tune it with `GPT.load('my runs').fine_tune`", "fine-tune it with --from 'my runs'"),
        ("`GPT.train(docs)`, `5` and `x=(1,`", "`GPT.train(docs)`, `5` and `x=(1,`"),
    ],
)
def test_flags_on_the_command_line(message, said):
    assert with_flags(message) == said
