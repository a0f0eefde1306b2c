"""motegpt sample"""

from __future__ import annotations

from typing import Any

import click

from motegpt.engines import ENGINES
from motegpt.gpt import GPT
from motegpt.views.cli.options import given_settings, setting_flags


@click.command()
@click.argument("run")
@click.option("--engine", type=click.Choice(list(ENGINES)), help="What computes.  [the run's]")
@click.option("--seed", type=int, help="The same seed draws the same text.  [a new one each time]")
@setting_flags(["sample"])
def command(run: str, engine: str | None, seed: int | None, **flags: Any) -> None:
    """Draw text from the model in the folder RUN, one text a line.

    Example: motegpt sample runs/names -n 20 --temperature 0.8 --prefix an
    """
    model = GPT.load(run, engine)
    for text in model.generate(seed=seed, **given_settings(flags)):
        click.echo(text)
