"""Loss curves of one or several runs, with validation losses and baselines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from motegpt.config.text import counted
from motegpt.errors import RunFolderError, UsageError
from motegpt.model.spec import parameter_count
from motegpt.plots import accuracy
from motegpt.plots.canvas import GRID, INK, add_heading, drawing, new_figure, printable
from motegpt.views.runs import MAX_NAMED, SEED, RunView, differing_settings, identity_without_seed, labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 8.4, 5.0  # inches
LABEL_SIZE = 8.5  # points
LETTER, LABEL_LINE = 0.62 * LABEL_SIZE, 1.3 * LABEL_SIZE  # points: width of a letter, height of a line
AXES = 0.74  # about the share of the axes in the height of a figure; the share in the width is larger
LEGEND_LINE, COLUMNS = 0.2, 4  # inches; entries per line of the legend
# Okabe and Ito's palette, ordered so that neighbors differ in lightness; then the dashes change.
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#000000")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.6)), (0, (5, 1.4, 1, 1.4)), (0, (2, 1)))
BASELINES: tuple[Any, ...] = (
    (0, (1, 1.2)), (0, (1, 2.5)), (0, (3, 1.5)), (0, (6, 2)), (0, (6, 1.5, 1.2, 1.5)),
)  # fmt: skip
MAX_DIRECT = 3  # runs labeled at the ends of their curves; more runs are named in a legend
MAX_LEGEND = 12  # curves named in a legend; of more, the BEST are, and the others are pale
BEST, PALE_LINE = len(COLORS), "#c4c8cc"
MAX_RUNS = 400
WINDOWS = 10  # by default a running mean covers 1 / WINDOWS of the records
START = 0.05  # the vertical range ignores this fraction of the records at the start
NOISE = 0.1  # and this fraction of the highest and of the lowest single losses
BELOW_ZERO = 0.02  # of the highest loss: room for losses at zero, where no loss is below
SPARSE = 30  # curves with fewer records have markers


class End(NamedTuple):
    """The end of a curve: its last loss in nats, and its label."""

    x: float
    y: float
    text: str
    color: str


@dataclass(frozen=True)
class Curve:
    """The losses of a run, their running means, and its validation losses, in nats per token.

    For runs that differ in the seed alone all three are means over them, and low and high are the lowest and
    the highest running mean.
    """

    run: RunView
    label: str
    x: list[float]
    losses: list[float]
    means: list[float]
    val_x: list[float]
    val_losses: list[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()

    def ranked_by(self, validated: bool) -> tuple[list[float], list[float]]:
        """The series that ranks the curve: of validation losses, or else of means."""
        return (self.val_x, self.val_losses) if validated or not self.x else (self.x, self.means)

    @property
    def last(self) -> float:
        """The loss at the end, of validation if there is one."""
        return (self.val_losses or self.means)[-1]


def default_window(count: int) -> int:
    """Number of records that a running mean covers by default."""
    return max(1, round(count / WINDOWS))


def running_means(values: Sequence[float], window: int) -> list[float]:
    """The mean of the `window` values around each value; of fewer at the end.

    At the start, where losses fall fast, the window is shortened on both sides.

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


def curves_of(runs: Sequence[RunView], window: int | None, along: str) -> list[Curve]:
    """The curves of runs; RunFolderError for a run without losses."""
    if len(runs) > MAX_RUNS:
        raise UsageError(f"plot: expected at most {MAX_RUNS} runs per figure, got {len(runs)}")
    curves = []
    for run, label in zip(runs, labels(runs), strict=True):
        x, losses = run.losses(along)
        val_x, val_losses = run.series("val_loss", along=along)
        if not x and not val_x:
            raise RunFolderError(f"{run.path}: expected losses to draw, got none in metrics.jsonl")
        means = running_means(losses, window or default_window(len(losses)))
        curves.append(Curve(run, label, x, losses, means, val_x, val_losses))
    return curves


