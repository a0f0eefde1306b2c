"""motegpt cost"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from motegpt.cli.options import (
    Sectioned,
    config_option,
    data_argument,
    engine_option,
    json_option,
    merge,
    paths_given,
    preset_option,
    setting_flags,
    settings_and_choices,
)
from motegpt.config.epochs import epochs_of, epochs_to_steps, merge_settings
from motegpt.config.presets import DEFAULT_PRESET
from motegpt.config.sections import (
    LARGEST_SIZE,
    DataConfig,
    ModelConfig,
    TrainConfig,
    model_and_training,
    section_values,
)
from motegpt.data.tokenizers import TOKENIZERS, Tokenizer
from motegpt.engines import MANY_PROCESSES, WITH_KNOWN_MEMORY, training_memory
from motegpt.engines.cost import cache_bytes, communication, operations_per_token, recomputed_per_token
from motegpt.errors import UsageError
from motegpt.model.spec import parameter_count

if TYPE_CHECKING:
    from fractions import Fraction
    from pathlib import Path


class Text(NamedTuple):
    """What the data bring: tokens a document or window; if data were read, tokens and steps of an epoch."""

    vocab_size: int
    positions: float
    tokens: int | None = None
    epoch: Fraction | None = None


@click.command(cls=Sectioned, preset=DEFAULT_PRESET)
@data_argument
@preset_option
@engine_option("all", choices=WITH_KNOWN_MEMORY)
@config_option
@click.option("--vocab-size", type=int, help="Number of token ids, instead of data; sequences are full.")
@click.option(
    "--ranks",
    type=click.IntRange(1, LARGEST_SIZE),
    default=1,
    show_default=True,
    help="Number of processes (torch).",
)
@click.option("--speed", type=float, metavar="FLOP/S", help="Also print the time at this speed.")
@json_option
@setting_flags(["model", "data", "train"])
def command(
    data: tuple[str, ...],
    preset: str | None,
    engine: str | None,
    config: str | None,
    vocab_size: int | None,
    ranks: int,
    speed: float | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """Compute what a training costs: tokens, operations, memory, communication. Nothing is trained.

    Example: motegpt cost names.txt --layers 4 --n-embd 64 --batch-size 32
    """
    if speed is not None and not speed > 0:
        raise UsageError(f"speed: expected operations a second above 0, got {speed:g}")
    given, preset, _ = settings_and_choices(config, flags, preset, None)  # any engine in the file is ignored
    settings = merge(preset, given)
    text = _text(paths_given(data), vocab_size, settings)
    model, train = model_and_training(_with_steps(settings, text.epoch), text.vocab_size)
    engines = [engine] if engine else WITH_KNOWN_MEMORY
    facts = facts_of(model, train, text, engines, ranks, speed)
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    for name, line in lines_of(facts):
        click.echo(f"{name:14} {line}".rstrip())


def _with_steps(settings: dict[str, Any], epoch: Fraction | None) -> dict[str, Any]:
    """The settings with the steps of their epochs, if they have any."""
    epochs = epochs_of(settings)
    if epochs is None:
        return settings
    if epoch is None:
        raise UsageError("epochs: expected DATA to count them by, got --vocab-size; try --steps")
    return merge_settings(settings, {"steps": epochs_to_steps(epochs, epoch)})


def facts_of(
    model: ModelConfig,
    train: TrainConfig,
    text: Text,
    engines: Iterable[str],
    ranks: int,
    speed: float | None,
) -> dict[str, Any]:
    """Everything the command knows, as plain values."""
    tokens = train.batch_size * text.positions
    a_token = operations_per_token(model, text.positions)
    again = recomputed_per_token(model, text.positions) if train.checkpoint_activations else 0.0
    total = a_token * tokens * train.steps
    return {
        "parameters": parameter_count(model),
        "tokens": {"step": tokens, "total": tokens * train.steps, "data": text.tokens},
        "steps": train.steps,
        "operations": {"token": a_token, "recomputed": again, "step": a_token * tokens, "total": total},
        "memory": [_memory(name, model, train, text.positions, ranks) for name in engines],
        "cache": cache_bytes(model, train.dtype),
        "seconds": None if speed is None else (total + again * tokens * train.steps) / speed,
    }


def lines_of(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The same to read, in lines of at most 80 columns."""
    tokens, operations = facts["tokens"], facts["operations"]
    yield "parameters", f"{facts['parameters']:,}"
    yield "tokens", f"{tokens['step']:,.0f} a step, {tokens['total']:,.0f} in {facts['steps']:,} steps"
    if tokens["data"] is not None:
        yield "epochs", f"{tokens['total'] / tokens['data']:.1f} of {tokens['data']:,} tokens"
    a_step, total = count(operations["step"]), count(operations["total"])
    yield "operations", f"{count(operations['token'])} a token, {a_step} a step, {total} in all"
    if operations["recomputed"]:
        yield "recomputed", f"{count(operations['recomputed'])} a token besides"
    yield "", f"{'parameters':>12} {'gradients':>10} {'optimizer':>10} {'activations':>12} {'sum':>10}"
    for row in facts["memory"]:
        parts = [size(row[name]) for name in ("parameters", "gradients", "optimizer", "activations", "total")]
        yield f"MB, {row['engine']}", "{:>12} {:>10} {:>10} {:>12} {:>10}".format(*parts)
        if row["sent"]:
            yield "", f"each of {row['ranks']} ranks sends {size(row['sent'])} MB a step"
    yield "KV cache", f"{size(facts['cache'])} MB a sequence, to draw from the model"
    if facts["seconds"] is not None:
        yield "time", duration(facts["seconds"])


