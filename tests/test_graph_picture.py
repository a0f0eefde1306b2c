"""The picture of a graph: its groups, numbers and colors are those of the graph."""

import html
import json
import re
import shutil
import subprocess
from xml.etree import ElementTree

import numpy as np
import pytest

from motegpt import GPT
from motegpt.config.presets import settings_of
from motegpt.config.sections import ModelConfig, section_values
from motegpt.data.batches import Batch
from motegpt.data.tokenizers import CharacterTokenizer
from motegpt.engines import make_engine
from motegpt.engines.scalar.draw import (
    BLUE,
    DIGITS,
    RED,
    Colors,
    drawn_nodes,
    number_text,
    operation_text,
    to_dot,
)
from motegpt.engines.scalar.graph import Value
from motegpt.engines.scalar.groups import MAX_PRODUCTS, TOTAL, Graph, check_size
from motegpt.engines.scalar.layout import is_weights, layout
from motegpt.engines.scalar.model import FUSED, UNFUSED
from motegpt.engines.scalar.picture import to_svg
from motegpt.engines.scalar.svg import png
from motegpt.errors import DataError, UsageError
from motegpt.evaluation.graphs import text_graph, tiny_graph
from tests.conftest import ARCHITECTURES

SVG = "{http://www.w3.org/2000/svg}"
SHAPE = {"n_embd": 4, "n_head": 2, "n_layer": 2}
CHROMIUM = shutil.which("chromium")
NUMBER = re.compile(r"-?(?:\d+\.?\d*)(?:e-?\d+)?")
NGRAMS = {"position": "rope", "qk_norm": True, "ngram_orders": 3, "ngram_min_count": 1}


def model(**settings):
    """A small trained model on the scalar engine."""
    names = ["emma", "anna", "mia", "ada", "amy"] * 2
    fixed = {"preset": "microgpt", "engine": "scalar", "steps": 4, "block_size": 8}
    return GPT.train(names, **{**fixed, **SHAPE, **settings})


def graph_of(found, text="emma"):
    return text_graph(found.engine, found.tokenizer, text)


@pytest.fixture(scope="module")
def graph():
    return tiny_graph("emma", SHAPE, 42, FUSED)


@pytest.fixture(scope="module")
def picture(graph):
    return ElementTree.fromstring(to_svg(graph))


def by_class(root, name, tag="g"):
    return [one for one in root.iter(SVG + tag) if name in one.get("class", "").split()]


def titles(root, name):
    return [one.find(f"{SVG}title").text for one in by_class(root, name)]


def test_every_number_of_the_graph_is_drawn_once_but_constants(graph, picture):
    nodes = drawn_nodes(graph.loss)
    drawn = [re.search(r" = (\S+), gradient (\S+)$", title).groups() for title in titles(picture, "c")]
    assert sorted(drawn) == sorted((repr(node.data), repr(node.grad)) for node in nodes)
    assert all(node.op != "constant" for node in nodes)
    assert sorted(map(id, (value for group in graph.groups for value in group.values))) == sorted(
        map(id, nodes)
    )


def test_every_parameter_on_the_path_of_the_text_appears_once_with_its_name(graph, picture):
    used = [
        name for node, name in graph.names.items() if not node.parents and node in drawn_nodes(graph.loss)
    ]
    names = [title.partition(" = ")[0] for title in titles(picture, "c")]
    assert len(used) > 300
    assert [names.count(name) for name in used] == [1] * len(used)
    assert "layer1.attn_wq[3,3]" in used
    assert {"wte[0,0]", "wpe[4,0]", "lm_head[3,3]", "layer0.mlp_fc2[3,15]"} <= set(used)


