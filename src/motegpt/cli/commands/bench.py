"""motegpt bench"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import click

from motegpt.cli.options import FILE, engine_option, given_settings, json_option, named_flags
from motegpt.engines import ENGINES, check_settings, why_unavailable
from motegpt.errors import UsageError
from motegpt.views.text import short_number

TORCH_SETTINGS = ("device", "autocast", "tf32", "compile", "accumulate", "checkpoint_activations")
Show = Callable[[str], object]  # prints a line, or with --json discards it
OURS = f"{sys.executable} -m motegpt train"


@click.command()
@engine_option("all", multiple=True)
@click.option("--work", "works", metavar="WORK", multiple=True, help="Workload to time.  [all]")
@click.option("--list", "listing", is_flag=True, help="List the workloads.")
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float64"]),
    default="float32",
    show_default=True,
    help="Precision of the arithmetic.",
)
@named_flags(TORCH_SETTINGS)
@click.option("--runs", type=click.IntRange(min=1), default=5, show_default=True, help="Timed runs.")
@click.option("--data", type=FILE, metavar="FILE", help="Training data.  [built-in names]")
@click.option("--peer", metavar="NAME=COMMAND", help="Compare two commands instead; theirs.")
@click.option("--ours", metavar="COMMAND", default=OURS, help="With --peer: our command.  [motegpt train]")
@json_option
def command(
    engines: tuple[str, ...],
    works: tuple[str, ...],
    listing: bool,
    dtype: str,
    runs: int,
    data: str | None,
    peer: str | None,
    ours: str,
    as_json: bool,
    **flags: Any,
) -> int:
    """Time every installed engine, after verifying its gradients against the array engine.

    Example: motegpt bench --engine native --work microgpt
    """
    from motegpt.bench.machine import describe
    from motegpt.bench.work import WORKLOADS
    from motegpt.data.corpus import read_corpus

    unknown = set(works) - set(WORKLOADS)
    if unknown:
        raise UsageError(f"work: expected one of {', '.join(WORKLOADS)}, got {', '.join(sorted(unknown))}")
    if listing:
        for name, workload in WORKLOADS.items():
            click.echo(f"{name:10} {workload.name}")
        return 0
    settings = given_settings(flags)
    for engine in engines or tuple(name for name in ENGINES if why_unavailable(name) is None):
        check_settings(engine, settings)
    read_corpus(data)  # reports errors in the data before anything is measured
    show: Show = (lambda line: None) if as_json else click.echo
    machine = describe()
    for key, value in machine.items():
        show(f"{key:>10}: {value}")
    if peer is not None:
        result = {"peer": _compare(peer, ours, runs, show)}
    else:
        result = _measure_all(engines, works or tuple(WORKLOADS), dtype, data, runs, settings, show)
    if as_json:
        click.echo(json.dumps({"machine": machine, **result}, indent=2))
    return int(any("error" in row for row in result.get("rows", [])))


def _measure_all(
    engines: tuple[str, ...],
    works: tuple[str, ...],
    dtype: str,
    data: str | None,
    runs: int,
    settings: dict[str, Any],
    show: Show,
) -> dict[str, Any]:
    """Measure and show every row of the table; returns the results as JSON values."""
    from motegpt.bench.machine import matrix_peak
    from motegpt.bench.measure import measure
    from motegpt.bench.work import WORKLOADS

    peak = matrix_peak(dtype)
    show(f"{'peak':>10}: {peak / 1e9:.0f} GFLOP/s in a {dtype} matrix product on one core\n")
    show(f"{'work':28} {'engine':7} {'µs/step (low-high)':>24} {'µs/doc':>7} {'peak':>5}")
    show(f"{'':28} {'':7} {'tokens/s trained':>17} {'generated':>10} {'added MB':>9}")
    rows = []
    for work in works:
        for engine in engines or tuple(ENGINES):
            if engine == "scalar" and (WORKLOADS[work].settings and not engines):
                continue  # takes minutes per step; measured only if named
            precision = "float64" if engine == "scalar" else dtype
            row = measure(work, engine, precision, data, runs, settings)
            rows.append({"work": work, "engine": engine, "dtype": precision, **row})
            for line in _row_lines(WORKLOADS[work].name, engine, row, peak):
                show(line)
    return {"dtype": dtype, "matrix_peak": peak, "rows": rows}


def _row_lines(work: str, engine: str, row: dict[str, Any], peak: float) -> Iterator[str]:
    """The lines of a row. peak: operations/s of one core, used if the engine's peak is not known."""
    if "error" in row:
        yield f"{work:28} {engine:7} {row['error']}"
        return
    step, generated = row["step_seconds"], row["generated_per_second"]["median"]
    median = step["median"]
    low, middle, high = (short_number(step[name] * 1e6) for name in ("low", "median", "high"))
    share = row["operations"] / median / (row["peak"] or peak)
    per_document = short_number(median * 1e6 / row["documents"])
    yield f"{work:28} {engine:7} {f'{middle} ({low}-{high})':>24} {per_document:>7} {share:5.0%}"
    trained, added = short_number(row["tokens"] / median), row["added_bytes"] / 1e6
    yield f"{'':28} {'':7} {trained:>17} {short_number(generated):>10} {added:9.1f}"


def _compare(peer: str, ours: str, runs: int, show: Show) -> dict[str, Any]:
    """Run two commands alternately; their seconds and the ratio theirs / ours, as JSON values.

    peer: NAME=COMMAND; otherwise raises UsageError.
    """
    from dataclasses import asdict

    from motegpt.bench.measure import compare_commands

    name, equals, theirs = peer.partition("=")
    if not equals or not theirs:
        raise UsageError(f"peer: expected NAME=COMMAND, got {peer!r}")
    mine, other, ratio = compare_commands(ours, theirs, runs)
    for label, figure in (("ours", mine), (name, other)):
        show(f"{label:>10}: {figure.median:.3f} s ({figure.low:.3f}-{figure.high:.3f})")
    show(f"{'ratio':>10}: {ratio.median:.2f} ({ratio.low:.2f}-{ratio.high:.2f}), theirs / ours")
    return {"name": name, "ours": asdict(mine), "theirs": asdict(other), "ratio": asdict(ratio)}
