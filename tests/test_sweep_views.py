"""What motegpt shows and draws of a sweep, from rows that are written here."""

import csv
import io
import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

import motegpt
from motegpt.config.presets import expected_settings
from motegpt.errors import UsageError
from motegpt.plots.sweeps.scaling import described
from motegpt.sweeps.expansion import expand
from motegpt.sweeps.results import Quartiles, Results
from motegpt.sweeps.scaling import Fit, fit_law
from motegpt.sweeps.store import Recorded, Store
from motegpt.sweeps.table import Table

TABLE = {
    "name": "lr-width",
    "preset": "microgpt",
    "engine": "array",
    "grid": {"n_embd": [8, 16, 32, 64], "lr": [0.001, 0.01, 0.1], "dropout": [0.0, 0.1]},
    "repeat": {"seed": [0, 1, 2]},
}


def loss_of(point):
    """A loss with a minimum at lr = 0.01, less for wider models, that no seed but 1 changes."""
    distance = np.log10(point["lr"] / 0.01) ** 2
    return (
        2
        + 10 * (100 * point["n_embd"] ** 2) ** -0.25
        + distance
        + point["dropout"]
        + 0.01 * (point["seed"] - 1)
    )


def row_of(key, point):
    """The row of a point; at the highest rate one seed diverges, and with the widest model all."""
    diverged = point["lr"] == 0.1 and (point["seed"] == 2 or point["n_embd"] == 64)
    settings = {**expected_settings("microgpt"), **point}
    loss = loss_of(point)
    reason = f"the loss is {1e6 * loss:.3e}" if diverged else None
    numbers = {"loss": loss - 1, "val_loss": loss, "parameters": 100 * point["n_embd"] ** 2, "seconds": 0.1}
    status = "diverged" if diverged else "ok"
    return {"key": key, "status": status, "reason": reason, **settings, **numbers, "host": "a", "attempts": 1}


def written(folder, table=TABLE, change=lambda rows: rows):
    """The folder of a sweep with made-up rows."""
    with Store(folder) as store:
        store.begin(Recorded(table, "", "names.txt"))
        points = expand(Table.of(table), "array")
        store.append(change([row_of(key, point) for key, point in points.items()]))
    return folder


@pytest.fixture
def swept(tmp_path):
    return written(tmp_path / "s")


@pytest.fixture
def results(swept):
    return Results.read(swept)


def test_quartiles():
    assert Quartiles.of([4.0, 1.0, 2.0, 3.0]) == tuple(np.quantile([1, 2, 3, 4], (0.25, 0.5, 0.75)))
    assert Quartiles.of([3.0]) == (3.0, 3.0, 3.0)


def test_the_best_points_are_those_of_the_lowest_median(motegpt, swept):
    ended = motegpt("show", swept, "-n", 2)
    assert ended.err == ""
    lines = ended.out.splitlines()
    assert lines[0] == "lr-width: 72 trainings, 12 diverged, 60 ok"
    best = lines.index("best by val_loss, median (quartiles)")
    assert lines[best + 1].split() == ["n_embd", "lr", "dropout", "val_loss"]
    assert lines[best + 2].split()[:4] == ["64", "0.01", "0", "2.3953"]
    assert lines[best + 3].split()[:3] == ["64", "0.01", "0.1"]
    assert lines[best + 4].startswith("12 diverged: for example the loss is ")
    assert "  n_embd        8, 16, 32, 64" in lines
    facts = json.loads(motegpt("show", swept, "--json", "--measure", "loss", "-n", 1).out)
    assert (facts["measure"], facts["trainings"], facts["ended"]) == ("loss", 72, 72)
    (one,) = facts["best"]
    assert one["settings"] == {"n_embd": 64, "lr": 0.01, "dropout": 0.0}
    assert one["median"] == pytest.approx(1.3953, abs=1e-4)
    assert one["quartiles"] == pytest.approx([1.3903, 1.4003], abs=1e-4)
    assert (one["rows"], one["ok"]) == (3, 3)


def with_accuracy(rows):
    return [{**row, "val_accuracy": 1 / row["val_loss"]} for row in rows]


