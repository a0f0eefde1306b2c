"""motegpt graph"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from motegpt.cli.console import log
from motegpt.cli.options import (
    ALIASES,
    FILE,
    RUN,
    SEED,
    Command,
    checkpoint_option,
    json_option,
    overwrite_option,
)
from motegpt.cli.streams import discard_if_closed
from motegpt.config.synonyms import flag_of
from motegpt.data.documents import normalize_fragment
from motegpt.engines.scalar.draw import count_ops, to_dot
from motegpt.engines.scalar.groups import Graph, check_size
from motegpt.engines.scalar.model import FUSED, UNFUSED, Reductions
from motegpt.engines.scalar.picture import to_svg
from motegpt.errors import DataError, UsageError
from motegpt.evaluation.graphs import TINY, text_graph, tiny_graph
from motegpt.views.output import check_new, ending_of, write_new

ENDINGS = (".svg", ".dot")
LETTERS = 4  # of a sample, where no text is given


def _shape_option(name: str, help: str) -> Callable[[Command], Command]:
    """The option of a setting of the tiny model."""
    return click.option(flag_of(name), *ALIASES.get(name, ()), name, type=int, help=f"{help}  [{TINY[name]}]")


@click.command()
@click.argument("text", required=False)
@click.option("--run", type=RUN, help="Draw this trained model.  [a tiny untrained one]")
@checkpoint_option
@_shape_option("n_embd", "Width of the tiny model.")
@_shape_option("n_head", "Attention heads of the tiny model.")
@_shape_option("n_layer", "Layers of the tiny model.")
@click.option(
    "--seed", type=SEED, default=42, show_default=True, help="Seed of the weights, or of the sample."
)
@click.option("--plain", is_flag=True, help="Draw each product and partial sum of a dot product.")
@click.option(
    "--numbers/--no-numbers", default=True, show_default=True, help="Draw each number, or groups alone."
)
@click.option("--out", type=FILE, metavar="FILE.svg|FILE.dot", help="File to write.  [<text>.svg]")
@overwrite_option
@click.option("--summary", is_flag=True, help="Count the nodes; draw nothing.")
@json_option
def command(
    text: str | None,
    run: str | None,
    checkpoint: str | None,
    seed: int,
    plain: bool,
    numbers: bool,
    out: str | None,
    overwrite: bool,
    summary: bool,
    as_json: bool,
    **shape: int | None,
) -> None:
    """Draw the computation graph of the loss on TEXT, with values and gradients.

    The picture has groups that open on a click. With --run it is of a trained model, and TEXT is by default
    the first letters of a sample.

    \b
    Example: motegpt graph emma --out emma.svg
             motegpt graph emma --run runs/names
    """
    _check(text, run, checkpoint, shape, numbers, out)
    for path in [Path(out)] if out and not summary else []:
        check_new(path, overwrite)
    reductions = UNFUSED if plain else FUSED
    if run is None:
        text, graph = text or "", tiny_graph(text or "", given(shape), seed, reductions)
    else:
        text, graph = _run_graph(run, checkpoint, text, seed, reductions)
    path = Path(out or f"{''.join(c if c.isalnum() else '_' for c in text)}.svg")
    ops = count_ops(graph.loss)
    facts: dict[str, Any] = {
        "loss": graph.loss.data, "targets": len(graph.columns), "nodes": sum(ops.values())
    }  # fmt: skip
    if not summary:
        content = to_svg(graph, numbers) if ending_of(path, ENDINGS) == ".svg" else to_dot(graph)
        write_new(path, content, overwrite)
    drawn = None if summary else str(path)
    with nullcontext() if summary else discard_if_closed():
        if as_json:
            click.echo(json.dumps({**facts, "ops": ops, "drawn": drawn}))
        else:
            _print(facts, ops, drawn)


def _check(
    text: str | None,
    run: str | None,
    checkpoint: str | None,
    shape: dict[str, int | None],
    numbers: bool,
    out: str | None,
) -> None:
    """Errors in the options, before anything is computed."""
    if text == "" or (text is None and run is None):
        raise DataError("graph: expected a text of at least one character, got an empty one")
    if run is None and checkpoint is not None:
        raise UsageError("graph: --checkpoint belongs to --run")
    if run is not None and (settings := given(shape)):
        raise UsageError(
            f"graph: `{next(iter(settings))}` is of the tiny model, and cannot be set with --run"
        )
    if out is not None and ending_of(Path(out), ENDINGS) == ".dot" and not numbers:
        raise UsageError("graph: --no-numbers belongs to *.svg files")


def given(shape: dict[str, int | None]) -> dict[str, int]:
    """The settings that are not None."""
    return {name: value for name, value in shape.items() if value is not None}


def _print(facts: dict[str, Any], ops: dict[str, int], drawn: str | None) -> None:
    click.echo(f"loss {facts['loss']:.4f} nats over {facts['targets']} targets")
    for op, count in [*ops.items(), ("nodes", facts["nodes"])]:
        click.echo(f"{op:>10} {count:6d}")
    if drawn is not None:
        click.echo(f"drawn to {drawn}")


def _run_graph(
    run: str, checkpoint: str | None, text: str | None, seed: int, reductions: Reductions
) -> tuple[str, Graph]:
    """A text, the first letters of a sample if none is given, and the graph of its loss."""
    from motegpt.api.gpt import GPT
    from motegpt.training.run_folder import RunFolder

    folder = RunFolder(run)
    config = folder.config()
    text = None if text is None else normalize_fragment(text, config.data)
    check_size(config.model, LETTERS + 1 if text is None else len(folder.tokenizer().encode(text)) + 1)
    model = GPT.load(run, "array", checkpoint)  # it needs no GPU
    if config.train.kneser_ney is not None:
        log("the graph is of the GPT, without the n-grams that it is averaged with")
    if text is not None:
        return text, text_graph(model.engine, model.tokenizer, text, reductions=reductions)
    (sample,) = model.generate(1, seed=seed, min_new_tokens=2, unique=False, novel=False)
    letters = " ".join(sample.split()[:LETTERS]) if model.tokenizer.is_ids else sample[:LETTERS]
    return letters, text_graph(
        model.engine, model.tokenizer, letters, is_whole=letters == sample, reductions=reductions
    )