@drawing()
def loss_figure(
    runs: Sequence[RunView],
    *,
    baselines: Mapping[str, float] | None = None,
    window: int | None = None,
    along: Literal["step", "tokens"] = "step",
) -> Figure:
    """Losses over steps or tokens. baselines: nats per token by name; window: records per running mean."""
    curves, known = joined_seeds(curves_of(runs, window, along)), dict(baselines or {})
    looks = looks_of(curves)
    entries = len(known) + sum(look.in_legend for look in looks)
    below = accuracy.HEIGHT if accuracy.has_accuracy(runs) else 0.0
    figure = new_figure(WIDTH, HEIGHT + LEGEND_LINE * math.ceil(entries / COLUMNS) + below)
    axes, under = accuracy.add_axes(figure, HEIGHT) if below else (figure.add_subplot(), None)
    validated = all(curve.val_x for curve in curves)
    ends = [
        end
        for curve, look in zip(curves, looks, strict=True)
        for end in _draw(axes, curve, look, len(curves), validated)
    ]
    span = min(min(c.x + c.val_x) for c in curves), max(max(c.x + c.val_x) for c in curves)
    _frame(axes, along, *y_range(curves, known), bits_of(runs))
    for dash, (name, loss) in zip(cycle(BASELINES), known.items(), strict=False):
        _draw_baseline(axes, name, loss, dash, span)
    if len(curves) <= MAX_DIRECT:
        _label_ends(axes, ends, *span)
    if under is not None:
        of = {identity_without_seed(c.run): look.color for c, look in zip(curves, looks, strict=True)}
        colors = [of[identity_without_seed(run)] for run in runs]
        accuracy.draw_accuracy(under, axes, runs, colors, along)
    if entries:
        figure.legend(
            loc="outside lower left", ncols=COLUMNS, frameon=False, fontsize=LABEL_SIZE, handlelength=3
        )
    add_heading(figure, _title(runs), _subtitle(curves, window))
    return figure


def joined_seeds(curves: Sequence[Curve]) -> list[Curve]:
    """The curves, with one in place of those whose runs differ in the seed alone."""
    groups: dict[str, list[Curve]] = {}
    for curve in curves:
        groups.setdefault(identity_without_seed(curve.run), []).append(curve)
    names = labels([group[0].run for group in groups.values()], ignored=SEED)
    joined = []
    for group, name in zip(groups.values(), names, strict=True):
        seeds = len({curve.run.config.train.seed for curve in group})
        if seeds < len(group) or len(groups) == len(curves):  # a run drawn twice is not a seed
            joined += group
        elif seeds == 1:
            joined.append(replace(group[0], label=name))
        else:
            joined.append(_joined(group, f"{name} ({seeds} seeds)"))
    return joined


def _joined(group: Sequence[Curve], label: str) -> Curve:
    """The mean of curves, at the records that all of them have."""
    x, means = _common([curve.x for curve in group], [curve.means for curve in group])
    _, losses = _common([curve.x for curve in group], [curve.losses for curve in group])
    val_x, val = _common([curve.val_x for curve in group], [curve.val_losses for curve in group])
    return Curve(
        group[0].run, label, x, [fmean(y) for y in losses], [fmean(y) for y in means], val_x,
        [fmean(y) for y in val], [min(y) for y in means], [max(y) for y in means],
    )  # fmt: skip


def _common(xs: Sequence[list[float]], ys: Sequence[list[float]]) -> tuple[list[float], list[list[float]]]:
    """The x that all series have, in order, and for each the y of all series."""
    tables = [dict(zip(x, y, strict=True)) for x, y in zip(xs, ys, strict=True)]
    shared = [x for x in xs[0] if all(x in table for table in tables)]
    return shared, [[table[x] for table in tables] for x in shared]


@dataclass(frozen=True)
class Look:
    """How a curve is drawn; label: its name in the legend, where it is not that of the curve."""

    color: str
    dash: Any = "-"
    in_legend: bool = False
    is_pale: bool = False
    label: str | None = None