def test_the_highest_accuracy_is_the_best(tmp_path):
    """In the list, and in pictures: the same settings as those of the lowest loss."""
    results = Results.read(written(tmp_path / "s", change=with_accuracy))
    by_loss, by_accuracy = (results.best(name) for name in ("val_loss", "val_accuracy"))
    assert [cell.values for cell in by_accuracy[:5]] == [cell.values for cell in by_loss[:5]]
    assert by_accuracy[0].median == pytest.approx(1 / by_loss[0].median)
    drawn, _ = figure("lines", results, "lr", "n_embd", measure="val_accuracy")
    line = next(line for line in drawn.axes[0].lines if line.get_label() == "n_embd 16")
    assert line.get_ydata()[1] == pytest.approx(
        1 / loss_of({"n_embd": 16, "lr": 0.01, "dropout": 0.0, "seed": 1})
    )
    drawn, _ = figure("map", results, "lr", "n_embd", measure="val_accuracy")
    frames = [one.get_xy() for one in drawn.axes[0].patches if not one.get_fill()]
    assert frames == [(0.5, row - 0.5) for row in range(4)]


def test_rows_as_csv(motegpt, swept, results):
    rows = list(csv.DictReader(io.StringIO(motegpt("show", swept, "--csv").out)))
    assert len(rows) == 72
    assert list(rows[0])[:3] == ["key", "status", "reason"]
    assert {row["key"]: float(row["val_loss"]) for row in rows} == {
        key: row["val_loss"] for key, row in results.rows.items()
    }


def test_a_sweep_that_has_just_begun(motegpt, tmp_path):
    written(tmp_path / "s", change=lambda rows: [])
    assert motegpt("show", tmp_path / "s").out.startswith("lr-width: 72 trainings, none ended, 72 to run\n")
    assert "expected rows with loss, got none" in motegpt("plot", tmp_path / "s", "--x", "lr").err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show", "s", "--measure", "lr"], "measure: expected one of loss, val_loss"),
        (["show", "s", "--measure", "best_val_loss"], "measure: expected rows with best_val_loss"),
        (["show", "s", "--csv", "--json"], "expected --json or --csv"),
        (["show", "s/nothing", "--csv"], "expected a sweep for --measure and --csv"),
        (["plot", "s", "--x", "learning_rate"], "x: unknown setting 'learning_rate'; did you mean lr?"),
        (["plot", "s", "--x", "optimizer"], "x: expected numbers, got optimizer='adam'"),
        (
            ["plot", "s", "--form", "scaling", "--x", "lr"],
            "x: expected a size for a scaling law, one of param",
        ),
        (["plot", "s", "--form", "scaling", "--x", "steps"], "got 1; vary --steps more"),
        (["plot", "s", "--x", "lr", "--by", "lr"], "by: expected another setting than x, got 'lr' for both"),
        (["plot", "s", "--form", "scaling", "--by", "lr"], "by: expected none for a scaling law"),
        (["plot", "s", "--attention", "emma"], "got options of runs"),
        (["plot", "s", "s"], "expected one sweep, got 2 paths"),
        (["plot", "s", "--measure", "tokens"], "measure: expected rows with tokens"),
        (["plot", "s", "--out", "a.pdf"], "expected a file named"),
    ],
)
def test_a_bad_request_is_a_clear_line(motegpt, swept, words, message):
    ended = motegpt(*words)
    assert ended.code == 2
    assert message in ended.err


def figure(name, *arguments, **more):
    """A picture, and the texts in it."""
    pytest.importorskip("matplotlib")
    from importlib import import_module

    drawn = getattr(import_module(f"motegpt.plots.sweeps.{name}"), f"{name}_figure")(*arguments, **more)
    return drawn, [text.get_text() for text in drawn.findobj(lambda one: hasattr(one, "get_text"))]


def test_lines_go_through_medians_of_the_best_of_what_else_varies(results):
    drawn, texts = figure("lines", results, "lr", "n_embd")
    (axes,) = drawn.axes
    line = next(line for line in axes.lines if line.get_label() == "n_embd 16")
    assert axes.get_xscale() == "log"
    assert axes.get_yscale() == "linear"
    assert list(line.get_xdata()) == [0.001, 0.01, 0.1]
    best = {"n_embd": 16, "dropout": 0.0, "seed": 1}  # the median, or 0.5 above it if seed 2 diverged
    expected = [loss_of({**best, "lr": lr}) for lr in (0.001, 0.01, 0.1)]
    assert line.get_ydata() == pytest.approx([*expected[:2], expected[2] - 0.005])
    band = axes.collections[1].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((expected[1] - 0.005, expected[0] + 0.005))
    points = next(line for line in axes.lines if line.get_marker() == ".")
    assert len(points.get_xdata()) == 8  # of the first width: 3, 3, 2 seeds
    assert "6 of 12\ndiverged" in texts  # one of three, one of three, one of three, three of three
    assert any("3 seeds each" in text and "best dropout" in text for text in texts)


