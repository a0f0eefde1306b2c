"""What a notebook shows of a model and of a training: a table of facts and the losses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from motegpt.config.html import Line, Markup, curve, facts
from motegpt.config.text import shortened
from motegpt.model.spec import parameter_count

if TYPE_CHECKING:
    from motegpt.data.tokenizers import Tokenizer
    from motegpt.ngrams.average import Average
    from motegpt.training.records import Report, StepRecord
    from motegpt.training.state import RunConfig

Fact = tuple[str, str]  # a name and its value
POINTS = 240  # of a curve


def form(
    title: str,
    config: RunConfig,
    tokenizer: Tokenizer,
    records: Sequence[StepRecord],
    average: Average | None,
    state: Sequence[Fact] = (),
) -> Markup:
    """The facts of a model, those of its state, its last losses, and the curve of its losses."""
    rows = [*model_facts(config, tokenizer), *average_facts(average), *state, *loss_facts(records)]
    return Markup(f"<div>{facts(title, rows)}{loss_curve(records, config.train.steps)}</div>")


def model_facts(config: RunConfig, tokenizer: Tokenizer) -> list[Fact]:
    """The sizes of a model, its engine and its data."""
    model = config.model
    layers = "1 layer" if model.n_layer == 1 else f"{model.n_layer} layers"
    shape = f"{layers}, {model.n_embd} wide, {model.n_head} heads, block_size {model.block_size}"
    characters = shortened(tokenizer.alphabet, 60) if tokenizer.alphabet else tokenizer.kind
    base = [] if config.base is None else [("fine-tuned from", config.base.path or "a model in memory")]
    return [
        ("model", f"{shape}: {parameter_count(model):,} parameters"),
        ("vocabulary", f"{tokenizer.vocab_size:,} tokens: {characters}"),
        ("data", config.source.described(config.data.noun)),
        ("engine", f"{config.engine}, {config.train.dtype}"),
        *base,
    ]


def average_facts(average: Average | None) -> list[Fact]:
    """The n-grams that a model is averaged with, if there are any."""
    if average is None:
        return []
    weight, order = average.weight, average.kneser_ney.order
    return [("averaged with", f"Kneser-Ney n-grams of order {order}, weight {weight:.2f}")]


def report_facts(report: Report | None) -> list[Fact]:
    """The losses on held-out documents that a complete training measured; empty without any."""
    bits = {} if report is None else report.bits()
    found = [f"{name} {value:.3f}" for name, value in sorted(bits.items(), key=lambda item: item[1])]
    return [("bits per character", ", ".join(found))] if found else []


def loss_facts(records: Sequence[StepRecord]) -> list[Fact]:
    """The last losses, in nats per token."""
    if not records:
        return []
    rows = [("loss", f"{records[-1].mean_loss:.4f} nats per token at step {records[-1].step:,}")]
    validation = next((record for record in reversed(records) if record.val_loss is not None), None)
    if validation is not None:
        rows.append(("validation", f"{validation.val_loss:.4f} nats per token at step {validation.step:,}"))
    return rows


def loss_curve(records: Sequence[StepRecord], steps: int) -> Markup:
    """The training losses, and the validation losses if there are any; empty for fewer than two records."""
    if len(records) < 2:
        return Markup()
    training = [(record.step, record.mean_loss) for record in records]
    validation = [(record.step, record.val_loss) for record in records if record.val_loss is not None]
    lines = [Line("training", thinned(training)), Line("validation", thinned(validation))]
    return curve([line for line in lines if line.points], (1, steps), "losses over steps")


def thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most POINTS finite points, evenly chosen, the last among them."""
    finite = [point for point in points if math.isfinite(point[1])]
    return finite[:: -max(1, math.ceil(len(finite) / POINTS))][::-1]
