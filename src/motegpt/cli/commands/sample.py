"""motegpt sample"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from motegpt.api.gpt import GPT
from motegpt.cli.console import Screen, is_terminal
from motegpt.cli.options import SEED, Sectioned, given_settings, model_options, setting_flags
from motegpt.errors import UsageError
from motegpt.views.output import new_file
from motegpt.views.writers import WRITERS, Writer, format_of

if TYPE_CHECKING:
    from typing import TextIO


@click.command(cls=Sectioned)
@click.argument("run")
@model_options
@click.option("--seed", type=SEED, help="The same seed draws the same text.  [a new one each time]")
@click.option("--greedy", is_flag=True, help="The same as --temperature 0.")
@click.option("--unique", is_flag=True, help="No text twice.")
@click.option("--novel", is_flag=True, help="Nothing from the training data.")
@click.option("--data", metavar="FILE", help="The training data for --novel.  [where they were]")
@click.option(
    "--format",
    "form",
    type=click.Choice(list(WRITERS)),
    help="How to write; csv and jsonl have the log-probability too.  [by the name of FILE, or text]",
)
@click.option("--output", metavar="FILE", help="Write to this file.")
@click.option("--overwrite", is_flag=True, help="Let --output replace a file.")
@setting_flags(["sample"])
def command(
    run: str,
    engine: str | None,
    checkpoint: str | None,
    seed: int | None,
    greedy: bool,
    unique: bool,
    novel: bool,
    data: str | None,
    form: str | None,
    output: str | None,
    overwrite: bool,
    **flags: Any,
) -> None:
    """Draw text from the model in the folder RUN, one text a line.

    Filters act in this order: repetition_penalty, allowed and forbidden characters and lengths,
    temperature, top_k, top_p, min_p, typical_p. The log-probability is the model's own, in nats, without
    any of them. With --on-cut mark, csv and jsonl have a field cut as well.

    Example: motegpt sample runs/names -n 20 --temperature 0.8 --prefix an
    """
    given = given_settings(flags)
    if greedy and given.setdefault("temperature", 0.0) != 0.0:
        raise UsageError(f"greedy: it is temperature 0, got --temperature {given['temperature']:g} as well")
    model = GPT.load(run, engine, checkpoint)
    groups = model.samples(seed=seed, unique=unique, novel=novel, data=data, **given)
    marked = given.get("on_cut", model.config.sample.on_cut) == "mark"
    in_lines = model.config.data.format != "stream"
    with _opened(output, overwrite) as file:
        _write(groups, WRITERS[form or format_of(output)](file, marked, in_lines), model)


def _write(groups: Iterator[list[str]], writer: Writer, model: GPT) -> None:
    for texts in groups:
        if writer.wants_scores:
            from motegpt.evaluation.nll import score_texts

            scores = score_texts(model.engine, model.tokenizer, texts)
            writer.write(texts, [score.log_probability for score in scores])
        else:
            writer.write(texts)


@contextmanager
def _opened(output: str | None, overwrite: bool) -> Iterator[TextIO]:
    """The file to write to, or standard output; nowhere if that is closed."""
    if output is None and sys.stdout is not None:
        yield cast("TextIO", Screen(sys.stdout)) if is_terminal() else sys.stdout
        return
    with new_file(Path(output or os.devnull), overwrite or output is None, "output") as file:
        yield cast("TextIO", file)
