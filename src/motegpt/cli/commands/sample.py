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
from motegpt.cli.options import (
    FILE,
    SEED,
    Sectioned,
    given_settings,
    model_options,
    overwrite_option,
    run_argument,
    setting_flags,
)
from motegpt.errors import UsageError
from motegpt.views.output import new_stream
from motegpt.views.writers import WRITERS, Writer, format_of

if TYPE_CHECKING:
    from typing import TextIO


@click.command(cls=Sectioned)
@run_argument
@model_options
@click.option("--seed", type=SEED, help="Random seed.  [a new one each time]")
@click.option("--greedy", is_flag=True, help="Same as --temperature 0.")
@click.option("--data", type=FILE, metavar="FILE", help="Training data for --novel.  [as recorded]")
@click.option(
    "--format",
    "form",
    type=click.Choice(list(WRITERS)),
    help="Output format; csv and jsonl add log-probabilities.  [by file name, else text]",
)
@click.option("--output", type=FILE, metavar="FILE", help="File to write.")
@overwrite_option
@setting_flags(["sample"])
def command(
    run: str,
    engine: str | None,
    checkpoint: str | None,
    seed: int | None,
    greedy: bool,
    data: str | None,
    form: str | None,
    output: str | None,
    overwrite: bool,
    **flags: Any,
) -> None:
    """Generate text with the model in the folder RUN, one sample per line.

    Filters act in this order: repetition_penalty, allowed and forbidden characters and lengths,
    temperature, top_k, top_p, min_p, typical_p. Log-probabilities are the model's own, in nats, before any
    filter. With --on-cut mark, csv and jsonl have a field `cut` too.

    Example: motegpt sample runs/names -n 20 --temperature 0.8 --prefix an
    """
    given = given_settings(flags)
    if greedy and given.setdefault("temperature", 0.0) != 0.0:
        raise UsageError(
            f"greedy: expected temperature 0, got --temperature {given['temperature']:g}; leave one out"
        )
    model = GPT.load(run, engine, checkpoint)
    groups = model.samples(seed=seed, data=data, **given)
    marked = given.get("on_cut", model.config.sample.on_cut) == "mark"
    in_lines = not model.config.data.is_stream
    with _opened(output, overwrite) as file:
        _write(groups, WRITERS[form or format_of(output)](file, marked, in_lines), model)


def _write(groups: Iterator[list[str]], writer: Writer, model: GPT) -> None:
    for texts in groups:
        if writer.wants_scores:
            from motegpt.evaluation.nll import score_texts

            scores = score_texts(model.language_model, model.tokenizer, texts)
            writer.write(texts, [score.log_probability for score in scores])
        else:
            writer.write(texts)


@contextmanager
def _opened(output: str | None, overwrite: bool) -> Iterator[TextIO]:
    """The file to write to, or standard output; the null device if that is closed."""
    if output is None and sys.stdout is not None:
        yield cast("TextIO", Screen(sys.stdout)) if is_terminal() else sys.stdout
        return
    with new_stream(Path(output or os.devnull), overwrite or output is None, "output") as file:
        yield file