def test_the_groups_are_those_of_each_position_and_of_the_weights(graph, picture):
    found = titles(picture, "g")
    for position in range(5):
        for layer in range(2):
            for part in ("norm 1", "head 0", "head 1", "attention out", "norm 2", "MLP"):
                (title,) = [
                    t for t in found if t.startswith(f"layer {layer}, {part} at position {position}:")
                ]
                assert title.endswith("numbers")
        for part in ("embedding", "norm", "logits", "loss"):
            assert sum(t.startswith(f"{part} at position {position}:") for t in found) == 1
    assert f"{TOTAL}: 1 numbers" in found
    assert graph.columns == ["⊢ → e", "e → m", "m → m", "m → a", "a → ⊢"]
    headings = ["".join(text.itertext()) for text in by_class(picture, "h", "text")]
    assert headings == ["weights", *graph.columns, "layer 0", "layer 1"]


@pytest.mark.parametrize("reductions", [FUSED, UNFUSED])
def test_a_group_has_what_its_title_promises(reductions):
    graph = tiny_graph("emma", SHAPE, 42, reductions)
    head = next(g for g in graph.groups if (g.heading, g.column) == ("layer 1, head 1", 2))
    vectors = head.vectors(graph.names)
    assert {name: len(vector) for name, vector in vectors.items()} == {
        "q": 2, "k": 2, "v": 2, "scores": 3, "p": 3, "z": 2
    }  # fmt: skip
    assert sum(value.data for value in vectors["p"]) == pytest.approx(1)
    heads = [next(g for g in graph.groups if (g.heading, g.column) == (head.heading, u)) for u in range(3)]
    values = zip(*(one.vectors(graph.names)["v"] for one in heads), strict=True)
    z = [sum(p.data * v.data for p, v in zip(vectors["p"], column, strict=True)) for column in values]
    assert [value.data for value in vectors["z"]] == pytest.approx(z)
    users = {group.row: group for group in graph.groups if not is_weights(group)}
    for weights in filter(is_weights, graph.groups):
        assert users[weights.row].heading == weights.heading
    names = {group.heading: list(group.tensors) for group in graph.groups if is_weights(group)}
    assert names["layer 1, head 1"] == [f"layer1.attn_w{letter}" for letter in "qkv"]
    assert (names["layer 0, MLP"], names["logits"]) == (["layer0.mlp_fc1", "layer0.mlp_fc2"], ["lm_head"])


def test_numbers_have_four_significant_digits(graph, picture):
    cells = by_class(picture, "c")
    for cell, node in zip(cells, by_tooltip(graph, cells), strict=True):
        _, data, gradient = ("".join(text.itertext()) for text in cell.iter(f"{SVG}text"))
        assert (data, gradient) == (number_text(node.data), f"∂ {number_text(node.grad)}")
        for shown, true in ((data, node.data), (gradient[2:], node.grad)):
            assert NUMBER.fullmatch(shown), shown
            assert float(shown) == pytest.approx(true, rel=0.5 * 10 ** (1 - DIGITS))
            digits = shown.partition("e")[0].replace("-", "").replace(".", "").lstrip("0")
            assert len(digits) == DIGITS or true == 0


def by_tooltip(graph, cells):
    """The node of each cell, by its value and gradient in full precision."""
    nodes = {(repr(node.data), repr(node.grad)): node for node in drawn_nodes(graph.loss)}
    for cell in cells:
        title = cell.find(f"{SVG}title").text
        yield nodes[re.search(r" = (\S+), gradient (\S+)$", title).groups()]


def test_colors_follow_the_gradient(graph, picture):
    cells = by_class(picture, "c")
    nodes = list(by_tooltip(graph, cells))
    fills = [cell.find(f"{SVG}rect").get("fill") for cell in cells]
    rgb = [tuple(bytes.fromhex(fill[1:])) for fill in fills]
    for (r, _, b), node in zip(rgb, nodes, strict=True):
        assert (b <= r) if node.grad > 0 else (r <= b), node.grad
        assert node.grad or (r, b) == (255, 255)
    for sign in (-1, 1):
        pairs = sorted(
            (abs(node.grad), sum(color))
            for node, color in zip(nodes, rgb, strict=True)
            if sign * node.grad > 0
        )
        assert len({color for _, color in pairs}) > 20
        assert [color for _, color in pairs] == sorted((color for _, color in pairs), reverse=True)
    colors = Colors(2.0)
    assert (colors.rgb(2.0), colors.rgb(9.0), colors.rgb(-9.0)) == (RED, RED, BLUE)
    assert colors.rgb(0.0) == colors.rgb(float("nan")) == (255, 255, 255)
    assert colors.rgb(float("inf")) == RED


