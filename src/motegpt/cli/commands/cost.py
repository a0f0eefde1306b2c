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
from motegpt.config.epochs import epochs_of, epochs_to_steps, merge_settings, seconds_of
from motegpt.config.presets import REFERENCE_PRESET
from motegpt.config.sections import DataConfig, ModelConfig, TrainConfig, model_and_training, section_values
from motegpt.config.sections.bounds import LARGEST_SIZE
from motegpt.data.tokenizers import TOKENIZERS, Tokenizer
from motegpt.engines import MULTI_PROCESS, WITH_KNOWN_MEMORY, training_memory
from motegpt.engines.cost import (
    Memory,
    cache_bytes,
    communication,
    operations_per_token,
    recomputed_per_token,
)
from motegpt.errors import UsageError
from motegpt.model.spec import parameter_count

if TYPE_CHECKING:
    from fractions import Fraction
    from pathlib import Path


class DataSize(NamedTuple):
    """Sizes of the training data.

    positions: mean tokens per sequence; tokens: tokens per epoch; epoch: steps per epoch (both None if no
    data were read); ngram_rows: rows of the tables of the n-gram embedding.
    """

    vocab_size: int
    positions: float
    tokens: int | None = None
    epoch: Fraction | None = None
    ngram_rows: tuple[int, ...] = ()


@click.command(cls=Sectioned, preset=REFERENCE_PRESET)
@data_argument
@preset_option(REFERENCE_PRESET)
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
    """Compute the cost of a training without running it: tokens, operations, memory, communication.

    Example: motegpt cost names.txt --layers 4 --n-embd 64 --batch-size 32
    """
    if speed is not None and not speed > 0:
        raise UsageError(f"speed: expected operations per second above 0, got {speed:g}")
    given, preset, _ = settings_and_choices(config, flags, preset, None)  # any engine in the file is ignored
    settings = merge(preset, given)
    size = _data_size(paths_given(data), vocab_size, settings)
    settings = {**_with_steps(settings, size.epoch), "ngram_rows": size.ngram_rows}
    model, train = model_and_training(settings, size.vocab_size)
    engines = [engine] if engine else WITH_KNOWN_MEMORY
    facts = facts_of(model, train, size, engines, ranks, speed)
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    for name, line in lines_of(facts):
        click.echo(f"{name:14} {line}".rstrip())


def _with_steps(settings: dict[str, Any], epoch: Fraction | None) -> dict[str, Any]:
    """The settings, with `epochs` replaced by the equivalent `steps`. epoch: steps per epoch, if known."""
    if seconds_of(settings) is not None:
        raise UsageError("seconds: expected `steps` or `epochs`, as the time depends on the engine")
    epochs = epochs_of(settings)
    if epochs is None:
        return settings
    if epoch is None:
        raise UsageError("epochs: expected DATA, whose size defines an epoch, got --vocab-size; try --steps")
    return merge_settings(settings, {"steps": epochs_to_steps(epochs, epoch)})


def facts_of(
    model: ModelConfig,
    train: TrainConfig,
    data: DataSize,
    engines: Iterable[str],
    ranks: int,
    speed: float | None,
) -> dict[str, Any]:
    """All results, as JSON values.

    memory, cache: bytes; operations: without the recomputed ones; seconds: with them, at `speed`
    operations/s.
    """
    tokens = train.batch_size * data.positions
    per_token = operations_per_token(model, data.positions)
    recomputed = recomputed_per_token(model, data.positions) if train.checkpoint_activations else 0.0
    total = per_token * tokens * train.steps
    return {
        "parameters": parameter_count(model),
        "ngram_rows": list(model.ngram_rows),
        "tokens": {"step": tokens, "total": tokens * train.steps, "data": data.tokens},
        "steps": train.steps,
        "operations": {
            "token": per_token,
            "recomputed": recomputed,
            "step": per_token * tokens,
            "total": total,
        },
        "memory": [_memory(name, model, train, data.positions, ranks) for name in engines],
        "cache": cache_bytes(model, train.dtype),
        "seconds": None if speed is None else (total + recomputed * tokens * train.steps) / speed,
    }


