"""Loss curves of one or several runs, validation and baselines beside them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from motegpt.errors import RunFolderError, UsageError
from motegpt.model.spec import parameter_count
from motegpt.plots.canvas import GRID, INK, drawing, head, new_figure, printable
from motegpt.views.runs import MOST_NAMED, Run, differing_settings, labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 8.4, 5.0  # inches
LABEL_SIZE = 8.5  # points
LABEL_LINE = 1.3 * LABEL_SIZE
LEGEND_LINE = 0.2  # inches
AXES = 0.74  # about how much of the height of a picture its axes have
# Okabe and Ito's palette, ordered so that neighbours differ in lightness; beyond it the dashes change.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#000000")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.6)), (0, (5, 1.4, 1, 1.4)), (0, (2, 1)))
BASELINE_DASH = (0, (1, 1.6))
MOST_DIRECT = 8  # runs whose labels stand at the ends of their curves; more go into a legend
MOST_RUNS = len(COLOURS) * len(DASHES)
WINDOWS = 10  # without --smooth a mean covers one part in so many of the records
START = 0.05  # this part of the records does not decide how high the picture reaches
NOISE = 0.1  # nor does so large a part of the single losses at either end
SPARSE = 30  # fewer records than this are marked, one by one


@dataclass(frozen=True)
class Label:
    """A text at the right edge for a line that ends at x and y (nats).

    outside: the line itself is above or below the picture.
    """

    x: float
    y: float
    text: str
    colour: str
    outside: bool = False


@dataclass(frozen=True)
class Curve:
    """What is drawn of a run: its losses, their running means, and its validation losses, in nats a token."""

    run: Run
    label: str
    x: list[float]
    losses: list[float]
    means: list[float]
    val_x: list[float]
    val_losses: list[float]


def default_window(count: int) -> int:
    """How many records a running mean covers if nobody says."""
    return max(1, round(count / WINDOWS))


def running_means(values: Sequence[float], window: int) -> list[float]:
    """The mean of the `window` values around each, of fewer at the end.

    At the start, where losses fall fast, the window grows on both sides alike.

    >>> running_means([10, 4, 1, 1, 4], 3)
    [10.0, 5.0, 2.0, 2.0, 2.5]
    """
    if window == 1:
        return list(values)
    before, after = (window - 1) // 2, window // 2
    sums = [0.0]
    for value in values:
        sums.append(sums[-1] + value)
    count = len(values)
    ends = [
        (max(0, i - before), min(count, i + after + 1, 2 * i + 1 if i < before else count))
        for i in range(count)
    ]
    return [(sums[end] - sums[start]) / (end - start) for start, end in ends]


def curves_of(runs: Sequence[Run], window: int | None, along: str) -> list[Curve]:
    """The curves of some runs; RunFolderError for one without any loss."""
    if len(runs) > MOST_RUNS:
        raise UsageError(f"plot: expected at most {MOST_RUNS} runs in a picture, got {len(runs)}")
    curves = []
    for run, label in zip(runs, labels(runs), strict=True):
        x, losses = run.losses(along)
        val_x, val_losses = run.series("val_loss", along=along)
        if not x and not val_x:
            raise RunFolderError(f"{run.path}: has no losses to draw; its metrics.jsonl is missing or empty")
        means = running_means(losses, window or default_window(len(losses)))
        curves.append(Curve(run, label, x, losses, means, val_x, val_losses))
    return curves


@drawing()
def loss_figure(
    runs: Sequence[Run],
    *,
    baselines: Mapping[str, float] | None = None,
    window: int | None = None,
    along: Literal["step", "tokens"] = "step",
) -> Figure:
    """Losses along steps or tokens. baselines: nats a token by name; window: records a mean covers."""
    curves, known = curves_of(runs, window, along), dict(baselines or {})
    direct = len(runs) <= MOST_DIRECT
    figure = new_figure(WIDTH, HEIGHT + (0 if direct else LEGEND_LINE * math.ceil(len(runs) / 3)))
    axes = figure.add_subplot()
    judged = all(curve.val_x for curve in curves)
    ends = [label for i, curve in enumerate(curves) for label in _draw(axes, curve, i, len(runs), judged)]
    low, high = y_range(curves, known)
    first, last = min(min(c.x + c.val_x) for c in curves), max(max(c.x + c.val_x) for c in curves)
    _frame(axes, along, low, high, bits_of(runs))
    lines = [_baseline(axes, name, y, first, last) for name, y in known.items()]
    _label_ends(axes, lines + (ends if direct else []), first, last)
    if not direct:
        figure.legend(loc="outside lower left", ncols=3, frameon=False, fontsize=LABEL_SIZE, handlelength=3)
    head(figure, _title(runs), _remark(curves, window))
    return figure


def y_range(curves: Sequence[Curve], baselines: Mapping[str, float]) -> tuple[float, float]:
    """From the lowest to the highest loss after the first steps; baselines near it count too."""
    settled = []
    for curve in curves:
        for values in (curve.means, curve.val_losses):
            settled += values[min(math.ceil(START * len(values)), len(values) - 1) if values else 0 :]
        tail = sorted(curve.losses[math.ceil(START * len(curve.losses)) :])
        noisy = int(NOISE * len(tail))
        settled += tail[noisy : len(tail) - noisy]
    low, high = min(settled), max(settled)
    reach = max(0.3 * (high - low), 0.2)
    near = [y for y in baselines.values() if low - reach <= y <= high + reach]
    low, high = min([low, *near]), max([high, *near])
    line = LABEL_LINE / (AXES * HEIGHT * 72) * (high - low)  # nats that a label takes
    above, below = (sum(y > high for y in baselines.values()), sum(y < low for y in baselines.values()))
    margin = 0.05 * (high - low) or 0.1
    low, bottom = low - margin - below * line, 0.0 if low >= 0 else -math.inf
    return max(low, bottom), high + margin + above * line


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Heights at least `gap` apart from low to high, in the same order, as near to the wanted as can be.

    wanted: ascending. Where two are too near, their block shares the mean of what its members want; that is
    the least sum of squared moves.

    >>> spread([1.0, 1.0, 5.0], 1.0, 0.0, 10.0)
    [0.5, 1.5, 5.0]
    """
    blocks: list[tuple[float, int]] = []  # sum of wanted - i * gap, and how many
    for i, y in enumerate(wanted):
        total, count = y - i * gap, 1
        while blocks and blocks[-1][0] / blocks[-1][1] >= total / count:
            total, count = total + blocks[-1][0], count + blocks[-1][1]
            blocks.pop()
        blocks.append((total, count))
    flat = [total / count for total, count in blocks for _ in range(count)]
    highest = high - gap * (len(wanted) - 1)
    return [min(max(y, low), highest) + i * gap for i, y in enumerate(flat)]


