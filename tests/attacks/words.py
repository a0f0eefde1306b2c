"""Random command lines from the commands' options and odd values; none takes long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from motegpt.cli import COMMANDS, cli

Pick = Callable[[int], int]  # chooses a number below n

PLAIN = """0 -1 1 2 3 1e309 nan 0.5 -0.0 x none - -- = best last text csv jsonl stream nfc array scalar native
    zeroclaw bytes true ab"""
VALUES = [*PLAIN.split(), "", "a b", "a" * 300, "9" * 30, "e\u0301", "\x1b[31m", "\udcff"]
FILES = """run hf run/config.json run/model.safetensors list.txt list.csv none.txt empty . .. /dev/null new
    a/b new.png new.svg new.dot new.jsonl"""
PATHS = [*FILES.split(), "", "x" * 300, "\udcff"]
NEW = "new new.png new.svg new.dot new.jsonl new.html new.npz run list.txt a/b full"
OUTPUTS = [*NEW.split(), "", "x" * 300]
WRITE = {"--out", "--output"}
COUNTS = """--steps --epochs --n-layer --layers --n-embd --block-size --batch-size --n -n --samples
    --max-new-tokens --min-new-tokens --min-length --max-length --beams --tries --runs --until"""
SMALL = ["0", "1", "1", "2", "2", "3", "-1", "9" * 30, "none", "x", "1.5"]  # values of counts
ENDINGS = {  # appended to keep a command short
    "train": "--steps 2 --n-embd 4 --n-head 1 --n-layer 1 --block-size 4 -n 1",
    "sample": "-n 2",
    "eval": "--samples 2",
    "show": "-n 1",
    "export": "--out new",
    "import": "--out new",
    "sweep": "--dry-run",  # trains nothing, here and in other processes
    "data make": "--out new.npz --count 4 --length 3",
    "graph": "--n-embd 2 --n-layer 1",
    "play": "--no-browser --out new.html",  # serves nothing
    "gradcheck": "--engine array --n-embd 4 --n-layer 1",
    "bench": "--engine array --runs 1",
    "data fetch": "--url http://127.0.0.1:9/none",  # a port without a server
}
NAMED = {  # values of parameters whose name or metavar contains the word
    "checkpoint": ["last", "0"],
    "folder": ["hf"],
    "run": ["run"],
    "data": ["list.txt"],
    "file": ["list.txt"],
    "table": ["sweep.toml"],
    "task": ["modular", "parity", "dyck", "copy", "induction", "markov"],
    "training": ["list.txt"],
    "work": ["microgpt"],
    "name": ["names"],
}
EVERY = [*(name for name in COMMANDS if name != "data"), "data check", "data fetch", "data make"]

QUICK = [name for name in EVERY if name not in ("bench", "data fetch")]  # which measure, or need a network


def vector(pick: Pick, names: list[str]) -> list[str]:
    """A command among `names` with arguments, or nonsense."""

    def one(choices: list[Any]) -> Any:
        return choices[pick(len(choices))]

    name = one([*names, "nonsense"])
    if name == "nonsense":
        return [one(VALUES) for _ in range(pick(4))]
    words = name.split()
    arguments, options = params_of(name)
    for argument in arguments:
        words += [sensible(argument, one) if pick(8) else one(PATHS + VALUES)] * (pick(16) > 0)
    for _ in range(pick(5)):
        words += option_and_value(one(options), one, pick)
    if pick(16) == 0:
        words.append(one(PATHS + VALUES))
    return words + ENDINGS.get(name, "").split()


def sensible(param: click.Parameter, one: Callable[[list[Any]], Any]) -> str:
    """A value that is likely valid."""
    label = f"{param.name} {param.metavar}".lower()
    if isinstance(param.type, click.Choice):
        return one(list(param.type.choices))
    if isinstance(getattr(param.type, "inner", None), click.Choice):
        return one([*param.type.inner.choices, "none"])  # type: ignore[attr-defined]
    if isinstance(param.type, click.types.IntParamType) or "int" in param.type.name:
        return one(SMALL)
    if "float" in param.type.name:
        return one(["0", "0.5", "1", "1e-9", "1e300", "nan"])
    for word, values in NAMED.items():
        if word in label:
            return one(values)
    return one(["ab", "a", "anna"])


def option_and_value(option: click.Option, one: Callable[[list[Any]], Any], pick: Pick) -> list[str]:
    """An option, usually with a value, which is usually valid."""
    flag = one([*option.opts, *option.secondary_opts])
    if option.is_flag and pick(8):
        return [flag]
    if flag in WRITE:
        return [flag, one(OUTPUTS)]
    if flag in COUNTS.split():
        return [flag, one(SMALL)]
    value = sensible(option, one) if pick(4) else one(VALUES + PATHS)
    return [[flag, value], [f"{flag}={value}"], [flag]][(pick(16) + 7) // 11]


def params_of(name: str) -> tuple[list[click.Argument], list[click.Option]]:
    """The arguments and options of a command, except --debug, which shows tracebacks."""
    command: Any = cli
    for word in name.split():
        command = command.get_command(click.Context(cli), word)
    options = [param for param in command.params if isinstance(param, click.Option)]
    arguments = [param for param in command.params if isinstance(param, click.Argument)]
    return arguments, [option for option in options if "--debug" not in option.opts]