def lines_of(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Label and text of each line of at most 80 columns."""
    tokens, operations = facts["tokens"], facts["operations"]
    yield "parameters", f"{facts['parameters']:,}"
    if facts["ngram_rows"]:
        yield "contexts", f"{', '.join(f'{rows:,}' for rows in facts['ngram_rows'])} of 2, 3, … tokens"
    yield "tokens", f"{tokens['step']:,.0f} per step, {tokens['total']:,.0f} in {facts['steps']:,} steps"
    if tokens["data"] is not None:
        yield "epochs", f"{tokens['total'] / tokens['data']:.1f} of {tokens['data']:,} tokens"
    per_token, per_step, total = (format_count(operations[name]) for name in ("token", "step", "total"))
    yield "operations", f"{per_token} per token, {per_step} per step, {total} in total"
    if operations["recomputed"]:
        yield "recomputed", f"{format_count(operations['recomputed'])} more per token"
    yield "", f"{'parameters':>12} {'gradients':>10} {'optimizer':>10} {'activations':>12} {'sum':>10}"
    for row in facts["memory"]:
        parts = [megabytes(row[name]) for name in (*Memory._fields, "total")]
        yield f"MB, {row['engine']}", "{:>12} {:>10} {:>10} {:>12} {:>10}".format(*parts)
        if row["sent"]:
            yield "", f"each of {row['ranks']} ranks sends {megabytes(row['sent'])} MB per step"
    yield "KV cache", f"{megabytes(facts['cache'])} MB per sequence, for generation"
    if facts["seconds"] is not None:
        yield "time", duration(facts["seconds"])


def format_count(operations: float) -> str:
    """1.23e+12"""
    return f"{operations:.3g}"


def megabytes(size: float) -> str:
    """A number of bytes in units of 10^6 bytes, to three digits or to the unit."""
    value = size / 1e6
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def duration(seconds: float) -> str:
    """90 s, 12.3 min, 4.5 h, 6.7 days."""
    for unit, name in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:,.1f} {name}"
    return f"{seconds:.3g} s"


def _memory(
    engine: str, model: ModelConfig, train: TrainConfig, positions: float, ranks: int
) -> dict[str, Any]:
    """Bytes of memory per device, and bytes that each rank sends per step."""
    ranks = ranks if engine == MULTI_PROCESS else 1
    needed, sent = training_memory(engine, model, train, positions, ranks), communication(model, train, ranks)
    return {"engine": engine, "ranks": ranks, **needed._asdict(), "total": needed.total, "sent": sent}


def _data_size(data: list[Path] | None, vocab_size: int | None, settings: dict[str, Any]) -> DataSize:
    """Read and count the data, by default the built-in names.

    If vocab_size is given, or no data and a tokenizer with a fixed vocabulary, assume full sequences instead.
    """
    if vocab_size is not None and data is not None:
        raise UsageError("vocab_size: expected DATA or --vocab-size, got both")
    options = DataConfig.of(section_values(settings, "data"))
    if vocab_size is None and data is None and TOKENIZERS[options.tokenizer].is_fixed:
        vocab_size = Tokenizer.fit((), options).vocab_size
    if vocab_size is not None:
        if settings.get("ngram_orders") is not None:
            raise UsageError(
                "ngram_orders: expected DATA, whose contexts are counted, got none; leave it out"
            )
        return DataSize(vocab_size, float(settings["block_size"]))
    return _count_data(data, settings, options)


def _count_data(data: list[Path] | None, settings: dict[str, Any], options: DataConfig) -> DataSize:
    from motegpt.data.corpus import read_corpus
    from motegpt.data.plan import plan_of
    from motegpt.data.split import split
    from motegpt.training.build import find_contexts

    documents = read_corpus(data, options).documents
    options = options.replace(**documents.settings)
    tokenizer = Tokenizer.fit(documents, options)
    model, train = model_and_training({**settings, "steps": 1}, tokenizer.vocab_size)
    training, _ = split(documents, options, train.seed)
    plan = plan_of(training, tokenizer, options, train, model.block_size)
    rows = () if model.ngram_orders is None else find_contexts(plan, model, options).sizes
    return DataSize(tokenizer.vocab_size, plan.targets_per_sequence, plan.targets, plan.epoch, rows)