def _draw(axes: Axes, curve: Curve, i: int, count: int, judged: bool) -> list[Label]:
    """The lines of run i of `count`; returns the labels of their ends.

    Of several runs each has one label: at its validation loss if all are judged, else at its training loss.
    """
    alone, direct = count == 1, count <= MOST_DIRECT
    colour = COLOURS[i % len(COLOURS)]
    dash = DASHES[i // len(COLOURS) if direct else i % len(DASHES)]
    name = printable(curve.label)
    ends = []
    if curve.x:
        if direct and curve.means != curve.losses:
            axes.plot(curve.x, curve.losses, color=colour, alpha=0.3 / count**0.5, linewidth=0.6, zorder=1.5)
        axes.plot(
            curve.x, curve.means, color=colour, linestyle=dash, linewidth=1.9, zorder=3, label=name,
            marker="o" if len(curve.x) < SPARSE else None, markersize=3.5,
        )  # fmt: skip
        if alone or not judged:
            ends.append(Label(curve.x[-1], curve.means[-1], "training" if alone else name, colour))
    if curve.val_x:
        axes.plot(
            curve.val_x, curve.val_losses, color=colour, linestyle=dash, linewidth=0.9, zorder=4, marker="o",
            markersize=4.5, markerfacecolor="white", markeredgewidth=1.2, label=None if curve.x else name,
        )  # fmt: skip
        if alone or judged or not curve.x:
            end = "validation" if alone else name
            ends.append(Label(curve.val_x[-1], curve.val_losses[-1], end, colour))
    return ends


def _baseline(axes: Axes, name: str, y: float, first: float, last: float) -> Label:
    """A dotted line, if it lies in the picture; returns its label."""
    low, high = axes.get_ylim()
    if low <= y <= high:
        axes.plot([first, last], [y, y], linestyle=BASELINE_DASH, color=INK, linewidth=1, zorder=2)
        return Label(last, y, name, INK)
    return Label(last, y, f"{'↑' if y > high else '↓'} {name}", INK, outside=True)


def bits_of(runs: Sequence[Run]) -> str:
    """What a loss over ln 2 counts: a document's end is a character, or a byte, like any other."""
    units = {run.tokenizer.unit for run in runs}
    return f"bits per {units.pop() if len(units) == 1 else 'token'}"


def _frame(axes: Axes, along: str, low: float, high: float, unit: str) -> None:
    """Limits, titles with units, and the same loss in bits, `unit`, on the right."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.set_ylim(low, high)
    axes.set_xlabel("step" if along == "step" else "tokens learned from")
    axes.set_ylabel("loss (nats a token)")
    axes.grid(color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    bits = axes.secondary_yaxis("right", functions=(_bits, _nats))
    bits.set_ylabel(unit)
    bits.spines["right"].set_visible(True)


def _bits(nats: Any) -> Any:
    return nats / math.log(2)


def _nats(bits: Any) -> Any:
    return bits * math.log(2)


def _label_ends(axes: Axes, marks: list[Label], first: float, last: float) -> None:
    """Texts right of the last step, each at its height or as near as the others leave room."""
    width, height = 72 * WIDTH * 0.8, 72 * HEIGHT * AXES  # of the axes, points; about
    longest = max((len(mark.text) + 5 for mark in marks), default=0)
    strip = min(0.45, (0.62 * LABEL_SIZE * longest + 22) / width) if marks else 0.02
    span = (last - first) or max(abs(last), 1.0)
    axes.set_xlim(first - 0.015 * span, last + span * strip / (1 - strip))
    axes.set_xticks([x for x in axes.get_xticks() if first - 0.015 * span <= x <= last + 0.001 * span])
    low, high = axes.get_ylim()
    gap = LABEL_LINE / height * (high - low)
    marks = sorted(marks, key=lambda mark: mark.y)
    heights = spread([mark.y for mark in marks], gap, low + gap / 2, high - gap / 2)
    for mark, y in zip(marks, heights, strict=True):
        text = f"{mark.text} {mark.y:.2f}"
        bold = "normal" if mark.colour == INK else "bold"
        style: dict[str, Any] = {"fontsize": LABEL_SIZE, "color": mark.colour, "va": "center", "weight": bold}
        x = last + span * 0.03
        if mark.outside:
            axes.text(x, y, text, **style)
            continue
        leader: dict[str, Any] = {
            "arrowstyle": "-",
            "color": mark.colour,
            "linewidth": 0.8,
            "linestyle": (0, (1, 3)),  # no curve goes there
            "shrinkA": 0,
            "shrinkB": 2,
        }
        axes.annotate(text, (mark.x, mark.y), (x, y), annotation_clip=False, arrowprops=leader, **style)


def shortened_list(names: Sequence[str]) -> str:
    """The first of some names, each once.

    >>> shortened_list(["a", "b", "a", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    names = list(dict.fromkeys(names))
    rest = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _title(runs: Sequence[Run]) -> str:
    if len(runs) == 1:
        return f"{runs[0].name}: loss"
    differing = differing_settings(runs)
    if not differing:
        return f"Loss of {len(runs)} runs with the same settings"
    return f"Loss of {len(runs)} runs that differ in {shortened_list(differing)}"


def _remark(curves: Sequence[Curve], window: int | None) -> str:
    """What was trained on what, and what the lines are."""
    run, parts = curves[0].run, []
    if len(curves) == 1:
        model = run.config.model
        layers = "1 layer" if model.n_layer == 1 else f"{model.n_layer} layers"
        parts += [f"{parameter_count(model):,} parameters, {layers}, n_embd {model.n_embd}"]
    if len({(c.run.data, c.run.config.source.sha256) for c in curves}) == 1:
        parts.append(f"{run.data}, {run.config.source.documents:,} documents")
    else:
        parts.append(f"data: {shortened_list([curve.run.data for curve in curves])}")
    windows = sorted({window or default_window(len(curve.losses)) for curve in curves})
    if windows[-1] > 1:
        count = str(windows[0]) if len(windows) == 1 else f"{windows[0]} to {windows[-1]}"
        lines = "thick: mean" if len(curves) <= MOST_DIRECT else "means"
        parts.append(f"{lines} of {count} records")
    if any(curve.val_x for curve in curves):
        labelled = 1 < len(curves) <= MOST_DIRECT and all(curve.val_x for curve in curves)
        parts.append(f"circles{' and labels' * labelled}: validation")
    return " · ".join(parts)
