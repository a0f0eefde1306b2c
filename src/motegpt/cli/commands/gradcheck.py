"""motegpt gradcheck"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import click

from motegpt.cli.options import SEED, engine_option, json_option, preset_option
from motegpt.cli.streams import discard_if_closed
from motegpt.config.presets import DEFAULT_PRESET
from motegpt.engines import ENGINES
from motegpt.errors import EngineUnavailable, GradientMismatch, UsageError
from motegpt.views.text import with_flags

if TYPE_CHECKING:
    from motegpt.evaluation.gradcheck import Judgement


@click.command()
@engine_option("all", multiple=True)
@preset_option
@click.option("--n-layer", "--layers", type=int, default=2, show_default=True, help="Layers of the model.")
@click.option("--n-embd", type=int, default=8, show_default=True, help="Width of the model.")
@click.option("--n-head", type=int, default=2, show_default=True, help="Attention heads.")
@click.option("--block-size", type=int, default=5, show_default=True, help="Longest sequence.")
@click.option("--seed", type=SEED, default=42, show_default=True, help="Random seed.")
@json_option
def command(
    engines: tuple[str, ...],
    preset: str | None,
    n_layer: int,
    n_embd: int,
    n_head: int,
    block_size: int,
    seed: int,
    as_json: bool,
) -> None:
    """Compare gradients with finite differences in double precision; exit with 1 on a mismatch.

    Example: motegpt gradcheck --preset zeroclaw --layers 3
    """
    from motegpt.evaluation.gradcheck import LONGEST, TOLERANCE, check_engine

    shape = {"n_layer": n_layer, "n_embd": n_embd, "n_head": n_head, "block_size": block_size}
    if block_size < LONGEST:
        raise UsageError(
            f"block_size: expected at least {LONGEST}, the longest test sequence, got {block_size}"
        )
    show = (lambda line: None) if as_json else _print
    judgements: list[Judgement] = []
    unchecked: dict[str, str] = {}
    show(f"{'engine':8} {'parameter':18} {'largest relative error':>22}")
    for name in engines or ENGINES:
        try:
            for judgement in check_engine(name, preset or DEFAULT_PRESET, shape, seed):
                judgements.append(judgement)
                show(line_of(judgement))
        except EngineUnavailable as error:
            if engines:
                raise
            unchecked[name] = with_flags(str(error))
            show(f"{name:8} not checked: {unchecked[name]}")
    if as_json:
        _print(json.dumps(values_of(judgements, unchecked)))
    failed = [j for j in judgements if not j.passed]
    if failed:
        raise GradientMismatch(
            f"gradcheck: expected every error below {TOLERANCE:g}, got {len(failed)} of {len(judgements)} "
            f"above, first {failed[0].engine} {failed[0].parameter} with {failed[0].error:.1e}"
        )
    show(f"{len(judgements)} matrices agree with finite differences to {TOLERANCE:g}")


def _print(line: str) -> None:
    """Print a line; if its reader has exited, the exit code still gives the result."""
    with discard_if_closed():
        click.echo(line)


def values_of(judgements: list[Judgement], unchecked: dict[str, str]) -> dict[str, Any]:
    """The results as JSON values."""
    from motegpt.evaluation.gradcheck import TOLERANCE

    matrices = [
        {"engine": j.engine, "parameter": j.parameter, "error": _number(j.error), "passed": j.passed}
        for j in judgements
    ]
    passed = all(j.passed for j in judgements)
    return {"passed": passed, "tolerance": TOLERANCE, "matrices": matrices, "not_checked": unchecked}


def _number(error: float) -> float | None:
    """None if not finite, as JSON has no such numbers."""
    return error if math.isfinite(error) else None


def line_of(judgement: Judgement) -> str:
    """A row of the table."""
    verdict = "ok" if judgement.passed else "WRONG"
    return f"{judgement.engine:8} {judgement.parameter:18} {judgement.error:22.1e} {verdict}"