def count(operations: float) -> str:
    """1.23 · 10^12 as 1.23e+12"""
    return f"{operations:.3g}"


def size(bytes: float) -> str:
    """Megabytes, 10^6 bytes, to three digits or the whole."""
    megabytes = bytes / 1e6
    return f"{megabytes:,.0f}" if megabytes >= 100 else f"{megabytes:.3g}"


def duration(seconds: float) -> str:
    """90 s, 12.3 min, 4.5 h, 6.7 days."""
    for unit, name in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:,.1f} {name}"
    return f"{seconds:.3g} s"


def _memory(
    engine: str, model: ModelConfig, train: TrainConfig, positions: float, ranks: int
) -> dict[str, Any]:
    ranks = ranks if engine == MANY_PROCESSES else 1
    needed, sent = training_memory(engine, model, train, positions, ranks), communication(model, train, ranks)
    return {"engine": engine, "ranks": ranks, **needed._asdict(), "total": needed.total, "sent": sent}


def _text(data: list[Path] | None, vocab_size: int | None, settings: dict[str, Any]) -> Text:
    """What the data bring; with a vocabulary that is given or fixed, full sequences are assumed."""
    if vocab_size is not None and data is not None:
        raise UsageError("vocab_size: expected DATA to count, or --vocab-size, got both")
    options = DataConfig.of(section_values(settings, "data"))
    if vocab_size is None and data is None and TOKENIZERS[options.tokenizer].is_fixed:
        vocab_size = Tokenizer.of((), options.framing, options.tokenizer).vocab_size
    if vocab_size is not None:
        return Text(vocab_size, float(settings["block_size"]))
    return _counted(data, settings, options)


def _counted(data: list[Path] | None, settings: dict[str, Any], options: DataConfig) -> Text:
    from motegpt.data.corpus import read_corpus
    from motegpt.data.plan import plan_of
    from motegpt.data.split import split

    documents = read_corpus(data, options).documents
    tokenizer = Tokenizer.of(documents, options.framing, options.tokenizer)
    model, train = model_and_training({**settings, "steps": 1}, tokenizer.vocab_size)
    learned, _ = split(documents, options, train.seed)
    plan = plan_of(learned, tokenizer, options, train, model.block_size)
    of_a_sequence = float(plan.targets / (plan.epoch * plan.batch_size))
    return Text(tokenizer.vocab_size, of_a_sequence, plan.targets, plan.epoch)
