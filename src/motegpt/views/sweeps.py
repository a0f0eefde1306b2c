"""A sweep as text: counts, the best points, what failed; its rows as CSV."""

from __future__ import annotations

import csv
import re
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from motegpt.config.text import counted
from motegpt.sweeps.models import best_first, models_in
from motegpt.sweeps.results import Cell, Quartiles, Results
from motegpt.sweeps.status import duration
from motegpt.training.many import OK, SERIES
from motegpt.views.text import setting_text

if TYPE_CHECKING:
    from motegpt.sweeps.store import Row

WIDTH = 110  # columns of a reason
LABEL = 14  # columns of the labels on the left
MAX_FAILURES = 8  # kinds of failures that are listed
NUMBER = re.compile(r"\d[\d.,e+-]*")
FIRST = ("key", "status", "reason", "attempts")  # the first columns of the CSV


def sweep_facts(results: Results, measure: str | None, best: int) -> dict[str, Any]:
    """The facts of a sweep as JSON has them. best: the number of best points."""
    chosen = results.checked_measure(measure) if results.counts[OK] else measure or results.measure
    rows = list(results.rows.values())
    return {
        "sweep": str(results.folder),
        "name": results.name,
        "data": results.recorded.data,
        "trainings": len(results.points),
        "ended": len(rows),
        "statuses": dict(sorted(results.counts.items())),
        "seconds": sum(row.get("seconds") or 0.0 for row in rows),
        "hosts": sorted({row["host"] for row in rows if "host" in row}),
        "varied": {name: _values(results, name) for name in [*results.table.varied, *results.table.repeat]},
        "measure": chosen,
        "best": [_best(results, cell) for cell in results.best(chosen)[:best]],
        "failures": _failures(results),
        "models": _models(results),
    }


def _models(results: Results) -> dict[str, Any]:
    """The models that were kept: their number, their folders, and the file of the best row if it has one.

    best_row: its key; step: whose parameters the best model has.
    """
    files = models_in(results.folder)
    ranked = best_first(results.rows.values()) if files else []
    kept = [files[row["key"]] for row in ranked if row["key"] in files]
    best = ranked[0] if ranked else {}
    file = files.get(best.get("key", ""))
    return {
        "count": len(kept),
        "folders": sorted({str(path.parent) for path in kept}),
        "best_row": best.get("key"),
        "best": None if file is None else str(file),
        "step": None if file is None else best["best_step"] or best["steps_done"],
    }


def _values(results: Results, name: str) -> list[Any]:
    """The values of a setting, in order."""
    return [cell.values[0] for cell in results.cells([name], results.measure)]


def _best(results: Results, cell: Cell) -> dict[str, Any]:
    """One of the best points. rows, ok: of all its repeats, and of those that are ok."""
    low, middle, high = Quartiles.of(cell.measured)
    settings = dict(zip(results.table.varied, cell.values, strict=True))
    counts = {"rows": len(cell.rows), "ok": len(cell.measured)}
    return {"settings": settings, "median": middle, "quartiles": [low, high], **counts}


def _failures(results: Results) -> list[dict[str, Any]]:
    """The reasons of rows that are not ok, the most frequent first; of those that differ in numbers, one."""
    counts, examples = Counter[tuple[str, str]](), dict[tuple[str, str], str]()
    for row in results.rows.values():
        if row["status"] != OK:
            reason = str(row.get("reason") or "")
            alike = row["status"], NUMBER.sub("", reason)
            counts[alike] += 1
            examples.setdefault(alike, reason)
    return [{"status": k[0], "rows": count, "example": examples[k]} for k, count in counts.most_common()]


def sweep_lines(facts: dict[str, Any]) -> Iterator[str]:
    """The facts as lines."""
    statuses = ", ".join(f"{count:,} {status}" for status, count in facts["statuses"].items()) or "none ended"
    missing = facts["trainings"] - facts["ended"]
    left = f", {missing:,} to run" if missing else ""
    yield f"{facts['name']}: {counted(facts['trainings'], 'training')}, {statuses}{left}"
    yield f"  {'data':{LABEL}}{facts['data']}"
    for name, values in facts["varied"].items():
        yield f"  {name:{LABEL}}{_span(values)}"
    if facts["ended"]:
        each = facts["seconds"] / facts["ended"]
        hosts = f" on {', '.join(facts['hosts'])}" if facts["hosts"] else ""
        yield f"  {'time':{LABEL}}{duration(facts['seconds'])} of training, {1000 * each:,.0f} ms each{hosts}"
    yield from _models_lines(facts["models"])
    if facts["best"]:
        yield f"best by {facts['measure']}, median (quartiles)"
        yield from _table(facts["best"], facts["measure"])
    for failure in facts["failures"][:MAX_FAILURES]:
        several = "for example " if failure["rows"] > 1 else ""
        line = f"{failure['rows']:,} {failure['status']}: {several}{failure['example']}"
        yield from textwrap.wrap(line, WIDTH, subsequent_indent="  ", break_on_hyphens=False)
    if len(facts["failures"]) > MAX_FAILURES:
        yield f"{counted(len(facts['failures']) - MAX_FAILURES, 'more reason')}; --csv lists all rows"


def _models_lines(models: dict[str, Any]) -> Iterator[str]:
    """Where the kept models are."""
    if models["count"] > 1 or (models["count"] and not models["best"]):
        yield f"  {'models':{LABEL}}{models['count']:,} in {' and '.join(models['folders'])}"
    if models["best"]:
        yield f"  {'best model':{LABEL}}{models['best']}, parameters of step {models['step']:,}"
    elif models["count"]:
        none = f"none of the best row, {models['best_row']}; --keep best trains it again"
        yield f"  {'best model':{LABEL}}{none}"


def _span(values: Sequence[Any]) -> str:
    """8, 16, 32 or 0.001 … 0.1 (7 values)"""
    texts = list(map(setting_text, values))
    return ", ".join(texts) if len(texts) <= 6 else f"{texts[0]} … {texts[-1]} ({len(texts):,} values)"


def _table(best: Sequence[dict[str, Any]], measure: str) -> Iterator[str]:
    """A line per point, in columns."""
    names = list(best[0]["settings"])
    lines = [[*names, measure, ""]]
    for one in best:
        low, high = one["quartiles"]
        of = f"({low:.4f} … {high:.4f}) {one['ok']} of {one['rows']} ok" if one["rows"] > 1 else ""
        lines.append([*(setting_text(one["settings"][name]) for name in names), f"{one['median']:.4f}", of])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        yield "  " + "  ".join(f"{text:<{width}}" for text, width in zip(line, widths, strict=True)).rstrip()


def write_csv(rows: Sequence[Row], file: TextIO) -> None:
    """All rows without curves, as a table for spreadsheets; a list is a text, what is not known is empty."""
    names = list(dict.fromkeys([*FIRST, *(name for row in rows for name in row if name not in SERIES)]))
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow([row.get(name) for name in names])