def test_the_picture_scales_and_its_parents_are_those_of_the_graph(graph, picture):
    x, y, width, height = map(float, picture.get("viewBox").split())
    assert (x, y) == (0, 0)
    assert 800 <= width <= 1100
    assert (float(picture.get("width")), float(picture.get("height"))) == (width, height)
    cells = by_class(picture, "c")
    names = [cell.find(f"{SVG}title").text for cell in cells]
    (root,) = [cell for cell, name in zip(cells, names, strict=True) if name.startswith("loss = sum")]
    numbers = [
        number
        for part in root.get("data-f").split()
        for first, _, last in [part.partition("-")]
        for number in range(int(first), int(last or first) + 1)
    ]
    assert [names[i].partition(",")[0] for i in numbers] == [
        f"loss[0] = × -0.2 = {parent.data!r}" for parent in graph.loss.parents
    ]


def test_boxes_do_not_overlap_and_are_in_the_picture(graph):
    for drawn in (graph, tiny_graph("a", {"n_embd": 1}, 42, FUSED), tiny_graph("a" * 20, {}, 42, FUSED)):
        found = layout(drawn)
        for i, one in enumerate(found.boxes):
            assert one.x >= 0
            assert one.y >= 0
            assert one.right <= found.width
            assert one.bottom <= found.height
            for other in found.boxes[:i]:
                assert (
                    one.right <= other.x
                    or other.right <= one.x
                    or one.bottom <= other.y
                    or other.bottom <= one.y
                )
        for content in found.contents:
            places = {(cell.x, cell.y) for cell in content.cells.values()}
            assert len(places) == len(content.cells)


def test_a_small_graph_begins_open_and_a_large_one_folded(graph, picture):
    small = ElementTree.fromstring(to_svg(tiny_graph("a", {"n_embd": 1}, 42, FUSED)))
    assert all("open" in one.get("class").split() for one in by_class(small, "g"))
    assert by_class(small, "l", "path")
    assert not any("open" in one.get("class").split() for one in by_class(picture, "g"))
    assert by_class(picture, "a", "path")
    assert not by_class(small, "a", "path")
    assert len(by_class(picture, "in")) == len(graph.groups)


def test_lines_of_attention_are_as_strong_as_its_weights(graph, picture):
    lines = [float(line.get("opacity")) for line in by_class(picture, "a", "path")]
    weights = [
        p.data
        for group in graph.groups
        if group.title.startswith("head") and group.column
        for p in group.vectors(graph.names)["p"][:-1]
    ]
    assert len(lines) == 4 * (1 + 2 + 3 + 4)
    assert sorted(lines) == pytest.approx(sorted(weights), rel=0.06)


def test_groups_alone_and_the_largest_groups_stay_folded(graph, monkeypatch):
    alone = ElementTree.fromstring(to_svg(graph, numbers=False))
    assert not by_class(alone, "c")
    assert titles(alone, "g") == titles(ElementTree.fromstring(to_svg(graph)), "g")
    monkeypatch.setattr("motegpt.engines.scalar.picture.MAX_CELLS", 300)
    some = ElementTree.fromstring(to_svg(graph))
    assert 200 < len(by_class(some, "c")) <= 300
    assert by_class(some, "out")
    opened = [one for one in by_class(some, "g") if by_class(one, "in")]
    assert 0 < len(opened) < len(graph.groups)
    assert not any("MLP" in one.find(f"{SVG}title").text for one in opened)


