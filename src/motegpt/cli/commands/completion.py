"""motegpt completion

On Tab the shell runs motegpt with the environment variable _MOTEGPT_COMPLETE set, and click completes from
the types of the parameters.
"""

from __future__ import annotations

import click

SHELLS = ("bash", "zsh", "fish")


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
    assert complete is not None, shell  # click supports all of SHELLS
    script = complete(root.command, {}, program, f"_{program.upper()}_COMPLETE")
    click.echo(script.source_template % script.source_vars())
