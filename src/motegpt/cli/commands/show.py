"""motegpt show"""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from motegpt.cli.console import escape_control_characters
from motegpt.cli.options import json_option, run_argument
from motegpt.config.text import visible
from motegpt.data.source import Source
from motegpt.errors import UsageError
from motegpt.views.text import clipped, setting_text

if TYPE_CHECKING:
    from motegpt.views.runs import Run

INDENT = 14  # columns of the labels on the left
MIN_WIDTH, MAX_WIDTH = 40, 120
NUMBERS = 18  # columns of the first and last loss beside a curve
MAX_FILES = 8
MAX_STEPS = 12  # of kept parameters
DIGITS = 12  # of a digest
NO_BREAK = "\xa0"


@click.command()
@run_argument
@click.option(
    "-n",
    "count",
    type=click.IntRange(0, 1000),
    default=5,
    show_default=True,
    help="Samples; of a sweep, best points.",
)
@json_option
@click.option("--measure", metavar="NAME", help="Of a sweep: what is best.  [val_loss, else loss]")
@click.option("--csv", "as_csv", is_flag=True, help="Of a sweep: print all rows as CSV.")
def command(run: str, count: int, as_json: bool, measure: str | None, as_csv: bool) -> None:
    """Describe the run in the folder RUN: settings, sizes, progress, losses, samples; or a sweep: how its
    trainings ended, the best points, what failed.

    Example: motegpt show runs/names
    """
    from motegpt.cli.summary import summary
    from motegpt.system.runs import is_sweep
    from motegpt.views.runs import Run

    if is_sweep(run):
        _show_sweep(run, count, as_json, measure, as_csv)
        return
    if measure is not None or as_csv:
        raise UsageError(f"show: expected a sweep for --measure and --csv, got {run}")
    found = Run.read(run)
    facts = summary(found, count)
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    width = min(MAX_WIDTH, max(MIN_WIDTH, shutil.get_terminal_size().columns))
    _print_lines(lines_of(found, facts, width, sys.stdout.encoding or "ascii"))


def _show_sweep(path: str, count: int, as_json: bool, measure: str | None, as_csv: bool) -> None:
    """Describe the sweep in a folder."""
    from motegpt.sweeps.results import Results
    from motegpt.views.sweeps import sweep_facts, sweep_lines, write_csv

    results = Results.read(path)
    if as_csv:
        if as_json:
            raise UsageError("show: expected --json or --csv, got both")
        write_csv(list(results.rows.values()), sys.stdout)
        return
    facts = sweep_facts(results, measure, count)
    if as_json:
        click.echo(json.dumps(facts, indent=2))
    else:
        _print_lines(escape_control_characters(line) for line in sweep_lines(facts))


def _print_lines(lines: Iterable[str]) -> None:
    """Print lines in the encoding of standard output."""
    encoding = sys.stdout.encoding or "ascii"
    for line in lines:
        click.echo(line.encode(encoding, "backslashreplace").decode(encoding))


def lines_of(run: Run, facts: dict[str, Any], width: int, encoding: str) -> Iterator[str]:
    """The facts as lines of at most `width` columns."""
    yield escape_control_characters(facts["run"])
    for name, text in _facts(facts, run.config.data.noun, 2 * (width - INDENT), encoding):
        yield from _paragraph(name, text, width)
    yield from _losses(run, facts, width, encoding)
    nearest, differing = facts["preset"]["nearest"], facts["preset"]["differing"]
    heading = "as in preset" if not differing else "* where they differ from preset"
    yield f"settings, {heading} {nearest}"
    for section, values in facts["settings"].items():
        named = [_setting(name, value, differing) for name, value in values.items()]
        yield from _paragraph(section, _list(sorted(named, key=lambda text: text[0] != "*")), width)
    yield from _samples(facts, width, encoding)


def _facts(facts: dict[str, Any], noun: str, columns: int, encoding: str) -> Iterator[tuple[str, str]]:
    """Label and text of the first facts. noun: of the data; columns: width of the list of characters."""
    source, vocabulary, files = Source.of(facts["source"]), facts["vocabulary"], facts["files"]
    yield "data", source.described(noun)
    if (base := facts["base"]) is not None:
        yield "base", _base(base)
    if source.is_imported:
        yield "progress", "parameters only, of an imported model; it can be fine-tuned, not resumed"
    else:
        yield "progress", _progress(facts["progress"])
    groups = _list(f"{name} {size:,}" for name, size in facts["parameters"]["groups"].items())
    yield "parameters", f"{facts['parameters']['total']:,}: {groups}"
    if (average := facts["average"]) is not None:
        weight, order = average["weight"], average["order"]
        n_grams = f"{average['n_grams']:,} Kneser-Ney n-grams of order {order}"
        yield "average", f"{weight:.2f} of {n_grams}, {1 - weight:.2f} of the GPT"
    kind = vocabulary["kind"]
    characters = clipped(visible(vocabulary["characters"], encoding), columns - 20).replace(" ", NO_BREAK)
    of = "" if kind == "characters" else f"{kind} of " if characters else kind
    yield (
        "vocabulary",
        f"{vocabulary['size']:,} ids, framing {vocabulary['framing']}, {of}{characters}",
    )
    listed = [f"{name} {_bytes(size)}" for name, size in files.items()]
    rest = [f"{len(files) - MAX_FILES} more"] if len(files) > MAX_FILES else []
    yield "on disk", f"{_bytes(sum(files.values()))}: {_list(listed[:MAX_FILES] + rest)}"
    yield "engine", f"{facts['engine']}, {facts['settings']['train']['dtype']}"