@pytest.mark.parametrize(
    "settings",
    [
        {}, NGRAMS, {"position": "rope"}, {"tied": True}, {"activation": "squared_relu"}, {"kneser_ney": 3},
        {"embedding_norm": False}, {"clip_node": 1.0}, {"engine": "native", "dtype": "float32"},
        *({**one, "dtype": "float64", "n_embd": 8, "warmup_steps": 2} for one in ARCHITECTURES.values()),
    ],
    ids=str,
)  # fmt: skip
def test_models_of_other_settings_are_drawn_whole(settings):
    found = model(**settings)
    graph = graph_of(found)
    before = found.engine.export().parameters
    picture = ElementTree.fromstring(to_svg(graph))
    assert len(by_class(picture, "c")) == len(drawn_nodes(graph.loss))
    assert all(group.values for group in graph.groups)
    names = {title.partition(" = ")[0] for title in titles(picture, "c")}
    for name in (
        "wte[",
        "layer0.attn_wq[",
        *(["ngram2[", "layer1.attn_q_gain["] if settings == NGRAMS else []),
    ):
        assert any(one.startswith(name) for one in names), name
    train = found.config.train.replace(dtype="float64", clip_node=None)
    exact = make_engine("array", found.config.model, train, found.engine.contexts)
    exact.load(before)
    loss, gradients = exact.gradients(_batch(found, "emma"))
    assert graph.loss.data == pytest.approx(loss, rel=1e-12)
    for node, name in graph.names.items():
        if not node.parents:
            tensor, place = re.fullmatch(r"([\w.]+)\[([\d,]*)\]", name).groups()
            assert node.grad == pytest.approx(gradients[tensor][tuple(map(int, place.split(",")))], abs=1e-14)
    assert all((before[name] == array).all() for name, array in found.engine.export().parameters.items())


def test_the_groups_of_a_llama_and_of_a_model_without_norms():
    """Two heads share keys and values: those are of the first. The MLP has a gate, the head a norm."""
    llama = model(**ARCHITECTURES["llama"], dtype="float64", n_embd=8, warmup_steps=2)
    found = {group.heading: group for group in graph_of(llama).groups if group.column == 1}
    names = graph_of(llama).names
    assert {"layer 0, norm 1", "layer 1, norm 2", "final norm", "logits"} < found.keys()
    assert [list(found[f"layer 0, head {head}"].parts) for head in (2, 3)] == [
        ["q", "k", "v", "scores", "p", "z"],
        ["q", "scores", "p", "z"],
    ]
    assert list(found["layer 0, MLP"].parts) == ["a", "u", "g", "mlp_out", "x"]
    weights = {group.heading: list(group.tensors) for group in graph_of(llama).groups if is_weights(group)}
    assert weights["final norm"] == ["ln_f_gain"]
    assert weights["layer 1, MLP"] == [f"layer1.mlp_{name}" for name in ("gate", "fc1", "fc2")]
    assert any(name.startswith("h_final[") for name in names.values())
    plain = graph_of(model(**ARCHITECTURES["none"]))
    assert not any("norm" in group.heading for group in plain.groups)


def _batch(found, text):
    return Batch.of(found.tokenizer.encode_documents([text]), "documents")


def test_a_graph_without_groups_is_one_picture():
    w, x = Value(0.5), Value(2.0)
    loss = (1.0 + (w * x).exp()).log()
    loss.backward()
    picture = ElementTree.fromstring(to_svg(Graph(loss, {w: "w", x: "x"})))
    assert [title.partition(" = ")[0] for title in titles(picture, "c")] == [
        "w",
        "x",
        "mul",
        "exp",
        "+ 1",
        "log",
    ]
    assert ElementTree.fromstring(to_svg(Graph(Value(1.0), {}))).get("viewBox")


def test_the_text_of_operations_has_their_constants():
    x, y = Value(2.0), Value(4.0)
    found = [x + 0.5, x - 0.5, x * 3.0, x**-0.5, x / y, x + y, -x, x.exp(), Value(0.0) ** 2.0]
    assert [operation_text(value) for value in found] == [
        "+ 0.5", "- 0.5", "× 3", "^ -0.5", "mul", "add", "× -1", "exp", "pow"
    ]  # fmt: skip


