"""motegpt graph"""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from motegpt.cli.options import FILE, SEED, json_option, overwrite_option
from motegpt.cli.streams import discard_if_closed
from motegpt.config.presets import REFERENCE_PRESET, settings_of
from motegpt.config.sections import model_and_training
from motegpt.data.plan import Batch
from motegpt.data.tokenizers import CharacterTokenizer
from motegpt.engines.scalar import model as network
from motegpt.engines.scalar.draw import count_ops, to_dot, to_svg
from motegpt.engines.scalar.engine import ScalarEngine
from motegpt.engines.scalar.graph import Value
from motegpt.errors import DataError
from motegpt.model.rng import make_rng
from motegpt.model.spec import initialize
from motegpt.views.output import ending_of, new_file

DRAWERS = {".svg": to_svg, ".dot": to_dot}


@click.command()
@click.argument("text")
@click.option("--n-embd", type=int, default=2, show_default=True, help="Width of the tiny model.")
@click.option("--n-head", type=int, default=1, show_default=True, help="Attention heads.")
@click.option("--n-layer", "--layers", type=int, default=1, show_default=True, help="Layers.")
@click.option("--seed", type=SEED, default=42, show_default=True, help="Seed of the weights.")
@click.option("--plain", is_flag=True, help="Draw each product and partial sum of a dot product.")
@click.option("--out", type=FILE, metavar="FILE.svg|FILE.dot", help="File to write.  [<text>.svg]")
@overwrite_option
@click.option("--summary", is_flag=True, help="Count the nodes; draw nothing.")
@json_option
def command(
    text: str,
    n_embd: int,
    n_head: int,
    n_layer: int,
    seed: int,
    plain: bool,
    out: str | None,
    overwrite: bool,
    summary: bool,
    as_json: bool,
) -> None:
    """Draw the computation graph of the loss of a tiny model on TEXT, with values and gradients.

    Example: motegpt graph emma --out emma.svg
    """
    if not text:
        raise DataError("graph: expected a text of at least one character, got an empty one")
    path = Path(out or f"{''.join(c if c.isalnum() else '_' for c in text)}.svg")
    drawer = DRAWERS[ending_of(path, DRAWERS)]
    shape = {"n_embd": n_embd, "n_head": n_head, "n_layer": n_layer}
    loss, names = loss_graph(text, shape, seed, plain)
    ops = count_ops(loss)
    facts: dict[str, Any] = {"loss": loss.data, "targets": len(text) + 1, "nodes": sum(ops.values())}
    if not summary:
        with new_file(path, overwrite) as file:
            file.write(drawer(loss, names))
    drawn = None if summary else str(path)
    with nullcontext() if summary else discard_if_closed():
        if as_json:
            click.echo(json.dumps({**facts, "ops": ops, "drawn": drawn}))
        else:
            _print(facts, ops, drawn)


def _print(facts: dict[str, Any], ops: dict[str, int], drawn: str | None) -> None:
    click.echo(f"loss {facts['loss']:.4f} nats over {facts['targets']} targets")
    for op, count in [*ops.items(), ("nodes", facts["nodes"])]:
        click.echo(f"{op:>10} {count:6d}")
    if drawn is not None:
        click.echo(f"drawn to {drawn}")


def loss_graph(text: str, shape: dict[str, int], seed: int, plain: bool) -> tuple[Value, dict[Value, str]]:
    """The loss of an untrained model on one document, after `backward`, and the parameters' names."""
    tokenizer = CharacterTokenizer("".join(sorted(set(text))), "bos")
    settings = {**settings_of(REFERENCE_PRESET), **shape, "block_size": len(text) + 1, "dtype": "float64"}
    model, train = model_and_training({**settings, "seed": seed}, tokenizer.vocab_size)
    engine = ScalarEngine(model, train)
    engine.load(initialize(model, make_rng(train.rng, train.seed)))
    batch = Batch.of(tokenizer.encode_documents([text]), train.loss_mean)
    loss = network.loss(batch, engine.w, model, network.UNFUSED if plain else network.FUSED)
    loss.backward()
    return loss, engine.names()