def looks_of(curves: Sequence[Curve]) -> list[Look]:
    """A color for each curve, and a dash if there are many; of very many the best alone, the others pale."""
    if len(curves) <= MAX_DIRECT:
        return [Look(color) for color, _ in zip(COLORS, curves, strict=False)]
    if len(curves) <= MAX_LEGEND:
        return [Look(COLORS[i % len(COLORS)], DASHES[i % len(DASHES)], True) for i in range(len(curves))]
    best = sorted(range(len(curves)), key=lambda i: curves[i].last)[:BEST]
    first = next(i for i in range(len(curves)) if i not in best)
    others = f"{len(curves) - BEST} others, with higher losses"
    return [
        Look(COLORS[best.index(i)], in_legend=True)
        if i in best
        else Look(PALE_LINE, in_legend=i == first, is_pale=True, label=others)
        for i in range(len(curves))
    ]


@drawing()
def draw_losses(
    axes: Axes, run: RunView, label: str | None, window: int | None, along: Literal["step", "tokens"]
) -> None:
    """The running means of a run in given axes, in their next color, and circles for validation losses."""
    (curve,) = curves_of([run], window, along)
    color = None
    if curve.x:
        (line,) = axes.plot(curve.x, curve.means, linewidth=1.6, label=label)
        color = line.get_color()
    if curve.val_x:
        axes.plot(
            curve.val_x, curve.val_losses, "o", color=color, markersize=4, markerfacecolor="none",
            label=None if curve.x else label,
        )  # fmt: skip
    axes.set_xlabel("step" if along == "step" else "training tokens")
    axes.set_ylabel("loss (nats per token)")
    if label is not None:
        axes.legend(frameon=False, fontsize=LABEL_SIZE)


def y_range(curves: Sequence[Curve], baselines: Mapping[str, float]) -> tuple[float, float]:
    """The lowest and highest loss after the first steps, with a margin; includes baselines near them."""
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
    margin = 0.05 * (high - low) or 0.1
    lowest = -BELOW_ZERO * (high + margin) if low >= 0 else -math.inf
    return max(low - margin, lowest), high + margin


def _draw(axes: Axes, curve: Curve, look: Look, count: int, validated: bool) -> list[End]:
    """Draw the lines of one of `count` curves; returns their labeled ends.

    A single run has a label at both curves; each of several runs has one, at the validation loss if all runs
    have one, else at the training loss.
    """
    alone, direct, color = count == 1, count <= MAX_DIRECT, look.color
    style: dict[str, Any] = {"color": color, "linestyle": look.dash}
    name = printable(look.label or curve.label)
    if look.is_pale:
        label = name if look.in_legend else None
        axes.plot(*curve.ranked_by(validated), color=color, linewidth=0.8, zorder=1.4, label=label)
        return []
    ends = []
    if curve.low:
        axes.fill_between(curve.x, curve.low, curve.high, color=color, alpha=0.18, linewidth=0, zorder=1.5)
    if curve.x:
        if direct and not curve.low and curve.means != curve.losses:
            axes.plot(curve.x, curve.losses, color=color, alpha=0.3 / count**0.5, linewidth=0.6, zorder=1.5)
        axes.plot(
            curve.x, curve.means, **style, linewidth=1.9, zorder=3, label=None if direct else name,
            marker="o" if len(curve.x) < SPARSE else None, markersize=3.5,
        )  # fmt: skip
        if alone or not validated:
            ends.append(End(curve.x[-1], curve.means[-1], "training" if alone else name, color))
    if curve.val_x:
        axes.plot(
            curve.val_x, curve.val_losses, **style, linewidth=0.9, zorder=4, marker="o", markersize=4.5,
            markerfacecolor="white", markeredgewidth=1.2, label=None if direct or curve.x else name,
        )  # fmt: skip
        if alone or validated or not curve.x:
            text = "validation" if alone else name
            ends.append(End(curve.val_x[-1], curve.val_losses[-1], text, color))
    return ends