def test_characters_that_xml_forbids_are_written_as_code_points():
    tokenizer = CharacterTokenizer("\x01<a", "bos")
    found = GPT.train(["\x01<a", "a<"], preset="microgpt", engine="scalar", steps=1, n_embd=4, n_head=1)
    assert tokenizer.vocab_size == found.tokenizer.vocab_size
    picture = ElementTree.fromstring(to_svg(graph_of(found, "\x01<a")))
    headings = ["".join(text.itertext()) for text in by_class(picture, "h", "text")]
    assert headings[1:3] == ["⊢ → U+0001", "U+0001 → <"]


def test_dot_has_a_cluster_for_each_group(graph):
    text = to_dot(graph)
    assert text.count("subgraph cluster_") == len(graph.groups)
    assert 'label="layer 1, head 1"' in text
    assert "constant" not in text


def test_images_are_png():
    data = png([[(1, 2, 3), (4, 5, 6)], [(7, 8, 9)]])
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    pytest.importorskip("matplotlib")
    from io import BytesIO

    from matplotlib.image import imread

    assert (imread(BytesIO(data)) * 255).round().tolist() == [[[1, 2, 3], [4, 5, 6]], [[7, 8, 9], [255] * 3]]


# The command


@pytest.fixture
def run(tmp_path):
    model().save(tmp_path / "run")
    return tmp_path


def test_a_trained_run_is_drawn(motegpt, run):
    ended = motegpt("graph", "emma", "--run", "run")
    assert (ended.code, ended.err) == (0, "")
    loss = graph_of(GPT.load(run / "run", "scalar")).loss.data
    assert f"loss {loss:.4f} nats over 5 targets" in ended.out
    assert "layer1.attn_wq[0,0] = " in (run / "emma.svg").read_text()
    assert motegpt("graph", "emma", "--run", "run", "--out", "e.dot").code == 0
    assert motegpt("graph", "emma", "--run", "run", "--out", "g.svg", "--no-numbers").code == 0
    assert (run / "g.svg").stat().st_size < (run / "emma.svg").stat().st_size / 4


def test_without_a_text_it_is_the_first_letters_of_a_sample(motegpt, run):
    letters = GPT.load(run / "run", "scalar").generate(1, seed=7, min_new_tokens=2)[0][:4]
    assert motegpt("graph", "--run", "run", "--seed", 7, "--out", "s.svg").code == 0
    assert f"“{letters}”: loss" in (run / "s.svg").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "at least one character"),
        (["emma", "--checkpoint", "last"], "--checkpoint belongs to --run"),
        (["emma", "--run", "run", "--n-embd", 4], "--n-embd is of the tiny model"),
        (["emma", "--run", "nowhere"], "no such run folder"),
        (["exx", "--run", "run"], "expected only characters of the training data"),
        (["emmaemmaemma", "--run", "run"], "at most 7 characters"),
        (["", "--run", "run"], "empty"),
        (["emma", "--out", "a.dot", "--no-numbers"], "--no-numbers belongs to *.svg"),
        (["emma", "--n-embd", 4096], "choose a smaller model or a shorter text"),
    ],
    ids=str,
)
def test_usage_errors_are_one_line(motegpt, run, words, message):
    ended = motegpt("graph", *words)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert message in ended.err
    assert not list(run.glob("*.svg"))


def test_a_model_that_is_too_large_is_one_line_before_it_is_built():
    shape = {"n_embd": 768, "n_head": 12, "n_layer": 12, "vocab_size": 50_000}
    large = ModelConfig.of({**section_values(settings_of("microgpt"), "model"), **shape})
    with pytest.raises(UsageError, match=f"at most {MAX_PRODUCTS:,} products"):
        check_size(large, 5)
    check_size(large.replace(n_layer=1, n_embd=96, vocab_size=50, ngram_orders=2, ngram_rows=(2500,)), 5)