def test_a_map_frames_the_best_of_each_row(results):
    from matplotlib.patches import Rectangle

    drawn, texts = figure("map", results, "lr", "n_embd")
    axes = drawn.axes[0]
    frames = [one.get_xy() for one in axes.patches if isinstance(one, Rectangle) and not one.get_fill()]
    assert frames == [(0.5, row - 0.5) for row in range(4)]  # lr = 0.01 is the second column
    assert [label.get_text() for label in axes.get_yticklabels()] == ["8", "16", "32", "64"]
    assert axes.images[0].get_array()[1, 1] == pytest.approx(
        loss_of({"n_embd": 16, "lr": 0.01, "dropout": 0.0, "seed": 1})
    )
    assert axes.images[0].get_array().mask[3, 2]
    assert "3/3\ndiverged" in texts


RANDOM = {
    "name": "random",
    "preset": "microgpt",
    "engine": "array",
    "grid": {"n_embd": [8, 16, 32, 64]},
    "random": {
        "samples": 20,
        "seed": 1,
        "lr": {"log_uniform": [0.001, 0.1]},
        "dropout": {"uniform": [0, 0.2]},
    },
}


def test_counts_that_would_overlap_are_one(tmp_path):
    def half(rows):
        return [{**row, "seed": 1, "status": "diverged" if row["lr"] > 0.01 else "ok"} for row in rows]

    table = {**RANDOM, "fixed": {"seed": 1}}
    results = Results.read(written(tmp_path / "s", table, half))
    drawn, _ = figure("lines", results, "lr", "n_embd")
    count = sum(row["status"] == "diverged" for row in results.rows.values())
    assert [text.get_text() for text in drawn.axes[0].texts] == [f"{count} of 80 diverged"]
    with pytest.raises(
        UsageError, match=r"a map with a value in at least 25% of its cells, got 20 in 400; draw"
    ):
        figure("map", results, "lr", "dropout")


def test_a_line_without_values_has_no_line_in_the_legend(results):
    drawn, _ = figure("lines", Results.read(results.folder), "n_embd", "lr")
    assert len(drawn.legends[0].get_texts()) == 3

    rows = {k: {**r, "status": "diverged"} if r["lr"] == 0.1 else r for k, r in results.rows.items()}
    drawn, _ = figure("lines", replace(results, rows=rows), "n_embd", "lr")
    legend = drawn.legends[0]
    assert legend.get_texts()[2].get_text() == "lr 0.1 (none ok)"
    assert [line.get_linestyle() for line in legend.get_lines()] == ["-", "-", "None"]


def test_an_axis_has_commas_and_begins_at_zero_for_what_is_never_below(tmp_path):
    def shares(rows):
        return [{**row, "val_accuracy": 0.5 if row["n_embd"] == 64 else 0.0} for row in rows]

    table = {**TABLE, "grid": {"n_embd": [8, 64], "steps": [800, 1600, 2400], "lr": [0.01], "dropout": [0.0]}}
    results = Results.read(written(tmp_path / "s", table, shares))
    drawn, _ = figure("lines", results, "steps", "n_embd", measure="val_accuracy")
    axes = drawn.axes[0]
    low, high = axes.get_ylim()
    assert -0.05 * high < low < 0
    labels = {label.get_text() for label in axes.get_xticklabels()}
    assert "2,000" in labels
    assert "2000" not in labels


def test_a_scaling_law_is_found_again(results):
    drawn, texts = figure("scaling", results)
    assert drawn.axes[0].get_xscale() == "log"
    (law,) = (text for text in texts if text.startswith("L = E"))
    assert "E = 2 (" in law
    assert "A = 10" in law
    assert "α = 0.25 (" in law


def test_the_points_drawn_are_those_fitted_medians_that_one_seed_does_not_move(tmp_path):
    def with_outliers(rows):
        return [{**row, "val_loss": row["val_loss"] + 5 * (row["seed"] == 2)} for row in rows]

    results = Results.read(written(tmp_path / "s", change=with_outliers))
    drawn, texts = figure("scaling", results)
    points = next(line for line in drawn.axes[0].lines if line.get_marker() == "o")
    best = {"lr": 0.01, "dropout": 0.0, "seed": 1}
    expected = [loss_of({**best, "n_embd": width}) for width in (8, 16, 32, 64)]
    assert points.get_ydata() == pytest.approx(expected)
    assert any("E = 2 (" in text and "α = 0.25 (" in text for text in texts)
    assert any("medians; band: 90 % bootstrap over seeds" in " ".join(text.split()) for text in texts)


