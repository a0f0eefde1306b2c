"""motegpt completion, and what the words of every command complete to.

Each time Tab is pressed the shell asks the program itself, through the environment variable
_MOTEGPT_COMPLETE. click answers for commands, options and choices, a PathWord for files and folders.
"""

from __future__ import annotations

import re

import click

SHELLS = ("bash", "zsh", "fish")
STANDS_FOR = {"RUN": "dir", "FILE": "file", "DATA": "file"}  # in help pages; the shell's word for it


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> None:
    """Print the script that makes SHELL complete commands, options, choices, files and run folders.

    \b
    bash 4.4 or newer: put this line into ~/.bashrc
      eval "$(motegpt completion bash)"
    zsh: put this line into ~/.zshrc, below compinit
      eval "$(motegpt completion zsh)"
    fish: run this once
      motegpt completion fish > ~/.config/fish/completions/motegpt.fish

    Example: motegpt completion bash
    """
    from click.shell_completion import get_completion_class

    root = click.get_current_context().find_root()
    program = str(root.info_name)
    complete = get_completion_class(shell)
    assert complete is not None, shell  # SHELLS are click's own
    script = complete(root.command, {}, program, f"_{program.upper()}_COMPLETE")
    click.echo(script.source_template % script.source_vars())


class PathWord(click.types.StringParamType):
    """A text that the shell completes as a path of its own: "file" or "dir"."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[click.shell_completion.CompletionItem]:
        from click.shell_completion import CompletionItem

        return [CompletionItem(incomplete, type=self.kind)]


def complete_paths(command: click.Command) -> None:
    """Every text that the help page calls RUN completes to folders; FILE and DATA to files."""
    for param in command.params:
        if type(param.type) is not click.types.StringParamType:
            continue
        said = param.metavar or (param.name or "").upper() * isinstance(param, click.Argument)
        kinds = [STANDS_FOR[word] for word in re.findall("[A-Z]+", said) if word in STANDS_FOR]
        if kinds:
            param.type = PathWord(kinds[0])
