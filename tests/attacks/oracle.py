"""Checks for attacks: each must end in a correct result or a clear error, in bounded time."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from motegpt import GPT
from motegpt.cli import main
from motegpt.cli.summary import summary
from motegpt.data.source import reload_corpus
from motegpt.errors import MotegptError
from motegpt.training.build import resume
from motegpt.training.run_folder import RunFolder
from motegpt.views.runs import Run

CODES = {0, 1, 2, 130}
LONGEST_ERROR = 2000  # characters


def check_message(text: str) -> None:
    """A single line of bounded length without control characters."""
    assert text, "no message"
    assert len(text) < LONGEST_ERROR, f"{len(text)} characters: {text[:200]!r}…"
    assert text.isprintable() or not any(c < " " or "\x7f" <= c < "\xa0" for c in text), repr(text)


def check_python_message(text: str) -> None:
    """A message that names arguments as in Python, without dashes."""
    check_message(text)
    assert not re.search(r"(?<![\w-])--[a-z]", text), text


def command(*words: str) -> tuple[int, str, str]:
    """Run a command line in this process and check its errors; returns exit code, output and errors."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", errors) for errors in ("strict", "backslashreplace"))
    source = io.TextIOWrapper(io.BytesIO(b"anna\n"), "utf-8")
    stdin, sys.stdin = sys.stdin, source
    code: object = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main(list(words))
    except SystemExit as ending:
        code = ending.code or 0
    finally:
        sys.stdin = stdin
    texts = []
    for stream in (out, err):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode("utf-8", "surrogateescape"))
    assert code in CODES, code
    assert "Traceback" not in "".join(texts)
    assert isinstance(code, int)
    if code:
        check_error(words, texts[1])
    return code, texts[0], texts[1]


def check_error(words: tuple[str, ...], text: str) -> None:
    """The last line of standard error is the error; a group without a command shows its help instead."""
    if text.startswith("Usage:"):
        return
    *remarks, error = text.splitlines() or [""]
    check_message(error)
    assert error.startswith("motegpt"), (words, text)
    assert len(remarks) <= 4, (words, text)


@contextlib.contextmanager
def refused_or_right(check: Callable[[str], None] = check_message) -> Iterator[None]:
    """Accept an error of motegpt with a valid message."""
    try:
        yield
    except MotegptError as error:
        check(str(error))


def look(path: Path) -> None:
    """Call everything that reads a run folder and writes only its lock."""
    with refused_or_right():
        run = Run.read(str(path))
        summary(run, 2)
    with refused_or_right():
        model = GPT.load(path, "array")
        model.score(["anna", "zoë", ""])
    with refused_or_right():
        folder = RunFolder(path)
        config = folder.config()
        try:
            resume(folder, reload_corpus(config.source, config.data), {}, "array")
        finally:
            folder.unlock()


def snapshot(folder: Path) -> dict[str, bytes | str | None]:
    """Every file below a folder with its contents; links are not followed."""
    found: dict[str, bytes | str | None] = {}
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent, name)
            at = str(path.relative_to(folder))
            found[at] = os.readlink(path) if path.is_symlink() else None
            if path.is_file() and not path.is_symlink():
                found[at] = path.read_bytes()
    return found
