"""motegpt plot"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from motegpt.cli.console import log
from motegpt.cli.options import FILE, RUN, checkpoint_option, overwrite_option
from motegpt.cli.streams import discard_if_closed
from motegpt.config.text import shortened
from motegpt.errors import DataError, UsageError
from motegpt.plots.sweeps import FORMS
from motegpt.system.runs import is_sweep

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from motegpt.views.runs import Run

VOCABULARY = "\0"  # the value of --embeddings without a text
MAX_SLUG = 24  # characters of a text in the name of its picture


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=RUN)
@click.option("--out", type=FILE, metavar="FILE", help="A *.png or *.svg to write.  [RUN-loss.png etc.]")
@overwrite_option
@click.option("--smooth", type=click.IntRange(min=1), metavar="N", help="Average over N records.  [a 10th]")
@click.option("--x", metavar="NAME", help="Horizontal axis: step, tokens; of a sweep, a setting.  [step]")
@click.option("--by", metavar="SETTING", help="Of a sweep: a line, or a row of the map, for each value.")
@click.option("--form", type=click.Choice(FORMS), help="Of a sweep: what to draw.  [lines]")
@click.option("--measure", metavar="NAME", help="Of a sweep: what to draw.  [val_loss, else loss]")
@click.option("--baselines/--no-baselines", default=True, help="Draw n-gram baselines.  [yes]")
@click.option("--statistic", metavar="NAME", help="Draw a statistic instead, such as update_ratio.")
@click.option("--attention", metavar="TEXT", help="Draw attention maps of a text instead.")
@click.option("--layer", "layers", type=int, multiple=True, help="Layer to draw, from 0.  [all]")
@click.option("--head", "heads", type=int, multiple=True, help="Head to draw, from 0.  [all]")
@click.option(
    "--embeddings", metavar="[TEXT]", is_flag=False, flag_value=VOCABULARY, default=None,
    help="Draw embedding maps instead: of all tokens, or of a text by layer.",
)  # fmt: skip
@checkpoint_option
@click.option("--dpi", type=click.IntRange(40, 600), default=150, show_default=True, help="Pixels per inch.")
def command(
    runs: tuple[str, ...],
    out: str | None,
    overwrite: bool,
    smooth: int | None,
    x: str | None,
    by: str | None,
    form: str | None,
    measure: str | None,
    baselines: bool,
    statistic: str | None,
    attention: str | None,
    layers: tuple[int, ...],
    heads: tuple[int, ...],
    embeddings: str | None,
    checkpoint: str | None,
    dpi: int,
) -> None:
    """Draw the loss curves of runs; or of one run statistics, or attention or embedding maps; or a sweep.

    \b
    Example: motegpt plot runs/a runs/b --out losses.svg
             motegpt plot runs/a --attention emma
             motegpt plot runs/a --embeddings
             motegpt plot sweeps/lr --x lr --by n_embd --form map
    """
    from motegpt.plots.canvas import check_out, drawing, save
    from motegpt.views.runs import Run

    if is_sweep(runs[0]):
        _check_sweep(runs, smooth, statistic, attention, layers, heads, embeddings, checkpoint)
        path = Path(out or f"{Path(runs[0]).absolute().name}-{form or FORMS[0]}.png")
        with drawing():  # reports a missing library before anything is read
            from motegpt.plots.sweeps.figure import sweep_figure
            from motegpt.sweeps.results import Results

            figure = sweep_figure(Results.read(runs[0]), form or FORMS[0], x, by, measure)
            save(figure, path, overwrite, dpi)
        with discard_if_closed():
            click.echo(path)
        return
    along = _along(x, by, form, measure)
    kinds = {"embeddings": embeddings, "attention": attention, "statistic": statistic}
    kind = next((kind for kind, value in kinds.items() if value is not None), "loss")
    if statistic is not None and kind != "statistic":
        raise UsageError(f"plot: expected --statistic or --{kind}, got both")
    _check(kind, runs, attention, layers, heads, smooth, along)
    if kind in ("loss", "statistic") and checkpoint is not None:
        raise UsageError("plot: --checkpoint belongs to --attention and --embeddings")
    found = [Run.read(path, checkpoint) for path in runs]
    path = Path(out or default_name([run.name for run in found], kind, kinds.get(kind) or ""))
    check_out(path, overwrite)
    with drawing():  # reports a missing library before anything is computed
        if kind == "loss":
            figure = _losses(found, smooth, along, baselines)
        elif statistic is not None:
            from motegpt.plots.statistics import statistic_figure

            figure = statistic_figure(found[0], statistic, along)
        else:
            figure = _model_figure(found[0], attention, layers, heads, embeddings)
        save(figure, path, overwrite, dpi)
    with discard_if_closed():
        click.echo(path)


def _along(x: str | None, by: str | None, form: str | None, measure: str | None) -> Literal["step", "tokens"]:
    """The horizontal axis of loss curves; UsageError for options of sweeps."""
    if (by, form, measure) != (None, None, None):
        raise UsageError("plot: --by, --form and --measure belong to sweeps")
    if x == "tokens":
        return "tokens"
    if x in (None, "step"):
        return "step"
    raise UsageError(f"x: expected step or tokens for runs, got {shortened(x)}")


def _check_sweep(runs: tuple[str, ...], *of_runs: object) -> None:
    """UsageError for several sweeps, or for options that only runs have."""
    if len(runs) > 1:
        raise UsageError(f"plot: expected one sweep, got {len(runs)} paths")
    if any(value not in (None, ()) for value in of_runs):
        raise UsageError("plot: expected --x, --by, --form and --measure for a sweep, got options of runs")


def default_name(names: list[str], kind: str, text: str) -> str:
    """names-loss.png, names-attention-emma.png"""
    words = [names[0], *(["and-others"] if len(names) > 1 else []), kind]
    slug = "".join(c if c.isalnum() else "_" for c in text.removeprefix(VOCABULARY))[:MAX_SLUG]
    return "-".join([*words, slug] if slug else words) + ".png"


def _check(
    kind: str,
    runs: tuple[str, ...],
    attention: str | None,
    layers: tuple[int, ...],
    heads: tuple[int, ...],
    smooth: int | None,
    along: str,
) -> None:
    """UsageError for options that exclude each other."""
    if attention is not None and kind != "attention":
        raise UsageError("plot: expected --attention or --embeddings, got both")
    if kind != "loss" and len(runs) > 1:
        raise UsageError(f"plot: expected one run for --{kind}, got {len(runs)}")
    is_curve = kind in ("loss", "statistic")
    if (smooth is not None and kind != "loss") or (along != "step" and not is_curve):
        raise UsageError(f"plot: --smooth and --x belong to loss curves, not to --{kind}")
    if kind != "attention" and (layers or heads):
        raise UsageError("plot: --layer and --head belong to --attention")


def _losses(
    runs: list[Run], smooth: int | None, along: Literal["step", "tokens"], with_baselines: bool
) -> Figure:
    from motegpt.plots.curves import curves_of, loss_figure
    from motegpt.views.baselines import common_baselines

    curves_of(runs, smooth, along)  # reports a run without losses before anything is said about baselines
    baselines = {}
    if with_baselines:
        try:
            baselines = common_baselines(runs)
        except DataError as error:
            log(f"drawn without baselines: {error}")
    return loss_figure(runs, baselines=baselines, window=smooth, along=along)


def _model_figure(
    run: Run,
    attention: str | None,
    layers: tuple[int, ...],
    heads: tuple[int, ...],
    embeddings: str | None,
) -> Figure:
    if attention is not None:
        from motegpt.plots.attention import attention_figure

        return attention_figure(run, attention, layers, heads)
    from motegpt.plots.embeddings import text_figure, vocabulary_figure

    return vocabulary_figure(run) if embeddings in (None, VOCABULARY) else text_figure(run, embeddings)