def _draw_baseline(axes: Axes, name: str, loss: float, dash: Any, span: tuple[float, float]) -> None:
    """Draw a dashed line with a legend entry; outside the axes, the entry alone, with an arrow."""
    low, high = axes.get_ylim()
    arrow = "↑ " if loss > high else "↓ " if loss < low else ""
    axes.plot(
        span, [loss, loss], label=f"{arrow}{name} {loss:.2f}", linestyle="" if arrow else dash, color=INK,
        linewidth=1, zorder=2,
    )  # fmt: skip


def bits_of(runs: Sequence[RunView]) -> str:
    """The unit of a loss / ln 2; the end of a document counts as one character or byte."""
    units = {run.tokenizer.unit for run in runs}
    return f"bits per {units.pop() if len(units) == 1 else 'token'}"


def _frame(axes: Axes, along: str, low: float, high: float, unit: str) -> None:
    """Set limits and labels with units, and an axis in bits (`unit`) on the right."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.set_ylim(low, high)
    axes.set_xlabel("step" if along == "step" else "training tokens")
    axes.set_ylabel("loss (nats per token)")
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


def _label_ends(axes: Axes, ends: list[End], first: float, last: float) -> None:
    """Label the end of each curve with its loss; labels move up to avoid overlap."""
    span = (last - first) or max(abs(last), 1.0)
    longest = max(len(end.text) for end in ends) + len(" 0.00")
    strip = min(0.45, LETTER * longest / (72 * WIDTH * AXES))  # fraction of the axes that labels take
    axes.set_xlim(first - 0.015 * span, last + span * strip / (1 - strip))
    axes.set_xticks([x for x in axes.get_xticks() if first - 0.015 * span <= x <= last + 0.001 * span])
    low, high = axes.get_ylim()
    line = LABEL_LINE / (72 * HEIGHT * AXES) * (high - low)
    y = low - 0.4 * line  # the axis below strikes through no label
    for end in sorted(ends, key=lambda end: end.y):
        y = max(end.y, y + line)
        axes.annotate(
            f"{end.text} {end.y:.2f}", (end.x, y), (6, 0), textcoords="offset points", va="center",
            fontsize=LABEL_SIZE, color=end.color, weight="bold", annotation_clip=False,
        )  # fmt: skip


def shortened_list(names: Sequence[str]) -> str:
    """The distinct names, the first MAX_NAMED of them.

    >>> shortened_list(["a", "b", "a", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    names = list(dict.fromkeys(names))
    rest = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _title(runs: Sequence[RunView]) -> str:
    if len(runs) == 1:
        return f"{runs[0].name}: loss"
    differing = differing_settings(runs)
    if differing == [SEED]:
        return f"Loss of {len(runs)} seeds"
    if not differing:
        return f"Loss of {len(runs)} runs with the same settings"
    return f"Loss of {len(runs)} runs that differ in {shortened_list(differing)}"


def _subtitle(curves: Sequence[Curve], window: int | None) -> str:
    """The model, the data, and a key to the lines."""
    run, parts = curves[0].run, []
    if len(curves) == 1:
        model = run.config.model
        layers = "1 layer" if model.n_layer == 1 else f"{model.n_layer} layers"
        parts += [f"{parameter_count(model):,} parameters, {layers}, n_embd {model.n_embd}"]
    if len({(c.run.data, c.run.config.source.sha256) for c in curves}) == 1:
        parts.append(f"{run.data}, {counted(run.config.source.documents, run.config.data.noun)}")
    else:
        parts.append(f"data: {shortened_list([curve.run.data for curve in curves])}")
    windows = sorted({window or default_window(len(curve.losses)) for curve in curves})
    if windows[-1] > 1:
        count = str(windows[0]) if len(windows) == 1 else f"{windows[0]} to {windows[-1]}"
        lines = "thick: mean" if len(curves) <= MAX_DIRECT else "means"
        parts.append(f"{lines} of {count} records")
    if any(curve.low for curve in curves):
        parts.append("band: range of the seeds")
    if any(curve.val_x for curve in curves):
        labeled = 1 < len(curves) <= MAX_DIRECT and all(curve.val_x for curve in curves)
        parts.append(f"circles{' and labels' * labeled}: validation")
    return " · ".join(parts)
