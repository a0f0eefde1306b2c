"""Figures show the numbers of the run; fonts, file formats and errors."""

import json
import logging
import math
import re
import shutil
import subprocess
import sys
import warnings
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from motegpt import GPT
from motegpt.errors import DataError, LibraryUnavailable, RunFolderError, UsageError
from motegpt.evaluation.inspect import attention, ids_of, principal_plane
from motegpt.ngrams.counts import baselines
from motegpt.views.baselines import baselines_of, common_baselines
from motegpt.views.runs import Run, labels
from motegpt.views.sparkline import sparkline

pytest.importorskip("matplotlib")
from motegpt.plots import fonts
from motegpt.plots.attention import attention_figure, panel_size, selected, symbols_of
from motegpt.plots.canvas import drawing, new_figure, printable, save, symbol
from motegpt.plots.curves import (
    BEST,
    MAX_DIRECT,
    MAX_LEGEND,
    MAX_RUNS,
    PALE_LINE,
    bits_of,
    loss_figure,
    running_means,
    y_range,
)
from motegpt.plots.embeddings import _heat, selected_tokens, text_figure, vocabulary_figure
from motegpt.plots.labels import overlapping, separated

SMALL = {"engine": "array", "n_embd": 8, "n_head": 2, "block_size": 8, "log_every": 1}
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Small runs that must not be changed: a, b (wider), deep, and odd (characters no font has)."""
    folder = tmp_path_factory.mktemp("runs")
    GPT.train(steps=40, **SMALL, preset="microgpt").save(folder / "a")
    GPT.train(steps=40, **{**SMALL, "n_embd": 12}, preset="microgpt").save(folder / "b")
    GPT.train(steps=2, **SMALL, n_layer=3, preset="microgpt").save(folder / "deep")
    odd = ["日本 b", "a\u0301\u200d", "🚀$x$", "ab\\"]
    GPT.train(odd, steps=2, **SMALL, preset="microgpt").save(folder / "odd")
    return folder


@pytest.fixture
def runs(trained, tmp_path):
    """A copy of them that may be changed, in the working folder of the `motegpt` fixture."""
    return shutil.copytree(trained, tmp_path, dirs_exist_ok=True)


def read(folder, *names):
    return [Run.read(str(folder / name)) for name in names]


def edit_metrics(run, change):
    """Rewrite each record of a run by `change(record)`."""
    path = run / "metrics.jsonl"
    records = [change(json.loads(line)) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(record) + "\n" for record in records if record is not None))


def lines_of(figure):
    """The data of every line, as lists of points."""
    return [[tuple(point) for point in line.get_xydata()] for line in figure.axes[0].get_lines()]


def texts_of(figure):
    """Every visible text."""
    from matplotlib.text import Text

    return [text.get_text() for text in figure.findobj(Text) if text.get_text() and text.get_visible()]


# Curves


def test_the_curve_is_that_of_the_metrics(trained):
    (run,) = read(trained, "a")
    steps = [(record["step"], record["loss"]) for record in run.records]
    assert steps[0][0] == 1
    assert len(steps) == 40
    raw, means = lines_of(loss_figure([run], window=5))
    assert raw == steps
    assert [x for x, _ in means] == [x for x, _ in steps]
    assert means[20][1] == pytest.approx(np.mean([loss for _, loss in steps[18:23]]))
    assert lines_of(loss_figure([run], window=1)) == [steps]
    tokens = [record["tokens"] for record in run.records]
    assert [x for x, _ in lines_of(loss_figure([run], along="tokens"))[0]] == tokens


def test_the_curve_is_of_means_and_of_single_losses_in_runs_without_means(runs):
    edit_metrics(runs / "a", lambda r: r | {"mean_loss": r["loss"] + 0.5})
    edit_metrics(runs / "b", lambda r: {k: v for k, v in r.items() if k != "mean_loss"})
    for name, more in (("a", 0.5), ("b", 0.0)):
        (run,) = read(runs, name)
        expected = [(record["step"], record["loss"] + more) for record in run.records]
        assert lines_of(loss_figure([run], window=1)) == [expected]


def test_validation_losses_are_drawn_at_their_steps(runs):
    edit_metrics(runs / "a", lambda r: r | ({"val_loss": 2 + 1 / r["step"]} if r["step"] % 10 == 0 else {}))
    figure = loss_figure(read(runs, "a"))
    assert lines_of(figure)[-1] == [(step, 2 + 1 / step) for step in (10, 20, 30, 40)]
    assert "validation 2.02" in texts_of(figure)
    assert any("circles: validation" in text for text in texts_of(figure))
    training, validation = figure.axes[0].get_lines()[-2:]
    assert training.get_color() == validation.get_color()


def test_runs_that_all_have_validation_are_labeled_there(runs):
    for name in "ab":
        edit_metrics(runs / name, lambda r: r | ({"val_loss": 2.5} if r["step"] % 10 == 0 else {}))
    texts = texts_of(loss_figure(read(runs, "a", "b")))
    assert {"n_embd=8 2.50", "n_embd=12 2.50"} <= set(texts)
    edit_metrics(runs / "b", lambda r: {k: v for k, v in r.items() if k != "val_loss"})
    texts = texts_of(loss_figure(read(runs, "a", "b")))
    assert not {"n_embd=8 2.50", "n_embd=12 2.50"} & set(texts)


def test_baselines_are_lines_with_names_or_arrows(trained):
    figure = loss_figure(read(trained, "a"), baselines={"bigram": 2.9, "uniform": 9.0, "oracle": 0.1})
    (bigram,) = [line for line in lines_of(figure) if {y for _, y in line} == {2.9}]
    assert [x for x, _ in bigram] == [1, 40]
    assert {"bigram 2.90", "↑ uniform 9.00", "↓ oracle 0.10"} <= set(texts_of(figure))
    low, high = figure.axes[0].get_ylim()
    assert low < 2.9 < high < 9.0


def test_the_baselines_of_a_run_are_those_of_its_data(trained):
    (run,) = read(trained, "a")
    from motegpt.data.corpus import read_corpus

    ids = [sequence[:9] for sequence in run.tokenizer.encode_documents(read_corpus(None).documents)]
    assert max(map(len, ids)) == 9
    assert baselines_of(run) == pytest.approx(
        baselines(ids, ids, len(run.tokenizer.characters) + 1, "documents")
    )
    assert baselines_of(run)["uniform"] == pytest.approx(math.log(26))
    assert common_baselines(read(trained, "a", "b")) == baselines_of(run)


def test_baselines_train_on_the_training_set_and_are_evaluated_on_the_other(tmp_path):
    from motegpt.data.corpus import read_corpus
    from motegpt.data.split import split_documents

    for seed in (1, 2):
        GPT.train(steps=10, **SMALL, val_fraction=0.2, seed=seed, preset="microgpt").save(
            tmp_path / str(seed)
        )
    one, two = read(tmp_path, "1", "2")
    sides = split_documents(read_corpus(None).documents, 0.2, 1)
    training, held = map(one.tokenizer.encode_documents, sides)
    assert baselines_of(one) == pytest.approx(baselines(training, held, 26))
    found = GPT.load(one.path).evaluate(sides[1])
    assert {**baselines_of(one), "model": found.losses["model"]} == found.losses
    assert baselines_of(one) != baselines_of(two)
    means = {name: (loss + baselines_of(two)[name]) / 2 for name, loss in baselines_of(one).items()}
    assert common_baselines([one, two, one]) == pytest.approx(means)  # seeds are not different data
    GPT.train(["anna", "bob"], steps=1, **SMALL, preset="microgpt").save(tmp_path / "3")
    with pytest.raises(DataError, match="different data"):
        common_baselines([one, *read(tmp_path, "3")])
    figure = loss_figure([one], baselines=baselines_of(one))
    assert lines_of(figure)[1] == list(zip(*one.series("val_loss"), strict=True))


def test_the_range_excludes_the_first_step(runs):
    edit_metrics(
        runs / "a", lambda r: r | {"mean_loss": 1000.0 if r["step"] == 1 else 2 + r["step"] % 3 / 10}
    )
    low, high = loss_figure(read(runs, "a")).axes[0].get_ylim()
    assert 1 < low < 2
    assert 2.2 < high < 3


def test_axes_have_titles_with_units_and_the_other_axis_is_in_bits(trained):
    figure = loss_figure(read(trained, "a"))
    axes, texts = figure.axes[0], texts_of(figure)
    assert axes.get_ylabel() == "loss (nats per token)"
    assert axes.get_xlabel() == "step"
    (bits,) = axes.child_axes
    assert bits.get_ylabel() == "bits per character"
    figure.draw_without_rendering()
    assert bits.get_ylim() == pytest.approx([y / math.log(2) for y in axes.get_ylim()])
    assert "a: loss" in texts
    assert any("parameters, 1 layer, n_embd 8 · built-in names, 98 documents" in text for text in texts)


def test_runs_are_labeled_by_the_settings_that_differ(runs):
    a, b, deep, odd = read(runs, "a", "b", "deep", "odd")
    assert labels([a, b]) == ["n_embd=8", "n_embd=12"]
    assert labels([a, deep]) == ["n_layer=1, steps=40", "n_layer=3, steps=2"]
    assert labels([a, a]) == [str(runs / "a")] * 2
    assert labels([a, a, b])[2] == "n_embd=12"
    assert labels([b, odd, deep]) == ["b", "odd", "deep"]
    texts = texts_of(loss_figure([a, b]))
    assert "Loss of 2 runs that differ in n_embd" in texts
    named = {text.rsplit(" ", 1)[0] for text in texts if text.startswith("n_embd=")}
    assert named == {"n_embd=8", "n_embd=12"}


def test_many_runs_have_a_legend_and_differ_without_color(trained):
    figure = loss_figure(read(trained, *["a"] * (MAX_DIRECT + 1)))
    (legend,) = figure.legends
    assert len(legend.get_texts()) == MAX_DIRECT + 1
    looks = {(line.get_color(), line.get_linestyle()) for line in figure.axes[0].get_lines()}
    assert len(looks) == MAX_DIRECT + 1
    with pytest.raises(UsageError, match=f"at most {MAX_RUNS} runs"):
        loss_figure(read(trained, *["a"] * (MAX_RUNS + 1)))


def copies(runs, count, **change):
    """Copies of run a, whose losses are higher by 0.01 i, with settings change(i)."""
    found = []
    for i in range(count):
        shutil.copytree(runs / "a", runs / f"c{i:02d}")
        edit_metrics(runs / f"c{i:02d}", lambda r, i=i: r | {"mean_loss": 2 + 1 / r["step"] + 0.01 * i})
        path = runs / f"c{i:02d}" / "config.json"
        config = json.loads(path.read_text())
        config["train"] |= {name: value(i) for name, value in change.items()}
        path.write_text(json.dumps(config))
        found.append(f"c{i:02d}")
    return read(runs, *found)


@pytest.mark.parametrize("count", [1, MAX_DIRECT, 5, MAX_LEGEND, MAX_LEGEND + 1, 40])
def test_the_legend_is_bounded_and_every_run_is_drawn(runs, count):
    figure = loss_figure(
        copies(runs, count, lr=lambda i: 0.01 + i / 1000), baselines={"uniform": 2.1}, window=1
    )
    texts = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    lines = [line for line in figure.axes[0].get_lines() if len(line.get_xdata()) == 40]
    assert len(lines) == count
    assert len(texts) <= MAX_LEGEND + 2
    if count > MAX_LEGEND:
        assert texts == [f"lr={0.01 + i / 1000:g}" for i in range(BEST)] + [
            f"{count - BEST} others, with higher losses", "uniform 2.10"
        ]  # fmt: skip
        assert sum(line.get_color() == PALE_LINE for line in lines) == count - BEST
        assert len({line.get_color() for line in lines}) == BEST + 1
    figure.draw_without_rendering()
    (axes,) = figure.axes
    assert axes.get_position().height > 0.4
    for legend in figure.legends:
        box = legend.get_window_extent()
        assert 0 <= box.x0 <= box.x1 <= figure.bbox.x1
        assert not box.overlaps(axes.get_window_extent())


def test_runs_that_differ_in_the_seed_alone_are_a_mean_and_a_band(runs):
    seeds = copies(runs, 5, seed=lambda i: i)
    figure = loss_figure(seeds, window=1)
    assert "Loss of 5 seeds" in texts_of(figure)
    ((mean,), (band,)) = lines_of(figure), figure.axes[0].collections
    assert mean == [(step, pytest.approx(2 + 1 / step + 0.02)) for step in range(1, 41)]
    corners = band.get_paths()[0].vertices
    at_end = corners[corners[:, 0] == 40, 1]
    assert (min(at_end), max(at_end)) == pytest.approx((2 + 1 / 40, 2 + 1 / 40 + 0.04))
    assert "training 2.04" in texts_of(figure)
    both = loss_figure([*seeds, *read(runs, "b")], window=1)
    assert len(both.axes[0].collections) == 1
    assert any(text.startswith("n_embd=8 (5 seeds)") for text in texts_of(both))
    assert any(text.startswith("n_embd=12") for text in texts_of(both))


def test_one_record_no_records_and_non_finite_losses(runs):
    edit_metrics(runs / "a", lambda r: r if r["step"] == 1 else None)
    figure = loss_figure(read(runs, "a"), baselines={"uniform": 3.2})
    assert [len(line) for line in lines_of(figure)] == [1, 2]
    save(figure, runs / "one.png")
    edit_metrics(runs / "b", lambda r: r | {"mean_loss": math.nan} if r["step"] < 20 else r)
    assert lines_of(loss_figure(read(runs, "b")))[0][0][0] == 20
    (runs / "b" / "metrics.jsonl").unlink()
    with pytest.raises(RunFolderError, match="expected losses to draw"):
        loss_figure(read(runs, "b"))
    edit_metrics(runs / "a", lambda r: r | {"mean_loss": "x"})
    with pytest.raises(RunFolderError, match="step 1: expected a number for mean_loss, got 'x'"):
        loss_figure(read(runs, "a"))


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=40), st.integers(1, 50))
def test_running_means(values, window):
    means = running_means(values, window)
    assert len(means) == len(values)
    assert min(values) - 1e-6 <= min(means)
    assert max(means) <= max(values) + 1e-6
    assert means[0] == pytest.approx(values[0]) or window < 3
    middle = len(values) // 2
    before, after = (window - 1) // 2, window // 2
    if before <= middle < len(values) - after:
        assert means[middle] == pytest.approx(np.mean(values[middle - before : middle + after + 1]), abs=1e-6)


def test_labels_do_not_overlap(runs):
    for name in "ab":
        edit_metrics(runs / name, lambda r: r | {"mean_loss": 2.5})
    figure = loss_figure([*read(runs, "a", "b"), read(runs, "deep")[0]])
    figure.draw_without_rendering()
    boxes = sorted(
        (text.get_window_extent() for text in figure.axes[0].texts if text.get_text()), key=lambda box: box.y0
    )
    assert len(boxes) == 3
    assert all(below.y1 <= above.y0 + 2 for below, above in pairwise(boxes))


def test_the_range_of_equal_losses_is_not_empty():
    class Flat:
        losses = means = [2.0] * 3
        val_losses = ()

    low, high = y_range([Flat], {})
    assert low < 2 < high


def test_a_loss_of_zero_and_its_label_are_above_the_axis(runs):
    edit_metrics(runs / "a", lambda r: r | {"loss": 0.0, "mean_loss": 0.0} if r["step"] > 1 else r)
    figure = loss_figure(read(runs, "a"), baselines={"optimum": 0.0})
    figure.draw_without_rendering()
    axes = figure.axes[0]
    assert axes.get_ylim()[0] < 0
    assert min(y for y in axes.get_yticks() if y >= axes.get_ylim()[0]) == 0
    (label,) = (text for text in axes.texts if text.get_text() == "training 0.00")
    assert label.get_window_extent().y0 > axes.bbox.y0


def test_a_run_in_one_file_is_named_without_its_ending(motegpt, trained, tmp_path):
    GPT.load(trained / "a").save(tmp_path / "3f36.motegpt")
    assert Run.read(str(tmp_path / "3f36.motegpt")).name == "3f36"
    ended = motegpt("plot", "3f36.motegpt", "--attention", "emma")
    assert (ended.code, ended.out) == (0, "3f36-attention-emma.png\n")


@pytest.mark.parametrize(("count", "turned"), [(8, {0}), (30, {0, 90})])
def test_labels_below_a_map_do_not_run_together(count, turned):
    with drawing():
        figure = new_figure(6, 6)
        axes = figure.add_subplot()
        _heat(axes, np.eye(count), [str(i) for i in range(count)], 5.0)
        figure.draw_without_rendering()
        boxes = [label.get_window_extent() for label in axes.get_xticklabels()]
        assert {label.get_rotation() for label in axes.get_xticklabels()} == turned
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


# Attention and embeddings


def test_attention_panels_show_the_weights(trained):
    (run,) = read(trained, "deep")
    figure = attention_figure(run, "emma")
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in panels] == [
        f"layer {i}, head {h}" for i in range(3) for h in range(2)
    ]
    maps = attention(run.parameters(), run.config.model, ids_of("emma", run.tokenizer, 8))
    for panel, weights in zip(panels, maps.reshape(6, 5, 5), strict=True):
        (image,) = panel.get_images()
        assert image.get_clim() == (0, 1)
        shown = image.get_array()
        np.testing.assert_array_equal(np.tril(shown.filled(0)), np.tril(weights))
        np.testing.assert_array_equal(shown.mask, np.triu(np.ones((5, 5), bool), 1))
    assert [tick.get_text() for tick in panels[-2].get_xticklabels()] == list("⊢emma")
    assert [tick.get_text() for tick in panels[0].get_yticklabels()] == list("⊢emma")


def test_layers_and_heads_can_be_chosen_and_the_size_is_bounded(trained):
    (run,) = read(trained, "deep")
    figure = attention_figure(run, "emma", layers=[2, 0, 2], heads=[1])
    assert [axes.get_title() for axes in figure.axes[:2]] == ["layer 0, head 1", "layer 2, head 1"]
    assert "2 of 3 layers, 1 of 2 heads · ⊢ begins the text" in texts_of(figure)
    with pytest.raises(UsageError, match="layer: expected 0 to 2, got 3"):
        attention_figure(run, "emma", layers=[3])
    assert selected("head", [], 1) == [0]
    assert selected("head", [], 24) == [0, 3, 7, 10, 13, 16, 20, 23]
    for positions in (2, 16, 1024):
        for panels in (1, 3, 8):
            assert 1.2 <= panel_size(positions, panels) <= 12 / panels


def test_a_long_text_has_fewer_ticks(tmp_path):
    GPT.train(["ab" * 50], steps=1, **{**SMALL, "block_size": 100}, preset="microgpt").save(tmp_path / "long")
    figure = attention_figure(Run.read(str(tmp_path / "long")), "ab" * 45)
    labels = [tick.get_text() for tick in figure.axes[1].get_xticklabels()]
    assert labels[0] == "0"
    assert len(labels) < 25


def test_the_map_of_tokens_has_every_token_once(trained):
    (run,) = read(trained, "a")
    figure = vocabulary_figure(run)
    plane, heat = figure.axes[:2]
    assert sorted(text.get_text() for text in plane.texts) == sorted([*run.tokenizer.characters, "⊢"])
    (image,) = heat.get_images()
    assert image.get_array().shape == (26, 26)
    np.testing.assert_allclose(np.diag(image.get_array()), 1)
    vectors = run.parameters()["wte"]
    characters = [symbol(name) for name in symbols_of(run, range(26))]
    points = dict(zip(characters, principal_plane(vectors)[0][:, 0], strict=True))
    names = [tick.get_text() for tick in heat.get_xticklabels()]
    assert names == sorted(names, key=points.__getitem__)


def label_boxes(figure, axes):
    for _ in range(3):  # the layout settles
        figure.draw_without_rendering()
    return {text.get_text(): text.get_window_extent() for text in axes.texts}


def assert_apart(boxes):
    for i, one in enumerate(boxes):
        for other in boxes[:i]:
            wide = min(one.x1, other.x1) - max(one.x0, other.x0)
            high = min(one.y1, other.y1) - max(one.y0, other.y0)
            assert wide <= 1e-6 or high <= 1e-6, (one, other)


@pytest.mark.parametrize("crowded", [1.0, 0.01, 0.0])
def test_labels_of_tokens_do_not_overlap(trained, monkeypatch, crowded):
    (run,) = read(trained, "a")
    parameters = {name: array * crowded for name, array in run.parameters().items()}
    parameters["wte"] = parameters["wte"].copy()
    parameters["wte"][0] += 1.0  # one token far away sets the scale
    monkeypatch.setattr(Run, "parameters", lambda self: parameters)
    figure = vocabulary_figure(run)
    boxes = label_boxes(figure, figure.axes[0])
    assert len(boxes) == 26
    assert_apart(list(boxes.values()))
    (lines,) = figure.axes[0].collections
    assert crowded == 1.0 or lines.get_segments()
    again = label_boxes(figure, figure.axes[0])
    for name, box in boxes.items():
        assert box.extents == pytest.approx(again[name].extents, abs=0.01)


def test_labels_of_positions_do_not_overlap(trained):
    (run,) = read(trained, "deep")
    figure = text_figure(run, "mmmmmmm")
    for axes in figure.axes[:4]:
        figure.draw_without_rendering()
        assert_apart([text.get_window_extent() for text in axes.texts])


def test_a_label_with_room_is_at_its_point_and_a_line_leads_to_any_other():
    points = np.array([[0.0, 0.0], [100.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    sizes = np.full((4, 2), 10.0)
    found = separated(points, sizes)
    assert found[1].tolist() == [100.0, 0.0]
    assert not overlapping(found[:, None], sizes[:, None], found, sizes)[~np.eye(4, dtype=bool)].any()
    assert np.abs(found - points).max() < 25
    assert (separated(points, sizes) == found).all()


def test_a_large_vocabulary_is_reduced():
    vectors = np.arange(1, 2001.0)[:, None] * [1.0, 0.0]
    assert selected_tokens(vectors, ["U+4E2D"] * 2000) == list(range(1900, 2000))
    assert selected_tokens(vectors[:9], ["a"] * 9) == list(range(9))


def test_the_residual_stream_of_a_text(trained):
    (run,) = read(trained, "deep")
    figure = text_figure(run, "emma")
    titles = [axes.get_title(loc="left") for axes in figure.axes[:4]]
    assert titles == ["embedded", "after layer 0", "after layer 1", "after layer 2"]
    assert [text.get_text() for text in figure.axes[0].texts] == list("⊢emma")
    assert figure.axes[4].get_images()[0].get_array().shape == (5, 5)


@pytest.fixture
def install(monkeypatch):
    """Set the installed font families, whatever this machine has."""

    def only(*families):
        fonts._installed_family_of.cache_clear()
        monkeypatch.setattr(fonts, "_installed", lambda: families)

    yield only
    fonts._installed_family_of.cache_clear()


def test_invisible_and_missing_characters_have_symbols(install):
    install()
    with drawing():
        found = [
            symbol(c) for c in ["<BOS>", "<EOS>", " ", "\t", "a", "é", "中", "🚀", "\u0301", "\u200b", "\x00"]
        ]
    assert found == ["⊢", "⊣", "␣", "⇥", "a", "é", "U+4E2D", "U+1F680", "◌\u0301", "U+200B", "U+0000"]
    assert printable("a 中") == "a U+4E2D"


def families_of(path):
    """Text -> the families that an SVG names for it, in quotes."""
    nodes = ElementTree.parse(path).iter(f"{SVG}text")
    return {"".join(node.itertext()): re.findall("'(.*?)'", node.get("style")) for node in nodes}


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_a_font_of_the_machine_draws_what_the_usual_one_lacks(install, tmp_path, kind):
    """⌒ is in the monospaced font that comes with matplotlib, and not in the usual one."""
    GPT.train(["a⌒b", "ba"], steps=1, **SMALL, preset="microgpt").save(tmp_path / "⌒")
    (run,) = read(tmp_path, "⌒")
    install("No Such Family", "DejaVu Sans Mono")
    maps = vocabulary_figure(run), text_figure(run, "a⌒"), attention_figure(run, "a⌒")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a glyph that is missing would be one
        for i, figure in enumerate([*maps, loss_figure([run])]):
            assert any("⌒" in text for text in texts_of(figure))
            save(figure, tmp_path / f"{i}.{kind}")
    if kind == "svg":
        for i in range(len(maps) + 1):
            for text, families in families_of(tmp_path / f"{i}.svg").items():
                assert families == ["DejaVu Sans", "DejaVu Sans Mono"][: 1 + ("⌒" in text)]
    install()
    assert "U+2312" in texts_of(vocabulary_figure(run))


def test_texts_that_the_usual_font_draws_ask_for_no_other(trained, tmp_path, monkeypatch):
    def looked_for():
        raise AssertionError("no other font is needed")

    monkeypatch.setattr(fonts, "_installed", looked_for)
    save(vocabulary_figure(read(trained, "a")[0]), tmp_path / "a.svg")
    assert all(families == ["DejaVu Sans"] for families in families_of(tmp_path / "a.svg").values())


def test_fonts_installed_after_matplotlib_made_its_list_are_found(tmp_path, monkeypatch):
    """And one that is damaged is none; nor is the font of boxes that matplotlib brings."""
    from matplotlib import font_manager

    new, damaged = tmp_path / "new.ttf", tmp_path / "damaged.ttf"
    shutil.copy(font_manager.findfont("DejaVu Sans Mono"), new)
    damaged.write_bytes(new.read_bytes()[:3000])
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(new), str(damaged)])
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [])
    fonts._installed.cache_clear()
    assert fonts._installed() == ["DejaVu Sans Mono"]
    fonts._installed.cache_clear()
    monkeypatch.undo()
    assert not any("last" in family.lower() for family in fonts._installed())


def test_the_characters_of_a_font_that_is_none():
    assert fonts._characters("No Such Family") == frozenset()
    assert ord("a") in fonts._characters("DejaVu Sans")


def test_long_labels_are_turned_and_signs_are_upright(install, tmp_path):
    install()
    GPT.train(["a中b", "ba"], steps=1, **SMALL, preset="microgpt").save(tmp_path / "run")
    (run,) = read(tmp_path, "run")
    for axes in (text_figure(run, "a中").axes[2], attention_figure(run, "a中").axes[0]):
        turned = {label.get_text(): label.get_rotation() for label in axes.get_xticklabels()}
        assert turned == {"⊢": 0, "a": 0, "U+4E2D": 90}


def test_streams_and_bytes_have_pictures_too(tmp_path):
    (tmp_path / "book.txt").write_text("the cat sat on the mät. " * 20)
    for name, how in (("s", {"format": "stream"}), ("b", {"tokenizer": "bytes"})):
        GPT.train(tmp_path / "book.txt", steps=3, **SMALL, **how, preset="microgpt").save(tmp_path / name)
    stream, bytes_run = read(tmp_path, "s", "b")
    figure = attention_figure(stream, "the ät.")
    labels = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert labels == list("the␣ät.")
    assert "each row adds up to 1" in texts_of(figure)
    figure = attention_figure(bytes_run, "mät")
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["⊢", "m", "C3", "A4", "t"]
    save(vocabulary_figure(bytes_run), tmp_path / "b.svg")
    assert baselines_of(stream)["uniform"] == pytest.approx(math.log(stream.tokenizer.vocab_size))
    assert baselines_of(stream)["trigram"] < baselines_of(stream)["unigram"]
    assert baselines_of(bytes_run)["uniform"] == pytest.approx(math.log(257))
    assert [bits_of(some) for some in ([stream], [bytes_run], [stream, bytes_run])] == [
        "bits per character", "bits per byte", "bits per token"
    ]  # fmt: skip


# Files


def test_a_png_is_one_and_has_its_size(trained, tmp_path):
    figure = loss_figure(read(trained, "a"))
    save(figure, tmp_path / "a.PNG", dpi=80)
    data = (tmp_path / "a.PNG").read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    size = int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    assert size == tuple(int(80 * inches) for inches in figure.get_size_inches())


@pytest.mark.parametrize("name", ["a", "odd"])
def test_an_svg_holds_its_labels_as_text_and_no_date(trained, tmp_path, name):
    (run,) = read(trained, name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save(vocabulary_figure(run), tmp_path / "e.svg")
        save(loss_figure([run]), tmp_path / "l.svg")
    texts = ["".join(node.itertext()) for node in ElementTree.parse(tmp_path / "e.svg").iter(f"{SVG}text")]
    odd = [*map(symbol, "日🚀"), "U+200D", "◌\u0301", "$", "\\", "␣"]  # 日 itself where a font has it
    expected = list("abcdefg⊢") if name == "a" else odd
    assert set(expected) <= set(texts)
    assert "loss (nats per token)" in (tmp_path / "l.svg").read_text()
    assert "date" not in (tmp_path / "l.svg").read_text()


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_same_run_gives_the_same_bytes(trained, tmp_path, suffix):
    for name in ("one", "two"):
        save(attention_figure(read(trained, "a")[0], "anna"), (tmp_path / name).with_suffix(suffix))
    one, two = ((tmp_path / name).with_suffix(suffix).read_bytes() for name in ("one", "two"))
    assert one == two
    save(attention_figure(read(trained, "a")[0], "ana"), tmp_path / f"three{suffix}")
    assert (tmp_path / f"three{suffix}").read_bytes() != one


def test_the_users_own_style_is_left_alone_and_does_not_matter(trained, tmp_path):
    import matplotlib

    save(loss_figure(read(trained, "a")), tmp_path / "one.svg")
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red"}):
        before = matplotlib.rcParams.copy()
        save(loss_figure(read(trained, "a")), tmp_path / "two.svg")
        assert matplotlib.rcParams.copy() == before
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    assert logging.getLogger("matplotlib").level == logging.NOTSET


# The command


@pytest.mark.slow
def test_plot_writes_what_it_says(motegpt, runs):
    edit_metrics(runs / "b", lambda r: r | {"val_loss": r["loss"]})
    for words, name in (
        (["a"], "a-loss.png"),
        (["a", "b", "--x", "tokens", "--smooth", 3], "a-and-others-loss.png"),
        (["a", "--attention", "em ma".replace(" ", "")], "a-attention-emma.png"),
        (["a", "--embeddings"], "a-embeddings.png"),
        (["a", "--embeddings", "anna"], "a-embeddings-anna.png"),
        (["a", "--out", "x.svg", "--no-baselines"], "x.svg"),
    ):
        ended = motegpt("plot", *words)
        assert (ended.code, ended.out, ended.err) == (0, f"{name}\n", ""), ended
        assert (runs / name).stat().st_size > 5000


def test_a_picture_is_not_overwritten_unless_told(motegpt, runs):
    (runs / "a-loss.png").write_text("precious")
    ended = motegpt("plot", "a")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "a-loss.png already exists; choose another, or --overwrite" in ended.err
    assert (runs / "a-loss.png").read_text() == "precious"
    assert motegpt("plot", "a", "--overwrite").code == 0
    assert (runs / "a-loss.png").read_bytes().startswith(b"\x89PNG")


def test_a_file_that_appears_while_a_picture_is_drawn_is_kept(trained, tmp_path, monkeypatch):
    from motegpt.plots import canvas

    monkeypatch.setattr(canvas, "check_out", lambda path, overwrite: None)
    (tmp_path / "a.png").write_text("precious")
    with pytest.raises(UsageError, match="already exists"):
        save(loss_figure(read(trained, "a")), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_text() == "precious"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "no such run folder"),
        ([], "missing argument"),
        (["a", "--out", "a.pdf"], "expected a file named *.png or *.svg, got a.pdf"),
        (["a", "--out", "no/such/a.png"], "cannot be written"),
        (["a", "--attention", "emmaÖ"], "expected only characters of the training data"),
        (["a", "--attention", ""], "at least one character"),
        (["a", "--attention", "emma" * 3], "at most 7 characters"),
        (["a", "--embeddings", ""], "at least one character"),
        (["a", "--attention", "em", "--embeddings"], "got both"),
        (["a", "--attention", "em", "--layer", 1], "layer: expected 0 to 0, got 1"),
        (["a", "b", "--attention", "em"], "expected one run for --attention, got 2"),
        (["a", "--embeddings", "--smooth", 2], "belong to loss curves"),
        (["a", "--head", 0], "belong to --attention"),
        (["a", "--smooth", 0], "x>=1"),
    ],
    ids=str,
)
def test_usage_errors_are_one_line_and_draw_nothing(motegpt, runs, words, message):
    ended = motegpt("plot", *words)
    assert (ended.code, ended.err.count("\n"), ended.out) == (2, 1, "")
    assert message in ended.err.lower() or message in ended.err
    assert not [path for path in runs.iterdir() if path.suffix]


def test_data_that_are_gone_or_changed_cost_the_baselines_alone(motegpt, tmp_path):
    (tmp_path / "list.txt").write_text("anna\nbob\n")
    assert motegpt("train", "list.txt", "--steps", 3, "--engine", "array", "--out", "run", "-n", 1).code == 0
    assert motegpt("plot", "run").err == ""
    (tmp_path / "list.txt").write_text("anna\nbob\nc\n")
    ended = motegpt("plot", "run", "--out", "b.png")
    assert (ended.code, ended.out, ended.err.count("\n")) == (0, "b.png\n", 1)
    assert "drawn without baselines" in ended.err
    assert "does not match the recorded training data" in ended.err
    (tmp_path / "list.txt").unlink()
    assert "is not found here" in motegpt("plot", "run", "--out", "c.png").err
    assert motegpt("plot", "run", "--out", "d.png", "--no-baselines").err == ""


def test_commands_normalize_a_text_as_the_training_data_was(motegpt, tmp_path):
    (tmp_path / "list.txt").write_text("fig\nif\n")
    words = ("--normalize", "nfkc", "--preset", "microgpt", "--steps", 2, "--engine", "array", "-n", 1)
    assert motegpt("train", "list.txt", *words, "--out", "run").code == 0
    for command in (
        ("plot", "run", "--attention"), ("plot", "run", "--embeddings"), ("graph", "--run", "run"),
    ):  # fmt: skip
        for text in ("\ufb01g", "fig"):
            ended = motegpt(*command, text, "--overwrite", "--out", f"{text}.svg")
            assert (ended.code, ended.err) == (0, "")
    assert (tmp_path / "\ufb01g.svg").read_text() == (tmp_path / "fig.svg").read_text()


def test_a_missing_matplotlib_is_one_line(motegpt, runs, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    ended = motegpt("plot", "a")
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert "pip install 'matplotlib>=3.8'" in ended.err
    assert not (runs / "a-loss.png").exists()
    with pytest.raises(LibraryUnavailable), drawing():
        pass


def test_nothing_of_matplotlib_is_said_even_on_a_machine_without_a_home(runs, tmp_path):
    (tmp_path / "no_home").write_text("")
    environment = {"PATH": "", "HOME": str(tmp_path / "no_home" / "x"), "PYTHONUTF8": "1"}
    program = (
        "import sys; from motegpt.cli import _run\n"
        "assert _run(['plot', 'odd', '--no-baselines']) == 0\n"
        "assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=runs, env=environment, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "odd-loss.png\n", "")


def test_sparklines():
    assert sparkline([], [], 9) == ""
    assert sparkline([1], [2.0], 3) == "▁▁▁"
    assert sparkline(range(8), range(8), 8) == "▁▂▃▄▅▆▇█"
    assert sparkline([0, 9], [1, 2], 4, levels="ab") == "aaab"
    assert sparkline([5], [1.5], 4, x_range=(0, 10), levels="abc") == "  aa"


@pytest.mark.slow
def test_maps_of_a_checkpoint(motegpt, tmp_path):
    words = ("--steps", 6, "--engine", "array", "-n", 1, "--checkpoint-every", 2, "--keep", 3)
    assert motegpt("train", *words, "--out", "run").code == 0
    drawn = {}
    for checkpoint in (2, 6, "last"):
        ended = motegpt(
            "plot", "run", "--embeddings", "--checkpoint", checkpoint, "--out", f"{checkpoint}.svg"
        )
        assert ended.code == 0, ended.err
        drawn[checkpoint] = (tmp_path / f"{checkpoint}.svg").read_bytes()
    assert drawn[6] == drawn["last"] != drawn[2]
    for words in (["--checkpoint", "last"], ["--embeddings", "--checkpoint", 3]):
        wrong = motegpt("plot", "run", *words, "--out", "x.svg")
        assert (wrong.code, wrong.err.count("\n")) == (2, 1)
