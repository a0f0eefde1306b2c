"""The pictures of the Python API: figures, drawings in given axes, and what a notebook shows of them."""

import sys

import numpy as np
import pytest

from motegpt import GPT, DataError, LibraryUnavailable, PrefixError, UsageError

pytest.importorskip("matplotlib")
from matplotlib.figure import Figure

NAMES = ["anna", "hanna", "nan", "hana", "ann", "han"]
SHAPE = {"n_layer": 2, "n_embd": 8, "n_head": 2, "block_size": 8}
SMALL = {**SHAPE, "steps": 20, "log_every": 2, "engine": "array", "preset": "microgpt"}


@pytest.fixture(scope="module")
def training():
    training = GPT.training(NAMES, **SMALL, val_fraction=0.3)
    assert list(training)
    return training


@pytest.fixture(scope="module")
def model(training):
    return training.model


def some_axes(rows=1, columns=1):
    return Figure(figsize=(4 * columns, 4 * rows)).subplots(rows, columns, squeeze=False)


def texts_of(axes):
    return [text.get_text() for text in axes.texts]


def test_attention_is_that_of_the_model(model):
    figure = model.plot_attention("anna")
    maps = model.attention("anna")
    panels = [axes for axes in figure.axes if axes.images][:4]
    for axes, expected in zip(panels, maps.reshape(4, 5, 5), strict=True):
        shown = axes.images[0].get_array()
        np.testing.assert_array_equal(shown.filled(0.0), expected)


def test_attention_in_given_axes(model):
    grid = some_axes(2, 2)
    assert model.plot_attention("anna", ax=grid) is grid
    assert [axes.get_title() for axes in grid.flat] == [
        f"layer {i}, head {j}" for i in (0, 1) for j in (0, 1)
    ]
    np.testing.assert_array_equal(grid[1, 0].images[0].get_array().filled(0.0), model.attention("anna")[1, 0])
    (one,) = some_axes().flat
    assert model.plot_attention("anna", layers=1, heads=[0], ax=one) is one
    assert one.get_title() == "layer 1, head 0"
    assert [label.get_text() for label in one.get_xticklabels()] == ["⊢", "a", "n", "n", "a"]
    pair = list(some_axes(1, 2).flat)
    model.plot_attention("anna", heads=1, ax=pair)
    assert [axes.get_title() for axes in pair] == ["layer 0, head 1", "layer 1, head 1"]


def test_attention_that_cannot_be_drawn(model):
    (one,) = some_axes().flat
    with pytest.raises(UsageError, match="ax: expected 4 axes, one for each of 2 layers and 2 heads, got 1"):
        model.plot_attention("anna", ax=one)
    with pytest.raises(UsageError, match="head: expected 0 to 1, got 2"):
        model.plot_attention("anna", heads=2)
    with pytest.raises(UsageError, match="layers: expected whole numbers, got 'a'"):
        model.plot_attention("anna", layers="a")
    with pytest.raises(PrefixError):
        model.plot_attention("anz")
    with pytest.raises(DataError, match="text: expected a string, got 3"):
        model.plot_attention(3)


def test_embeddings(model):
    assert len(model.plot_embeddings().axes) == 3
    assert len(model.plot_embeddings("anna").axes) == 7
    (one,) = some_axes().flat
    assert model.plot_embeddings(ax=one) is one
    assert sorted(texts_of(one)) == ["a", "h", "n", "⊢"]
    for layer in (0, None):
        (one,) = some_axes().flat
        model.plot_embeddings("anna", layer=layer, ax=one)
        assert texts_of(one) == ["⊢", "a", "n", "n", "a"]
        assert f"after {0 if layer == 0 else 2} of 2 layers" in one.get_title(loc="left")
    with pytest.raises(UsageError, match="layer: expected 0 to 2, got 3"):
        model.plot_embeddings("anna", layer=3, ax=one)
    with pytest.raises(UsageError, match="layer: expected axes as well, got none"):
        model.plot_embeddings("anna", layer=1)


def test_losses(model, training):
    for figure in (model.plot_loss(window=1), training.plot(window=1, baselines={"bigram": 1.1})):
        means, validation = figure.axes[0].get_lines()[:2]
        assert list(means.get_ydata()) == [record.mean_loss for record in model.records]
        assert list(validation.get_ydata()) == [record.val_loss for record in model.records]
    assert "bigram 1.10" in [text.get_text() for text in figure.legends[0].get_texts()]
    tokens = training.plot(along="tokens", window=1).axes[0].get_lines()[0]
    assert list(tokens.get_xdata()) == [record.tokens for record in model.records]


def test_losses_of_several_in_the_same_axes(model, training):
    (one,) = some_axes().flat
    assert model.plot_loss(ax=one, label="first", window=1) is one
    assert training.plot(ax=one, label="second", window=1) is one
    curves = [line for line in one.get_lines() if line.get_linestyle() == "-"]
    assert len(curves) == 2
    assert curves[0].get_color() != curves[1].get_color()
    assert [text.get_text() for text in one.get_legend().get_texts()] == ["first", "second"]
    circles = [line for line in one.get_lines() if line.get_linestyle() == "None"]
    assert [line.get_color() for line in circles] == [line.get_color() for line in curves]


def test_losses_that_cannot_be_drawn(model, tmp_path):
    model.save(tmp_path / "run")
    with pytest.raises(UsageError, match="plot: expected losses to draw, got none; train"):
        GPT.load(tmp_path / "run").plot_loss()
    with pytest.raises(UsageError, match="expected losses to draw, got none"):
        GPT.training(NAMES, **SMALL).plot()
    with pytest.raises(UsageError, match="along: expected step or tokens, got 'time'"):
        model.plot_loss(along="time")
    with pytest.raises(UsageError, match="window: expected a whole number of at least 1, got 0"):
        model.plot_loss(window=0)


def test_a_notebook_shows_a_figure_by_itself(model):
    figure = model.plot_attention("anna")
    image, size = figure._repr_png_()
    assert image.startswith(b"\x89PNG")
    assert size["width"] == round(80 * figure.get_figwidth())
    assert "matplotlib.pyplot" not in sys.modules or figure.number is None


def test_pyplot_does_not_know_the_figures(model):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    before = pyplot.get_fignums()
    model.plot_loss()
    assert pyplot.get_fignums() == before


def test_settings_of_the_user_stay(model):
    from matplotlib import rcParams

    before = dict(rcParams)
    model.plot_embeddings(ax=some_axes()[0, 0])
    assert dict(rcParams) == before


def test_a_model_with_ngrams_and_one_of_bytes():
    model = GPT.train(NAMES, **SMALL, ngram_orders=3, ngram_min_count=1)
    assert model.plot_attention("ann").axes
    one = GPT.train(NAMES, **SMALL, tokenizer="bytes").plot_attention(
        "é", layers=0, heads=0, ax=some_axes()[0, 0]
    )
    assert [label.get_text() for label in one.get_yticklabels()] == ["⊢", "C3", "A9"]


def test_without_matplotlib(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(LibraryUnavailable, match="plot needs matplotlib: pip install"):
        model.plot_attention("anna")
