"""motegpt gradcheck"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import click

from motegpt.cli.options import SEED, engine_option, given_settings, json_option, named_flags, preset_option
from motegpt.cli.streams import discard_if_closed
from motegpt.config.fields import kinds
from motegpt.config.presets import REFERENCE_PRESET
from motegpt.config.sections import FOUND_FROM_DATA, ModelConfig
from motegpt.engines import ENGINES
from motegpt.errors import EngineUnavailable, GradientMismatch, UsageError
from motegpt.views.text import with_flags

if TYPE_CHECKING:
    from motegpt.evaluation.gradcheck import GradientCheck

OWN = {"n_layer", "n_embd", "n_head", "block_size", "ngram_orders"}  # with defaults of this command
INITIAL = {"init_std", "zero_init", "scaled_init"}  # fixed by it
ARCHITECTURE = [name for name in kinds(ModelConfig) if name not in OWN | INITIAL | FOUND_FROM_DATA]


@click.command()
@engine_option("all", multiple=True)
@preset_option(REFERENCE_PRESET)
@click.option("--n-layer", "--layers", type=int, default=2, show_default=True, help="Layers of the model.")
@click.option("--n-embd", type=int, default=8, show_default=True, help="Width of the model.")
@click.option("--n-head", type=int, default=2, show_default=True, help="Attention heads.")
@click.option("--block-size", type=int, default=5, show_default=True, help="Longest sequence.")
@click.option(
    "--dropout",
    type=float,
    default=0.0,
    show_default=True,
    help="Probability of dropout, as in the first step.",
)
@click.option("--ngram-orders", type=int, help="Also check an n-gram embedding of these orders.")
@click.option("--seed", type=SEED, default=42, show_default=True, help="Random seed.")
@named_flags(ARCHITECTURE)
@json_option
def command(
    engines: tuple[str, ...],
    preset: str | None,
    n_layer: int,
    n_embd: int,
    n_head: int,
    block_size: int,
    dropout: float,
    ngram_orders: int | None,
    seed: int,
    as_json: bool,
    **flags: Any,
) -> None:
    """Compare gradients with finite differences in double precision; exit with 1 on a mismatch.

    Example: motegpt gradcheck --preset zeroclaw --layers 3
    """
    from motegpt.evaluation.gradcheck import MIN_BLOCK_SIZE, TOLERANCE, check_engine

    sizes = {"n_layer": n_layer, "n_embd": n_embd, "n_head": n_head, "block_size": block_size}
    shape = {**sizes, "dropout": dropout, **given_settings(flags)}
    if block_size < MIN_BLOCK_SIZE:
        raise UsageError(
            f"block_size: expected at least {MIN_BLOCK_SIZE}, the longest test sequence, got {block_size}"
        )
    show = (lambda line: None) if as_json else _print
    heading = [f"{'engine':8} {'parameter':20} {'largest relative error':>22}"]

    def show_row(line: str) -> None:
        """Show a row, after the heading if it is the first: an error before it is shown alone."""
        while heading:
            show(heading.pop())
        show(line)

    checks: list[GradientCheck] = []
    unchecked: dict[str, str] = {}
    for name in engines or ENGINES:
        try:
            for check in check_engine(name, preset or REFERENCE_PRESET, shape, seed, ngram_orders):
                checks.append(check)
                show_row(line_of(check))
        except EngineUnavailable as error:
            if engines:
                raise
            unchecked[name] = with_flags(str(error))
            show_row(f"{name:8} not checked: {unchecked[name]}")
    if as_json:
        _print(json.dumps(values_of(checks, unchecked)))
    failed = [check for check in checks if not check.passed]
    if failed:
        raise GradientMismatch(
            f"gradcheck: expected every error below {TOLERANCE:g}, got {len(failed)} of {len(checks)} "
            f"above, first {failed[0].engine} {failed[0].parameter} with {failed[0].error:.1e}"
        )
    show(f"{len(checks)} tensors agree with finite differences to {TOLERANCE:g}")


def _print(line: str) -> None:
    """Print a line; if its reader has exited, the exit code still gives the result."""
    with discard_if_closed():
        click.echo(line)


def values_of(checks: list[GradientCheck], unchecked: dict[str, str]) -> dict[str, Any]:
    """The results as JSON values."""
    from motegpt.evaluation.gradcheck import TOLERANCE

    matrices = [
        {
            "engine": check.engine,
            "parameter": check.parameter,
            "error": _number(check.error),
            "passed": check.passed,
        }
        for check in checks
    ]
    passed = all(check.passed for check in checks)
    return {"passed": passed, "tolerance": TOLERANCE, "matrices": matrices, "not_checked": unchecked}


def _number(error: float) -> float | None:
    """The error; None if it is not finite, as JSON has no such numbers."""
    return error if math.isfinite(error) else None


def line_of(check: GradientCheck) -> str:
    """A row of the table."""
    verdict = "ok" if check.passed else "WRONG"
    return f"{check.engine:8} {check.parameter:20} {check.error:22.1e} {verdict}"