def test_a_law_is_of_a_loss(tmp_path):
    results = Results.read(
        written(tmp_path / "s", change=lambda rows: [{**row, "val_accuracy": 0.5} for row in rows])
    )
    with pytest.raises(
        UsageError, match=r"expected a loss for a scaling law, one of loss, .* got val_accuracy; draw"
    ):
        figure("scaling", results, measure="val_accuracy")
    with pytest.raises(UsageError, match=r"expected a loss for a scaling law, .* got seconds"):
        figure("scaling", results, measure="seconds")


def test_long_labels_of_a_map_do_not_overlap(results):
    drawn, texts = figure("map", results, "parameters", "lr", measure="parameters")
    drawn.draw_without_rendering()
    boxes = [label.get_window_extent() for label in drawn.axes[0].get_xticklabels()]
    assert all(one.x1 < other.x0 for one, other in itertools.pairwise(boxes))
    assert {"6,400", "409,600", "6400", "25.6k"} <= set(texts)


def test_a_long_title_has_several_lines(tmp_path):
    table = {**TABLE, "name": "learning rates and widths of the smallest models"}
    drawn, _ = figure("map", Results.read(written(tmp_path / "s", table)), "lr", "n_embd")
    drawn.draw_without_rendering()
    title, subtitle = (one.get_window_extent() for one in drawn.texts)
    assert drawn.texts[0].get_text().replace("\n", " ") == f"{table['name']}: val_loss over lr and n_embd"
    assert title.x1 < drawn.bbox.x1
    assert title.y0 > subtitle.y1 > subtitle.y0 > drawn.axes[0].get_window_extent().y1


@pytest.mark.parametrize("span", [12, 50, 900, 2000, 10**6])
@pytest.mark.parametrize("low", [0.001, 1.4, 1400])
def test_a_logarithmic_axis_has_several_labels(span, low):
    pytest.importorskip("matplotlib")
    from motegpt.plots.canvas import new_figure
    from motegpt.plots.sweeps.grouping import set_scale

    drawn = new_figure(7.6, 4.6)
    axes = drawn.add_subplot()
    axes.plot([low, span * low], [1, 2])
    set_scale(axes, "x", [low, span * low])
    drawn.draw_without_rendering()
    ends = axes.get_xlim()
    boxes = [
        label.get_window_extent()
        for place, label in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
        if ends[0] <= place <= ends[1] and label.get_text()
    ]
    assert len(boxes) >= 3
    assert all(one.x1 < other.x0 for one, other in itertools.pairwise(boxes))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1000.0, "1,000"), (12345.6, "12,300"), (0.00316228, "0.00316"), (1e-5, "1e-05"), (1024, "1,024"),
        (True, "yes"), (None, "none"), ("cosine", "cosine"), (0.1 + 0.2, "0.3"), (3, "3"),
    ],
)  # fmt: skip
def test_values_are_labels(value, text):
    from motegpt.plots.sweeps.grouping import text_of

    assert text_of(value) == text


