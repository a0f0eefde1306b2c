"""Argument vectors out of the commands' own options and odd values, none of which takes long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from motegpt.views.cli import COMMANDS, cli

Pick = Callable[[int], int]  # a number below n, by whoever chooses

PLAIN = """0 -1 1 2 3 1e309 nan 0.5 -0.0 x none - -- = best last text csv jsonl stream nfc array scalar native
    zeroclaw bytes true ab"""
VALUES = [*PLAIN.split(), "", "a b", "a" * 300, "9" * 30, "e\u0301", "\x1b[31m", "\udcff"]
FILES = """run run/config.json run/model.safetensors list.txt list.csv none.txt empty . .. /dev/null new a/b
    new.png new.svg new.dot new.jsonl"""
PATHS = [*FILES.split(), "", "x" * 300, "\udcff"]
NEW = "new new.png new.svg new.dot new.jsonl run list.txt a/b full"
OUTPUTS = [*NEW.split(), "", "x" * 300]
WRITE = {"--out", "--output"}
COUNTS = """--steps --n-layer --layers --n-embd --block-size --batch-size --n -n --samples --max-new-tokens
    --min-new-tokens --min-length --max-length --beams --tries --runs --until"""
SMALL = ["0", "1", "2", "-1", "9" * 30, "none", "x", "1.5"]  # what a count may be
ENDINGS = {  # what keeps a command short, said last
    "train": "--steps 2 --n-embd 4 --n-head 1 --n-layer 1 --block-size 4 -n 1",
    "sample": "-n 2",
    "eval": "--samples 2",
    "show": "-n 1",
    "graph": "--n-embd 2 --n-layer 1",
    "gradcheck": "--engine array --n-embd 4 --n-layer 1",
}
QUICK = {**COMMANDS, "data": "check"}  # `bench` measures for minutes, `data fetch` needs a network


def vector(pick: Pick) -> list[str]:
    """Some words."""

    def one(choices: list[str]) -> str:
        return choices[pick(len(choices))]

    name = one([*QUICK, "nonsense"])
    if name == "nonsense":
        return [one(VALUES) for _ in range(pick(4))]
    words = [name] + (["check"] if name == "data" else [])
    if name == "bench":
        return [*words, "--list", *(one(VALUES + PATHS) for _ in range(pick(3)))]
    options = [option for param in params_of(name) for option in (*param.opts, *param.secondary_opts)]
    for _ in range(pick(3)):
        words.append(one(PATHS if pick(4) else VALUES))
    for _ in range(pick(4)):
        words += option_and_value(one(options), one, pick)
    return words + ENDINGS.get(name, "").split()


def option_and_value(option: str, one: Callable[[list[str]], str], pick: Pick) -> list[str]:
    """An option, mostly with a value."""
    if option in WRITE:
        return [option, one(OUTPUTS)]
    if option in COUNTS.split():
        return [option, one(SMALL)]
    value = one(VALUES + PATHS)
    return [[option, value], [f"{option}={value}"], [option]][min(pick(6), 4) // 2]


def params_of(name: str) -> list[Any]:
    """The options of a command."""
    command = cli.get_command(click.Context(cli), name)
    if isinstance(command, click.Group):
        command = command.commands["check"]
    assert command is not None
    return [param for param in command.params if isinstance(param, click.Option)]
