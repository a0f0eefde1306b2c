"""Error messages of the command line: one line and an exit code."""

from __future__ import annotations

from collections.abc import Mapping

import click

from motegpt.cli.console import escape_control_characters
from motegpt.errors import INTERRUPTED, MotegptError, UsageError
from motegpt.system import ranks
from motegpt.system.libraries import import_failure
from motegpt.views.text import with_flags

REPORTED = (
    MotegptError, click.ClickException, click.Abort, KeyboardInterrupt, ImportError, OSError, MemoryError,
    UnicodeEncodeError,
)  # fmt: skip


def report_of(error: BaseException) -> tuple[str, int]:
    """The message and the exit code; the message is empty if another process prints it."""
    if ranks.local_rank() > 0 and isinstance(error, UsageError | click.UsageError):
        return "", error.exit_code  # the first process on this machine prints the same
    if isinstance(error, click.Abort | KeyboardInterrupt):
        return "motegpt: interrupted", INTERRUPTED
    if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):
        return str(error), 2
    if isinstance(error, click.ClickException):
        command = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "motegpt"
        return f"{command}: {_one_line(_message(error))}; see {command} --help", error.exit_code
    if isinstance(error, MotegptError):
        program = f"motegpt, rank {ranks.rank()}" if ranks.rank() else "motegpt"
        return f"{program}: {_one_line(with_flags(str(error)))}", error.exit_code
    return f"motegpt: {_one_line(_system_message(error))}", 1


def _system_message(error: BaseException) -> str:
    """The message of an exception of Python or a library."""
    if isinstance(error, ImportError):
        return f"this command {import_failure(error)}"
    if isinstance(error, MemoryError):
        return "out of memory; try a smaller --n-embd, --block-size or --batch-size"
    if isinstance(error, UnicodeEncodeError):
        character = escape_control_characters(repr(error.object[error.start : error.start + 1]))
        return f"cannot print {character} in the encoding {error.encoding}; try PYTHONUTF8=1"
    message = getattr(error, "strerror", None) or str(error)
    name = getattr(error, "filename", None)
    return message if name is None else f"{name}: {message}"


def _message(error: click.ClickException) -> str:
    """The message of a click error, with a suggestion for an unknown option."""
    if not isinstance(error, click.NoSuchOption) or error.ctx is None:
        return error.format_message()
    options = {
        option.strip("-"): option
        for param in error.ctx.command.params
        if isinstance(param, click.Option)
        for option in reversed(param.opts)
    }
    return with_hint(f"No such option {error.option_name!r}.", error.option_name, options)


def with_hint(message: str, name: str, known: Mapping[str, str]) -> str:
    """Append a suggestion for an unknown name to a message. known: name -> spelling to suggest."""
    from motegpt.config.synonyms import hint

    suggestion = hint(name, known, known.__getitem__)
    return f"{message} {suggestion[:1].upper()}{suggestion[1:]}".strip()


def _one_line(message: str) -> str:
    return escape_control_characters(" ".join(message.split())).rstrip(".")
