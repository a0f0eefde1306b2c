"""The command line.

Exit codes: 0 success, 1 failure, 2 usage error, 130 interrupted. An error is one line on standard error;
--debug shows its traceback.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from motegpt.cli.console import QUIET
from motegpt.cli.failures import REPORTED, report_of, with_hint
from motegpt.cli.streams import discard_if_closed, flush, silence
from motegpt.config.synonyms import RENAMED
from motegpt.errors import UsageError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

PROGRAM = "motegpt"
COMMANDS = {
    "train": "Train a model on a list of your own, or on the built-in names.",
    "sweep": "Train at many settings: a grid, random samples, seeds.",
    "sample": "Generate text with a trained model.",
    "score": "Score texts under a model.",
    "eval": "Evaluate on unseen data; measure the novelty of samples.",
    "show": "Describe a run: settings, sizes, progress, losses, samples; or a sweep.",
    "plot": "Draw loss curves, attention maps or embedding maps of runs, or a sweep.",
    "export": "Write a model in the format of another program.",
    "import": "Make a run of a model that another program wrote.",
    "play": "Open a page in which a GPT trains before your eyes.",
    "data": "Check a data file before training; download public ones.",
    "cost": "Compute the cost of a training: tokens, operations, memory, time.",
    "graph": "Draw the computation graph of a loss.",
    "gradcheck": "Compare every engine's gradients with finite differences.",
    "bench": "Verify and time every engine.",
    "completion": "Print a completion script for bash, zsh or fish.",
}

MODULES = {"import": "import_model"}  # commands whose name cannot be that of a module
DEBUG = "debug"


def _debug(context: click.Context, _: click.Parameter, value: bool) -> None:
    """Record for `_run` that --debug was given."""
    if value and context.obj is not None:
        context.obj.add(DEBUG)


DEBUG_OPTION: dict[str, Any] = {
    "is_flag": True,
    "is_eager": True,  # so that errors in other options have a traceback too
    "expose_value": False,
    "callback": _debug,
    "help": "Show the traceback of an error.",
}
QUIET_OPTION: dict[str, Any] = {
    "is_flag": True,
    "expose_value": False,
    "callback": lambda context, _, value: context.meta.update({QUIET: value}),
    "help": "Print results and errors only.",
}


class Lazy(click.Group):
    """A group that imports a built-in command's module only when the command is used.

    A program can add commands of its own with `add_command`; they follow the built-in ones.
    """

    def summaries(self) -> dict[str, str]:
        """Name -> one line of help, the built-in commands first; imports none of them."""
        added = {name: command.get_short_help_str() for name, command in self.commands.items()}
        return COMMANDS | {name: text for name, text in added.items() if name not in COMMANDS}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.summaries())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            command: click.Command = import_module(
                f"motegpt.cli.commands.{MODULES.get(cmd_name, cmd_name)}"
            ).command
        else:
            added = super().get_command(ctx, cmd_name)
            if added is None:
                return None
            command = added
        for leaf in command.commands.values() if isinstance(command, click.Group) else [command]:
            _add_common_options(leaf)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        names = self.list_commands(ctx)
        unknown = args[0] not in names and not args[0].startswith("-")
        if unknown and not ctx.resilient_parsing:  # resilient: while the shell completes a line
            ctx.fail(with_hint(f"No such command {args[0]!r}.", args[0], {name: name for name in names}))
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete commands, without importing them, and the options of motegpt itself."""
        from click.shell_completion import CompletionItem

        found = [CompletionItem(name, help=text) for name, text in self.summaries().items()]
        options = click.Command.shell_complete(self, ctx, incomplete)
        return [item for item in found if item.value.startswith(incomplete)] + options

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(self.summaries().items()))


def _add_common_options(command: click.Command) -> None:
    """Add --quiet and --debug to a command that lacks them."""
    for flag, option in (("--quiet", QUIET_OPTION), ("--debug", DEBUG_OPTION)):
        if flag not in (known for param in command.params for known in param.opts):
            command.params.append(click.Option([flag], **option))


def _current_name(word: str) -> str:
    """Map a former option name, which is accepted but hidden, to the current one."""
    return RENAMED.get(word, word)


@click.command(
    cls=Lazy,
    context_settings={"help_option_names": ["-h", "--help"], "token_normalize_func": _current_name},
)
@click.version_option(package_name="motegpt", message="motegpt %(version)s")
@click.option("--debug", **DEBUG_OPTION)
def cli() -> None:
    """A GPT small enough to read end to end and fast enough to use.

    Try: motegpt train --steps 1000
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    code = _run(sys.argv[1:] if arguments is None else arguments)
    flush()
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    """Run the command line and report errors; returns the exit code."""
    given: set[str] = set()  # DEBUG, if --debug was given
    try:
        if any("\0" in word for word in arguments):
            raise UsageError("expected arguments without zero bytes, which no file name can contain")
        return _invoke(arguments, given)
    except BrokenPipeError:  # the reader of the output has exited, as in `| head`: not an error
        silence("stdout")
        return 0
    except REPORTED as error:
        if DEBUG in given:
            raise
        line, code = report_of(error)
        with discard_if_closed("stderr"):
            click.echo(line, err=True, nl=bool(line))
        return code


def _invoke(arguments: list[str], given: set[str]) -> int:
    """Like click's main, but a closed pipe raises BrokenPipeError instead of exiting with code 1."""
    if f"_{PROGRAM.upper()}_COMPLETE" in os.environ:
        cli.main(arguments, PROGRAM)
    try:
        with cli.make_context(PROGRAM, list(arguments), obj=given) as context:
            result = cli.invoke(context)
    except click.exceptions.Exit as error:
        return error.exit_code
    return result if isinstance(result, int) else 0