def test_only_the_rows_of_tables_that_a_text_uses_are_drawn():
    found = model(**NGRAMS)
    rows = found.engine.contexts.rows(np.array([_batch(found, "emma").inputs[0]]))
    expected = {
        (f"ngram{order}", int(row)) for order, one in enumerate(rows, 2) for row in one.ravel() if row >= 0
    }
    tables = [name for name in graph_of(found).names.values() if name.startswith("ngram")]
    assert {(name[:6], int(name[7:].partition(",")[0])) for name in tables} == expected
    assert len(expected) < sum(found.config.model.ngram_rows)


def test_a_stream_needs_two_characters():
    book = ["the cat sat on the mat. " * 20]
    stream = GPT.train(book, preset="microgpt", format="stream", engine="scalar", steps=1, n_embd=4, n_head=1)
    assert graph_of(stream, "the").columns == ["t → h", "h → e"]
    with pytest.raises(DataError, match="at least two characters"):
        graph_of(stream, "t")


CLICKS = """
<pre id="report"></pre><script>
const svg = document.querySelector("svg"), found = [], view = () => svg.getAttribute("viewBox");
const group = [...svg.querySelectorAll(".g")].find(
  g => g.textContent.startsWith("layer 0, head 1 at position 3:"));
const name = title => title.textContent.split(" = ")[0];
const texts = kind => [...svg.querySelectorAll(kind + " title")].map(name).join();
const click = part => group.querySelector(part).dispatchEvent(new MouseEvent("click", {bubbles: true}));
const later = what => new Promise(done => setTimeout(() => done(found.push(what())), 900));
const shown = part => getComputedStyle(group.querySelector(part)).display !== "none";
(async () => {
  found.push([view(), shown(".in"), shown(".out")]);
  click(".b");
  await later(() => [view(), shown(".in"), shown(".out")]);
  const cell = [...group.querySelectorAll(".c")].find(c => c.textContent.startsWith("p[0] = mul"));
  cell.dispatchEvent(new PointerEvent("pointerover", {bubbles: true}));
  found.push([texts(".from"), texts(".to")]);
  click(".t");
  await later(() => [view(), shown(".in"), shown(".out")]);
  svg.dispatchEvent(new WheelEvent("wheel", {deltaY: -300, cancelable: true}));
  found.push(Number(view().split(" ")[2]));
  document.dispatchEvent(new KeyboardEvent("keydown", {key: "Escape"}));
  await later(view);
  document.getElementById("report").textContent = JSON.stringify(found);
})();
</script>
"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_groups_open_in_a_browser(graph, tmp_path):
    (tmp_path / "page.html").write_text(f"<!doctype html><body>{to_svg(graph)}{CLICKS}")
    headless = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--force-prefers-reduced-motion",
        f"--user-data-dir={tmp_path}",
    ]
    command = [CHROMIUM, *headless, "--virtual-time-budget=9000", "--dump-dom", tmp_path / "page.html"]
    page = subprocess.run(command, capture_output=True, text=True).stdout
    report = html.unescape(re.search(r'<pre id="report">(.*?)</pre>', page)[1])
    first, opened, marked, folded, wheel, escaped = json.loads(report)
    found = layout(graph)
    whole = f"0 0 {found.width:g} {found.height:g}"
    assert first == folded == [whole, False, True]
    boxes = {(one.heading, one.column): box for one, box in zip(found.groups, found.boxes, strict=True)}
    box = boxes["layer 0, head 1", 3]
    assert [float(x) for x in opened[0].split()] == pytest.approx(
        [box.x - 10, box.y - 10, box.width + 20, box.height + 20], abs=0.01
    )
    assert opened[1:] == [True, False]
    assert marked == ["exp,^ -1", "z[0],z[1]"]
    assert wheel < found.width
    assert escaped == whole
