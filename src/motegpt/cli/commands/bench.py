"""motegpt bench"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click

from motegpt.cli.options import FILE, engine_option, given_settings, json_option, named_flags
from motegpt.engines import ENGINES, check_settings, why_unavailable
from motegpt.errors import UsageError
from motegpt.views.text import short_number

SETTINGS = ("level", "device", "autocast", "tf32", "compile", "accumulate", "checkpoint_activations")
DTYPES = ("float32", "float64")
Show = Callable[[str], object]  # prints a line, or with --json discards it
OURS = f"{sys.executable} -m motegpt train"


@click.command()
@engine_option("all", multiple=True)
@click.option("--work", "works", metavar="WORK", multiple=True, help="Workload to time.  [all]")
@click.option("--list", "listing", is_flag=True, help="List the workloads.")
@click.option(
    "--dtype",
    type=click.Choice(DTYPES),
    help="Precision of the arithmetic.  [that of a training]",
)
@named_flags(SETTINGS)
@click.option("--runs", type=click.IntRange(min=1), default=5, show_default=True, help="Timed runs.")
@click.option("--data", type=FILE, metavar="FILE", help="Training data.  [built-in names]")
@click.option("--peer", metavar="NAME=COMMAND", help="Compare two commands instead; theirs.")
@click.option("--ours", metavar="COMMAND", default=OURS, help="With --peer: our command.  [motegpt train]")
@json_option
def command(
    engines: tuple[str, ...],
    works: tuple[str, ...],
    listing: bool,
    dtype: str | None,
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
    dtype: str | None,
    data: str | None,
    runs: int,
    settings: dict[str, Any],
    show: Show,
) -> dict[str, Any]:
    """Measure and show every row of the table; returns the results as JSON values."""
    from motegpt.bench.machine import levels, multiply_add_peak
    from motegpt.bench.measure import measure
    from motegpt.bench.work import WORKLOADS

    peaks = {level: {name: multiply_add_peak(name, level) for name in DTYPES} for level in levels()}
    for level, by_dtype in peaks.items():
        speeds = ", ".join(f"{peak / 1e9:.0f} in {name}" for name, peak in by_dtype.items())
        show(f"{'peak':>10}: {speeds} GFLOP/s, {level}, one core")
    show(f"\n{'work':28} {'engine':7} {'bits':>4} {'µs/step (low-high)':>23} {'µs/doc':>7} {'peak':>4}")
    show(f"{'':28} {'':7} {'trained':>9} {'generated/s':>11} {'one text':>9} {'memory':>9}")
    rows = []
    for work in works:
        of_work = []
        for engine in engines or tuple(ENGINES):
            if engine == "scalar" and (WORKLOADS[work].settings and not engines):
                continue  # takes minutes per step; measured only if named
            precision = "float64" if engine == "scalar" else dtype
            row = {"work": work, "engine": engine, **measure(work, engine, precision, data, runs, settings)}
            of_work.append(row)
            for line in _row_lines(WORKLOADS[work].name, row):
                show(line)
        for line in _ratio_lines(of_work):
            show(line)
        rows += of_work
    return {"peaks": peaks, "rows": rows}


def _row_lines(work: str, row: dict[str, Any]) -> Iterator[str]:
    """The lines of a row."""
    heading = f"{work:28} {row['engine']:7}"
    if "error" in row:
        yield f"{heading} {row['error']}"
        return
    step, bits = row["step_seconds"], row["dtype"].removeprefix("float")
    low, middle, high = (short_number(step[name] * 1e6) for name in ("low", "median", "high"))
    share = "" if row["peak_share"] is None else f"{row['peak_share']:.{row['peak_share'] < 0.1:d}%}"
    per_document = short_number(step["median"] * 1e6 / row["documents"])
    yield f"{heading} {bits:>4} {f'{middle} ({low}-{high})':>23} {per_document:>7} {share:>4}"
    trained, generated = row["tokens"] / step["median"], row["generated_per_second"]["median"]
    single = f"{short_number(row['generate_one_seconds']['median'] * 1e6)} µs"
    added = f"{row['added_bytes'] / 1e6:.1f} MB"
    yield (f"{'':28} {'':7} {short_number(trained):>9} {short_number(generated):>11} {single:>9} {added:>9}")
    if row["busy"] is not None:
        yield f"{'':28} the machine was busy: {row['busy']}"


def _ratio_lines(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The times of a workload's engines as multiples of the shortest, where there are several."""
    times = {row["engine"]: row["step_seconds"]["median"] for row in rows if "error" not in row}
    if len(times) > 1:
        fastest = min(times, key=times.__getitem__)
        others = {name: time / times[fastest] for name, time in times.items() if name != fastest}
        ratios = (f"{name} {short_number(ratio)}" for name, ratio in others.items())
        yield f"{'':28} time / {fastest}: {', '.join(ratios)}"


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