def _base(base: dict[str, Any]) -> str:
    """The model that was fine-tuned: runs/names, step 1,000 of 1,000, parameters 0123456789ab"""
    step = "" if base["step"] is None else f", step {base['step']:,} of {base['steps']:,}"
    return f"{base['path'] or 'a model in memory'}{step}, parameters {base['sha256'][:DIGITS]}"


def _progress(done: dict[str, Any]) -> str:
    """step 1,234 of 3,000, 8,901 tokens; stopped early"""
    if done["step"] is None:
        return f"parameters only, of a run of {done['steps']:,} steps; it cannot be resumed"
    tokens = "" if done["tokens"] is None else f", {done['tokens']:,} tokens"
    state = "finished" if done["finished"] else "stopped early, motegpt train --resume continues it"
    state = "ended by early stopping" if done["exhausted"] and not done["finished"] else state
    of_best = f" of the best, step {done['best']['step']:,}" if done["best"] else ""
    state = state if done["resumable"] else f"parameters only{of_best}, it cannot be resumed"
    kept = [("kept", done["kept"]), ("parameters of steps", done["parameters"])]
    listed = [f"{name}: {_list(_shortened(steps))}" for name, steps in kept if steps]
    return "; ".join([f"step {done['step']:,} of {done['steps']:,}{tokens}", state, *listed])


def _shortened(steps: Sequence[int]) -> list[str]:
    """Steps as texts; of many the first and the last."""
    texts = list(map(str, steps))
    return texts if len(texts) <= MAX_STEPS else [*texts[: MAX_STEPS - 2], "…", texts[-1]]


def _losses(run: Run, facts: dict[str, Any], width: int, encoding: str) -> Iterator[str]:
    """The curves on one scale of steps, with the last and the lowest loss."""
    from motegpt.views.runs import ACCURACY, TRAIN_ACCURACY
    from motegpt.views.sparkline import levels_for, sparkline

    series = {
        "loss": run.losses(),
        **{key: run.series(key) for key in ("val_loss", TRAIN_ACCURACY, ACCURACY)},
    }
    found = {key: (x, y) for key, (x, y) in series.items() if x}
    optimum = facts["source"]["optimum"]
    lowest = "" if optimum is None else f"; no model has less than {optimum:.4f}"
    yield f"loss, nats per token{lowest}" if found else "loss: none recorded"
    steps = [step for x, _ in found.values() for step in x]
    for key, (x, y) in found.items():
        if key == next((key for key in found if key in (TRAIN_ACCURACY, ACCURACY)), None):
            yield "accuracy, share of the targets"
        name = "validation" if key in ("val_loss", ACCURACY) else "training"
        columns = min(width - INDENT - NUMBERS, max(len(x) for x, _ in found.values()))
        curve = sparkline(x, y, columns, x_range=(min(steps), max(steps)), levels=levels_for(encoding))
        ends = facts[key]
        first, last, best = (ends[which]["loss"] for which in ("first", "last", "best"))
        yield f"  {name:{INDENT - 2}}{first:.4f} {curve:{columns}} {last:.4f}"
        steps_of = [f"{ends[which]['step']:,}" for which in ("last", "best")]
        yield from _paragraph(
            "", f"last {last:.4f} at step {steps_of[0]}, best {best:.4f} at step {steps_of[1]}", width
        )


def _samples(facts: dict[str, Any], width: int, encoding: str) -> Iterator[str]:
    samples, sample = facts["samples"], facts["settings"]["sample"]
    if samples["why_none"] is not None:
        yield from textwrap.wrap(escape_control_characters(f"samples: none, {samples['why_none']}"), width)
    elif samples["texts"]:
        best = facts["progress"]["best"]
        of = f" of the best, step {best['step']:,}" if best else ""
        yield f"samples{of}, seed {samples['seed']}, temperature {sample['temperature']:g}"
        yield from ("  " + clipped(visible(text, encoding), width - 2) for text in samples["texts"])


def _setting(name: str, value: Any, differing: dict[str, Any]) -> str:
    """n_layer 1, or *n_embd 32 (16) where the preset has 16."""
    text = f"{name} {setting_text(value)}"
    return f"*{text} ({setting_text(differing[name])})" if name in differing else text


def _list(items: Iterable[str]) -> str:
    """Items separated by commas; no item is split over two lines."""
    return ", ".join(item.replace(" ", NO_BREAK) for item in items)


def _paragraph(name: str, text: str, width: int) -> list[str]:
    """A label and a wrapped text beside it, with control characters escaped."""
    text = escape_control_characters(text.replace("\n", " "))
    lines = textwrap.wrap(
        text, width, initial_indent=f"  {name:{INDENT - 2}}", subsequent_indent=" " * INDENT,
        break_on_hyphens=False,
    )  # fmt: skip
    return [line.replace(NO_BREAK, " ") for line in lines]


def _bytes(count: int) -> str:
    """1,234,567 -> 1.2 MB"""
    for size, unit in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"
