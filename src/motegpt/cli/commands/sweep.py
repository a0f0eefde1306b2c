"""motegpt sweep"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from motegpt.cli.console import is_quiet, log, print_result
from motegpt.cli.options import FILE, RUN, json_option
from motegpt.cli.streams import discard_if_closed
from motegpt.config.arguments import path_of
from motegpt.config.text import counted
from motegpt.errors import INTERRUPTED, RunFolderError, UsageError
from motegpt.system.interrupts import DeferredSignals, handled_signals
from motegpt.system.terminals import is_live

if TYPE_CHECKING:
    from motegpt.sweeps.run import Sweep
    from motegpt.sweeps.status import Status

# Between lines where no line can be redrawn: at least so many seconds, and this share of the time so far.
LOG_SECONDS, SLOWER = 10.0, 0.1
MAX_REASONS = 5
BEST = 5  # points of the summary
Facts = dict[str, Any]


@click.command()
@click.argument("table", metavar="SWEEP.toml", type=FILE)
@click.option("--out", type=RUN, metavar="SWEEP", help="Folder to keep the rows in; one of before continues.")
@click.option("--dry-run", is_flag=True, help="Count the trainings, and do none.")
@click.option("--threads", type=int, metavar="N", help="Train in N threads.  [one per processor]")
@click.option("--processes", type=int, metavar="N", help="Train in N processes instead.")
@click.option("--dask", metavar="ADDRESS", help="Train on the workers of a Dask scheduler instead.")
@click.option("--part", metavar="K/N", help="Run the K-th of N parts, each with a file of its own.")
@click.option("--retry-failed", is_flag=True, help="Train again where a row is failed or lost.")
@click.option("--curves", is_flag=True, help="Keep the logged steps too.")
@click.option("--keep", type=click.Choice(["best", "all"]), help="Keep the best model, or all, to load.")
@json_option
def command(
    table: str,
    out: str | None,
    dry_run: bool,
    threads: int | None,
    processes: int | None,
    dask: str | None,
    part: str | None,
    retry_failed: bool,
    curves: bool,
    keep: str | None,
    as_json: bool,
) -> int:
    """Train a model at each point of a table of settings, and keep a row for each.

    The same command continues a sweep that ended early, or runs what its table has more.

    \b
    Example: motegpt sweep sweep.toml --out sweeps/lr
             motegpt show sweeps/lr
    """
    from motegpt.sweeps.executors import pool_maker
    from motegpt.sweeps.results import Results
    from motegpt.sweeps.run import Sweep
    from motegpt.views.sweeps import sweep_facts, sweep_lines

    make_pool = pool_maker(threads, processes, dask)
    path = None if out is None else path_of("out", out, RunFolderError)
    found = Sweep.of(table, part=part, curves=curves, keep=keep)
    if dry_run:
        _show(_counted(found, path, retry_failed), _count_lines, as_json)
        return 0
    if path is None:
        raise UsageError("out: expected a folder to keep the rows in, got none; set `out`, or `dry_run=True`")
    display = Display()
    signals = DeferredSignals(handled_signals(), display.finish)
    run = found.run(path, make_pool, retry_failed, signals.__bool__)
    with signals, display, closing(run):
        for status in run:
            while found.notes:
                display.say(found.notes.pop(0))
            display.show(status)
    log(f"{found.status}; the rows are in {path}" + ("; the same command continues" if signals else ""))
    if signals:
        return INTERRUPTED
    _show(sweep_facts(Results.read(path), None, BEST), sweep_lines, as_json)
    return 0


def _show(facts: Facts, lines_of: Callable[[Facts], Iterable[str]], as_json: bool) -> None:
    """Print facts as JSON or as lines."""
    lines = [json.dumps(facts, indent=2)] if as_json else lines_of(facts)
    for line in lines:
        print_result(line)


class Display:
    """The status of a sweep on standard error: one line that is redrawn, or a line now and then."""

    def __init__(self) -> None:
        self._live = is_live(sys.stderr) and not is_quiet()
        self._began = self._shown = time.monotonic()
        self._width = 0

    def __enter__(self) -> Display:
        return self

    def __exit__(self, *ending: object) -> None:
        self._clear()

    def say(self, text: str) -> None:
        """A line that stays; it names settings as the table does, of which the command has no flags."""
        self._clear()
        log(text.replace("`", ""))

    def finish(self) -> None:
        """Say, from a signal handler, which must not raise, that what runs comes to an end."""
        with suppress(OSError, RuntimeError):  # RuntimeError: standard error is being written to
            below = "\n" if self._width else ""
            log(f"{below}finishing the trainings that run; interrupt again to stop at once")
        self._width = 0

    def show(self, status: Status) -> None:
        """Show the status, if it is time to."""
        now = time.monotonic()
        if self._live:
            text = str(status)[: shutil.get_terminal_size().columns - 1]
            with discard_if_closed("stderr"):
                click.echo(f"\r{text:{self._width}}", nl=False, err=True)
            self._width = len(text)
        elif now - self._shown > max(LOG_SECONDS, SLOWER * (now - self._began)):
            self._shown = now
            log(str(status))

    def _clear(self) -> None:
        if self._width:
            with discard_if_closed("stderr"):
                click.echo(f"\r{'':{self._width}}\r", nl=False, err=True)
            self._width = 0


def _counted(found: Sweep, out: Path | None, retry_failed: bool) -> Facts:
    """How many trainings there are, are refused and why, and are to run, and how long those take."""
    from motegpt.sweeps.estimate import Queue, why_refused
    from motegpt.sweeps.store import read_rows, recorded_in

    points = {key: point for key, point in found.points.items() if found.part.has(key)}
    rows = read_rows(out) if out is not None and recorded_in(out, found.recorded.digest) else {}
    rows = {key: row for key, row in rows.items() if key in points}
    again = found.again(out, rows, retry_failed)
    data = found.work.data()
    assert data is not None, "it has been read in this process"
    refused = {key: reason for key, point in points.items() if (reason := why_refused(point, data.found))}
    missing = [
        (key, point)
        for key, point in points.items()
        if key not in refused and (key not in rows or key in again)
    ]
    return {
        "trainings": len(points),
        "refused": dict(Counter(refused.values()).most_common()),
        "to_run": len(missing),
        "seconds_on_one_thread": Queue(missing).seconds,
    }


def _count_lines(facts: Facts) -> Iterator[str]:
    from motegpt.sweeps.status import about

    yield counted(facts["trainings"], "training")
    reasons = facts["refused"]
    for reason, count in list(reasons.items())[:MAX_REASONS]:
        yield f"  {count:,} refused: {reason}"
    if len(reasons) > MAX_REASONS:
        yield f"  {sum(reasons.values()):,} refused in all, for {len(reasons):,} reasons"
    yield f"  {facts['to_run']:,} to run, {about(facts['seconds_on_one_thread'])} on one thread"