def test_one_training_is_not_several(motegpt, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one.toml").write_text('preset = "microgpt"\nengine = "array"\n[fixed]\nsteps = 2\n')
    assert motegpt("sweep", "one.toml", "--dry-run").out.startswith("1 training\n")
    ended = motegpt("sweep", "one.toml", "--out", "s")
    assert "1 of 1 training;" in ended.err
    assert "s: 1 training, 1 ok\n" in ended.out
    assert "trainings" not in motegpt("show", "s").out


def test_a_dry_run_refuses_what_the_sweep_would(motegpt, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one.toml").write_text('preset = "microgpt"\n')
    for words, message in (
        (("--threads", 0), "threads: expected a whole number of at least 1"),
        (("--processes", -1), "processes: expected a whole number of at least 1"),
        (("--threads", 1, "--processes", 1), "processes: expected it without --threads, got both"),
    ):
        ended = motegpt("sweep", "one.toml", "--dry-run", *words)
        assert (ended.code, ended.out) == (2, "")
        assert message in ended.err


@pytest.mark.parametrize("law", [(2.0, 10.0, 0.25), (0.0, 30.0, 0.5), (1.5, 400.0, 1.2)])
def test_the_fit_is_exact_where_the_law_is(law):
    floor, factor, exponent = law
    sizes = [1e3, 3e3, 1e4, 1e5]
    fit = fit_law({size: [floor + factor * size**-exponent] for size in sizes})
    assert fit.law == pytest.approx(law, rel=1e-3, abs=1e-3)
    assert fit.interval("exponent") is None


def test_the_interval_covers_the_law_and_narrows_with_seeds():
    chance, sizes = np.random.default_rng(3), np.geomspace(1e3, 1e6, 6)

    def width(seeds):
        losses = {size: 2 + 10 * size**-0.25 + 0.02 * chance.standard_normal(seeds) for size in sizes}
        low, high = fit_law(losses).interval("exponent")
        assert low < 0.25 < high
        return high - low

    assert width(40) < 0.5 * width(4)


def test_a_law_needs_sizes_and_losses_that_fall():
    with pytest.raises(UsageError, match=r"expected at least 4 sizes .* got 3"):
        fit_law({1.0: [3.0], 2.0: [2.0], 3.0: [1.0]})
    with pytest.raises(UsageError, match="expected losses that fall with the size"):
        fit_law({float(size): [float(size)] for size in range(1, 6)})


@pytest.mark.parametrize(
    ("losses", "bound"),
    [
        ([2.50, 2.49, 2.485, 2.475], "α = 0.01"),  # nearly straight over log N
        ([3.0, 2.0, 2.0, 2.0], "α = 3"),  # a step
        ([4.0, 3.0, 2.1, 1.0], "α = 0.01"),
        ([-0.5 + 20 * size**-0.25 for size in (1e3, 4e3, 1.4e4, 5e4)], "E = 0"),
    ],
)
def test_a_law_that_lies_on_a_bound_of_the_fit_is_refused(losses, bound):
    message = f"got a best fit at {bound}, a bound of the fit; vary `n_embd` or `n_layer` over a wider range"
    with pytest.raises(UsageError, match=message):
        fit_law({size: [loss] for size, loss in zip((1e3, 4e3, 1.4e4, 5e4), losses, strict=True)})


def test_an_end_of_an_interval_on_a_bound_of_the_fit_is_not_determined():
    chance, sizes = np.random.default_rng(1), np.geomspace(1e3, 1e6, 5)
    losses = {size: 2 + 10 * size**-0.25 + 0.3 * chance.standard_normal(3) for size in sizes}
    fit = fit_law(losses)
    draws = fit.draws.copy()
    draws[:40, 2] = 0.01
    below = Fit(fit.law, draws)
    assert [below.interval(name)[0] for name in ("floor", "factor", "exponent")] == 3 * [-np.inf]
    assert np.isfinite(below.interval("exponent")[1])
    draws[40:80, 2] = 3.0
    both = Fit(fit.law, draws)
    assert [both.interval(name) for name in ("factor", "exponent")] == 2 * [(-np.inf, np.inf)]
    assert np.isfinite(both.interval("floor")[1])
    lines = described(both).splitlines()
    assert ", not determined below)" in lines[1]
    assert lines[3].endswith(" (not determined)")
    draws[:40, 2] = 0.2
    assert ", not determined above)" in described(Fit(fit.law, draws))


def test_the_measure_is_checked_before_the_file(motegpt, swept):
    pytest.importorskip("matplotlib")
    (swept.parent / "s-lines.png").touch()
    assert "measure: expected one of loss" in motegpt("plot", swept, "--measure", "foo").err
    assert "out: s-lines.png already exists" in motegpt("plot", swept).err


def test_pictures_from_python(swept):
    pytest.importorskip("matplotlib")
    rows = motegpt.SweepRows.load(swept)
    assert len(rows) == 72
    assert rows.plot("lr", "n_embd").axes[0].get_xlabel() == "lr"
    assert [axes.get_ylabel() for axes in rows.plot(form="map").axes] == ["lr", "val_loss (nats per token)"]
    assert rows.plot(form="scaling", measure="loss").axes[0].get_xlabel() == "parameters"
    with pytest.raises(UsageError, match="form: expected one of lines, map, scaling, got 'bars'"):
        rows.plot(form="bars")
    table = {"preset": "microgpt", "fixed": {"steps": 2}, "repeat": {"seed": [1, 2]}}
    trained = motegpt.sweep(table, ["anna", "hanna"])
    assert trained.plot("seed", measure="loss").axes[0].get_xlabel() == "seed"
    with pytest.raises(UsageError, match="x: expected a setting, got none"):
        trained.plot()


def test_pictures_are_files(motegpt, swept):
    pytest.importorskip("matplotlib")
    ended = motegpt("plot", swept, "--x", "lr", "--by", "n_embd", "--out", "a.svg")
    assert (ended.out, ended.err) == ("a.svg\n", "")
    assert motegpt("plot", swept, "--form", "map", "--out", "b.svg").code == 0
    assert motegpt("plot", swept, "--form", "scaling", "--dpi", 60).out == "s-scaling.png\n"
