"""Run the commands and scripts on pages of documentation, and compare their output line by line.

A ```console block holds commands and what they print. A command follows `$ `, its further lines `> `;
`...` alone on a line stands for any number of lines left out. A command must succeed, unless
`$ echo $?` comes next. A ```python block with `>>>` is a doctest, any other one a script. A block whose fence
has a file's name behind the language, as in ```toml wide.toml, is written to that file. In a
```console similar block decimals may differ by TOLERANCE, and generated names may be others, as they are
on another processor level.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import math
import operator
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from motegpt.cli import main

FENCE = re.compile(r"^```(\S+)(?: +(\S+))?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SHELL = re.compile(r"[|<>;&$`*?#(]|^\w+=")
LEFT_OUT = "..."
SIMILAR = "similar"
TOLERANCE = 0.02  # 3.5 % are between the README's GPT and n-grams; seeds differ by 0.3 %
DECIMAL = re.compile(r"\d+\.\d+")
GENERATED = re.compile(r"(?P<label>sample +\d+: )?[a-z]+")


class PageError(AssertionError):
    """The output of a command or script differs from the page."""


class Block(NamedTuple):
    """A fenced part of a page; word: behind the language; line: where its text begins."""

    language: str
    word: str | None
    text: str
    line: int


class Command(NamedTuple):
    """A command and the lines it should print."""

    text: str
    shown: list[str]
    line: int


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    return [
        Block(found[1], found[2], found[3], page.count("\n", 0, found.start(3)) + 1)
        for found in FENCE.finditer(page)
    ]


def commands(block: Block) -> list[Command]:
    """The commands of a console block."""
    found: list[Command] = []
    for line, text in enumerate(block.text.splitlines(), block.line):
        if text.startswith("$ "):
            found.append(Command(text[2:], [], line))
        elif not found:
            raise PageError(f"line {line}: expected a command, $ …, got {text!r}")
        elif text.startswith(">") and not found[-1].shown:
            found[-1] = found[-1]._replace(text=f"{found[-1].text}\n{text[2:]}")
        else:
            found[-1].shown.append(text)
    return found


def fits(shown: list[str], printed: list[str], same: Callable[[str, str], bool] = operator.eq) -> bool:
    """Whether the printed lines match those shown, where `...` matches any number of lines.

    same(shown, printed): whether two lines match
    """
    shown, printed = trimmed(shown), trimmed(printed)

    def is_at(i: int, part: list[str]) -> bool:
        there = printed[i : i + len(part)]
        return len(there) == len(part) and all(map(same, part, there))

    *parts, last = split_at_gaps(shown)
    if not parts:
        return len(printed) == len(last) and is_at(0, last)
    if not is_at(0, parts[0]):
        return False
    at = len(parts[0])
    for part in parts[1:]:
        place = next((i for i in range(at, len(printed) - len(part) + 1) if is_at(i, part)), None)
        if place is None:
            return False
        at = place + len(part)
    return len(printed) - at >= len(last) and is_at(len(printed) - len(last), last)


def is_similar(shown: str, printed: str) -> bool:
    """Whether lines are equal up to decimals, within TOLERANCE, or both are a name that was generated."""
    names = GENERATED.fullmatch(shown), GENERATED.fullmatch(printed)
    if names[0] and names[1]:
        return names[0]["label"] == names[1]["label"]
    numbers = zip(DECIMAL.findall(shown), DECIMAL.findall(printed), strict=False)
    return DECIMAL.sub("", shown) == DECIMAL.sub("", printed) and all(
        math.isclose(float(one), float(other), rel_tol=TOLERANCE) for one, other in numbers
    )


def split_at_gaps(lines: list[str]) -> list[list[str]]:
    """The stretches between the lines that are `...`."""
    parts: list[list[str]] = [[]]
    for line in lines:
        if line == LEFT_OUT:
            parts.append([])
        else:
            parts[-1].append(line)
    return parts


def trimmed(lines: list[str]) -> list[str]:
    """Lines without trailing spaces, and without empty lines at the end."""
    text = "\n".join(line.rstrip() for line in lines).rstrip("\n")
    return text.split("\n") if text else []


class Session:
    """Runs the blocks of a page in order in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.code = 0
        self.names: dict[str, Any] = {"__name__": "__main__"}

    def run(self, block: Block) -> None:
        """Run a block; PageError with the line that differs."""
        if block.language == "console":
            self._console(commands(block), is_similar if block.word == SIMILAR else operator.eq)
        elif block.word is not None:
            (self.folder / block.word).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            self._python(block)

    def _console(self, todo: list[Command], same: Callable[[str, str], bool]) -> None:
        for command in todo:
            if self.code and not command.text.startswith("echo $?"):
                raise PageError(f"line {command.line - 1}: expected success, got exit code {self.code}")
            printed = self._output(command.text)
            if not fits(command.shown, printed, same):
                shown, got = "\n".join(command.shown), "\n".join(printed)
                raise PageError(
                    f"line {command.line}: $ {command.text}\n-- expected\n{shown}\n-- printed\n{got}"
                )
        if self.code:
            raise PageError(f"line {todo[-1].line}: expected success, got exit code {self.code}")

    def _output(self, text: str) -> list[str]:
        words = [] if SHELL.search(text) else shlex.split(text)
        if words[:1] == ["motegpt"]:
            output, self.code = in_process(words[1:])
            return output.splitlines()
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        ended = subprocess.run(
            ["bash", "-c", f"(exit {self.code}); {text}"], cwd=self.folder, env={**os.environ, "PATH": path},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.code = ended.returncode
        return ended.stdout.decode().splitlines()

    def _python(self, block: Block) -> None:
        if ">>>" not in block.text:
            try:
                exec(compile("\n" * (block.line - 1) + block.text, "page", "exec"), self.names)
            except Exception as error:
                raise PageError(f"line {block.line}: the script ended with {error!r}") from error
            return
        test = doctest.DocTestParser().get_doctest(block.text, self.names, "page", None, block.line - 1)
        output: list[str] = []
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
        runner.run(test, out=output.append, clear_globs=False)
        self.names.update(test.globs)
        if runner.failures:
            raise PageError("".join(output))


def in_process(words: list[str]) -> tuple[str, int]:
    """The output of a command, both streams together, and its exit code."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="utf-8", write_through=True)
    code = 0
    with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
        try:
            main(words)
        except SystemExit as ending:
            code = int(ending.code or 0)
    return raw.getvalue().decode(), code


def checked(page: str, folder: Path) -> Iterator[Block]:
    """Run a page in an empty folder that is the current one; yields each block after it was run."""
    session = Session(folder)
    for block in blocks(page):
        session.run(block)
        yield block
