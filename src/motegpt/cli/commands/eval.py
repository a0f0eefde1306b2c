"""motegpt eval"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from motegpt.cli.console import log, print_result
from motegpt.cli.options import (
    FILE,
    SEED,
    data_argument,
    given_settings,
    json_option,
    model_options,
    named_flags,
    paths_given,
    run_argument,
)
from motegpt.config.text import counted, shortened
from motegpt.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from motegpt.api.gpt import GPT
    from motegpt.config.sections import DataConfig
    from motegpt.evaluation.nll import Evaluation
    from motegpt.evaluation.novelty import Novelty

EXAMPLES = 3
READ_AS = ("format", "column", "header", "delimiter", "encoding")
TRAINING = "the training data"


@click.command()
@run_argument
@data_argument
@model_options
@named_flags(READ_AS)
@click.option(
    "--samples",
    type=click.IntRange(min=0),
    default=1000,
    show_default=True,
    help="Samples to compare with the training data.",
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of the samples.")
@click.option("--training", type=FILE, metavar="FILE", help="Training data.  [as recorded]")
@json_option
def command(
    run: str,
    data: tuple[str, ...],
    engine: str | None,
    checkpoint: str | None,
    samples: int,
    seed: int,
    training: str | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """Evaluate the model in the folder RUN, and n-gram baselines, on DATA.

    DATA are files or folders, read as the training data were, but as UTF-8; by default, the validation set
    of the run. Losses are means over all tokens of whole documents; the end of a document counts as one
    character. Of ids they are over the targets that count, and bits are per token.

    Example: motegpt eval runs/names
    """
    from motegpt.api.gpt import GPT
    from motegpt.evaluation.nll import evaluate

    model, paths = GPT.load(run, engine, checkpoint), paths_given(data)
    train_texts, val_texts = _split(model, training, is_needed=paths is None)
    if paths is not None:
        texts, name = _read(paths, model.config.data.replace(**{"encoding": None, **given_settings(flags)}))
    else:
        texts, name = _recorded(train_texts, val_texts)
    evaluation = evaluate(model.engine, model.tokenizer, texts, train_texts, model.average)
    if evaluation.left_out:
        first = shortened(evaluation.left_out[0])
        count, unit = len(evaluation.left_out), evaluation.unit
        log(f"left out {count:,} with {unit}s unknown to the model, the first {first}")
    novel = None
    if samples and train_texts and model.tokenizer.stop is not None:
        from motegpt.evaluation.novelty import novelty

        novel = novelty(model.generate(samples, seed=seed, unique=False, novel=False), train_texts, val_texts)
    if as_json:
        click.echo(json.dumps(_values(evaluation, novel, name), indent=2))
        return
    _print(evaluation, name, model.config.data.noun)
    if novel is not None:
        _print_novelty(novel, model.config.sample.temperature, bool(val_texts))


def _split(model: GPT, training: str | None, is_needed: bool) -> tuple[Sequence[str], Sequence[str]]:
    """The training and validation documents of a run; if unreadable, two empty lists and a log message.

    training: file to read instead of the recorded data; raises DataError if it is unreadable or differs.
    is_needed: whether there is nothing else to evaluate on; raises DataError instead of logging.
    """
    from motegpt.data.source import reload_split

    config, repair = model.config, "give it with --training FILE"
    if training is not None or is_needed:
        repair = f"{repair}, or DATA to evaluate on" if is_needed else repair
        return reload_split(config.source, config.data, config.train.seed, training, repair)
    try:
        return reload_split(config.source, config.data, config.train.seed, repair=repair)
    except DataError as error:
        log(f"no baselines and no novelty: {error}")
        return [], []


def _read(paths: list[Path], reading: DataConfig) -> tuple[Sequence[str], str]:
    """The documents of files or folders, and their name; logs the assumptions about their format."""
    from motegpt.data.corpus import name_of, read_corpus

    corpus = read_corpus(paths, reading)
    for assumed in corpus.assumed:
        log(assumed)
    return corpus.documents, name_of(paths)


def _recorded(train_texts: Sequence[str], val_texts: Sequence[str]) -> tuple[Sequence[str], str]:
    """The validation documents of a run, or its training documents if it has none, and their name."""
    if val_texts:
        return val_texts, "the held-out data"
    log("no data were held out: evaluated on the training data; train with --val-fraction 0.1")
    return train_texts, TRAINING


def _print(evaluation: Evaluation, name: str, noun: str) -> None:
    print_result(f"{counted(evaluation.documents, noun)} of {name}")
    if evaluation.known and name != TRAINING:
        log(f"{evaluation.known:,} of them are in the training data")
    click.echo(f"\n{'':10} {'nats per token':>14} {f'bits per {evaluation.unit}':>18}")
    for model, bits in evaluation.bits().items():
        click.echo(f"{model:10} {evaluation.losses[model]:14.4f} {bits:18.4f}")
    if evaluation.accuracy is not None:
        right = f"of {evaluation.tokens:,} targets the model finds {evaluation.accuracy:.2%} the most likely"
        click.echo(f"\n{right}")


def _print_novelty(novelty: Novelty, temperature: float, has_validation: bool) -> None:
    click.echo(f"\nof {novelty.texts:,} samples at temperature {temperature:g}")
    rows = [
        ("in the training data", novelty.in_training),
        ("new", novelty.new),
        ("distinct", novelty.distinct),
    ]
    if has_validation:
        rows.insert(1, ("in the held-out data", novelty.in_validation))
    for name, count in rows:
        click.echo(f"  {name:20} {count / novelty.texts:7.1%}")
    if novelty.mean_distance is None:
        return
    click.echo(
        f"outside the training data: {novelty.mean_distance:.1f} edits to the nearest document, for example"
    )
    for match in novelty.nearest[:EXAMPLES]:
        print_result(f"  {match.text} ({match.document}, {match.distance})")


def _values(evaluation: Evaluation, novel: Novelty | None, name: str) -> dict[str, Any]:
    """The results as JSON values."""
    values: dict[str, Any] = {
        "data": name,
        "documents": evaluation.documents,
        "tokens": evaluation.tokens,
        f"{evaluation.unit}s": evaluation.characters,
        "in_training": evaluation.known,
        "left_out": evaluation.left_out,
        "nats_per_token": evaluation.losses,
        **({} if evaluation.accuracy is None else {"accuracy": evaluation.accuracy}),
        f"bits_per_{evaluation.unit}": evaluation.bits(),
    }
    if novel is not None:
        values["samples"] = {
            "texts": novel.texts,
            "distinct": novel.distinct,
            "in_training": novel.in_training,
            "in_validation": novel.in_validation,
            "new": novel.new,
            "mean_distance": novel.mean_distance,
            "nearest": [vars(match) for match in novel.nearest],
        }
    return values
