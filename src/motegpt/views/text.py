"""Numbers, settings and texts formatted for one line of a terminal."""

from __future__ import annotations

import ast
import re
import shlex
from typing import Any

from motegpt.config.synonyms import flag_of

POSITIONAL = {"docs": "DATA"}  # arguments of the Python API that are arguments of commands too
FINE_TUNING = re.compile(r"`GPT\.load\(([^`]*)\)\.fine_tune`")
IN_BACKTICKS = re.compile(r"`([a-z][a-z0-9_]*)(?:=([^`]*))?`")


def short_number(x: float) -> str:
    """Three digits: 3.14, 31.4, 314, 31.4k, 3.14M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if x >= size:
            return short_number(x / (size if unit != "k" else 1e3)) + unit
    return f"{x:.2f}" if x < 10 else f"{x:.1f}" if x < 100 else f"{x:.0f}"


def setting_text(value: Any) -> str:
    """none, yes, no, 0.01, '' for the empty string; other strings unchanged."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    if isinstance(value, list | tuple):
        return ",".join(map(str, value)) or "none"
    return repr(value) if value == "" else f"{value:g}" if isinstance(value, float) else str(value)


def one_line(text: str) -> str:
    r"""Escape newlines.

    >>> one_line("a\nb")
    'a\\nb'
    """
    return text.replace("\n", r"\n")


def columns(text: str) -> int:
    """The width of a text in terminal columns."""
    from rich.cells import cell_len

    return cell_len(text)


def clipped(text: str, width: int) -> str:
    """Shorten a text to at most `width` columns."""
    from rich.cells import set_cell_size

    return text if columns(text) <= width else set_cell_size(text, width - 3).rstrip() + "..."


def with_flags(message: str) -> str:
    """Replace settings in backticks by flags.

    >>> with_flags("try `n_embd=20`, `out='my runs'` or `deduplicate=True`, or leave out `min_p`")
    "try --n-embd 20, --out 'my runs' or --deduplicate, or leave out --min-p"
    >>> with_flags("fine-tune it with `GPT.load('a.motegpt').fine_tune`")
    'fine-tune it with --from a.motegpt'
    """
    return IN_BACKTICKS.sub(_as_flag, FINE_TUNING.sub(r"`from=\1`", message))


def _as_flag(match: re.Match[str]) -> str:
    name, literal = match[1], match[2]
    if literal is None:
        return POSITIONAL.get(name, flag_of(name))
    try:
        value = ast.literal_eval(literal)
    except (ValueError, SyntaxError):
        return match[0]
    if isinstance(value, bool):
        return flag_of(name, on=value)
    return f"{flag_of(name)} {'none' if value is None else shlex.quote(str(value))}"
