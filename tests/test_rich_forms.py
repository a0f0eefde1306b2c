"""What a notebook shows beside the repr: tables and curves, in which no text of a user is HTML."""

import math
import re
import sys
from xml.etree import ElementTree

import pytest

from motegpt import GPT
from motegpt.config.html import Line, Markup, bar, curve, facts, table
from motegpt.engines.scalar.graph import Value, dot, leaves, sum_values
from motegpt.engines.scalar.inline import BOX, HEIGHT, MAX_DEPTH, MAX_NODES, MAX_PARENTS, MAX_TITLE
from motegpt.evaluation.nll import Evaluation, Score, Scores
from motegpt.training.records import Report
from tests.test_reprs import WORDS

ATTACK = "<script>alert('x')</script>&\x1b[31m\"\n"
QUICK = {"steps": 12, "engine": "array", "log_every": 2, "seed": 3, "preset": "microgpt"}


@pytest.fixture(scope="module")
def model():
    return GPT.train(WORDS, **QUICK, val_fraction=0.3)


def parsed(html):
    """The elements; an error unless every tag is closed, and nothing is loaded or executed."""
    root = ElementTree.fromstring(f"<root>{html.replace('&nbsp;', ' ')}</root>")
    for element in root.iter():
        tag = element.tag.rpartition("}")[2]
        assert tag in {"root", "div", "table", "caption", "thead", "tbody", "tr", "th", "td", "b", "span",
                       "svg", "text", "path", "polyline"}  # fmt: skip
        assert not any(name.startswith("on") or name in ("href", "src") for name in element.attrib)
        assert "url(" not in element.get("style", "")
    return root


def cells(html):
    """The texts of the table, row by row."""
    return [["".join(cell.itertext()) for cell in row] for row in parsed(html).iter("tr")]


def test_the_table_of_a_model(model):
    rows = dict(cells(model._repr_html_()))
    assert rows["model"] == "1 layer, 16 wide, 4 heads, block_size 16: 3,456 parameters"
    assert rows["vocabulary"] == "4 tokens: 'ahn'"
    assert rows["engine"] == "array, float64"
    assert rows["loss"] == f"{model.records[-1].mean_loss:.4f} nats per token at step 12"
    assert rows["validation"] == f"{model.records[-1].val_loss:.4f} nats per token at step 12"


def test_the_curve_of_a_model_is_that_of_its_records(model):
    lines = list(parsed(model._repr_html_()).iter("{http://www.w3.org/2000/svg}polyline"))
    assert len(lines) == 2
    heights = [float(point.split(",")[1]) for point in lines[0].get("points").split()]
    losses = [record.mean_loss for record in model.records]
    assert len(heights) == len(losses)
    assert heights.index(max(heights)) == losses.index(min(losses))


def test_a_loaded_model_has_a_table_without_losses(model, tmp_path):
    model.save(tmp_path / "run")
    html = GPT.load(tmp_path / "run")._repr_html_()
    assert "loss" not in dict(cells(html))
    assert "<svg" not in html


def test_an_averaged_model_says_so():
    model = GPT.train(WORDS, **QUICK, kneser_ney=3, kneser_ney_weight=0.25)
    assert dict(cells(model._repr_html_()))["averaged with"] == "Kneser-Ney n-grams of order 3, weight 0.25"


def test_long_trainings_have_short_curves():
    model = GPT.train(WORDS, **{**QUICK, "steps": 3000, "log_every": 1, "n_embd": 4})
    assert len(model._repr_html_()) < 8000


def test_nothing_of_a_user_is_executed(tmp_path):
    (tmp_path / "<b>.txt").write_text(f"a{ATTACK.strip()}\nb{ATTACK.strip()}\n")
    model = GPT.train(tmp_path / "<b>.txt", **QUICK, block_size=64)
    shown = [model, model.next("a"), model.score([ATTACK]), model.score([ATTACK])[0], model.evaluate(["a"])]
    for one in shown:
        assert parsed(one._repr_html_()) is not None
        assert "<script" not in one._repr_html_()
        assert "\x1b" not in one._repr_html_()
    assert dict(cells(model._repr_html_()))["data"].endswith("<b>.txt, 2 documents")


def test_scores_are_a_table_and_still_a_list(model):
    scores = model.score(["anna", ATTACK])
    assert isinstance(scores, list)
    assert scores == list(scores)
    assert cells(scores._repr_html_()) == [
        ["text", "log-probability (nats)", "bits per character"],
        ["anna", f"{scores[0].log_probability:.3f}", f"{scores[0].bits_per_character:.3f}"],
        [ATTACK.strip().replace("\x1b", "\\x1b"), "-inf", "inf"],
    ]
    assert cells(scores[0]._repr_html_()) == cells(scores._repr_html_())[:2]
    many = Scores([Score("a", -1.0, 2, 2)] * 101)
    assert len(cells(many._repr_html_())) == 101
    assert "101 texts, the first 100" in many._repr_html_()


def test_an_evaluation_is_a_table_with_the_best_first():
    found = Evaluation({"uniform": 2.0, "model": 1.0}, 2, 6, 6, 1, ["x"])
    rows = cells(found._repr_html_())
    assert rows[1:] == [["model", "1.0000", "1.443"], ["uniform", "2.0000", "2.885"]]
    assert "2 documents, 1 of them in the training data, 1 skipped" in found._repr_html_()


def test_what_a_training_measured_is_shown(model, monkeypatch):
    found = Evaluation({"uniform": 2.0, "model": 1.0}, 2, 6, 6, 1, [])
    report = Report(found, None, of_second=False)
    assert cells(report._repr_html_()) == [["model", "1.443"], ["uniform", "2.885"]]
    assert "bits per character" not in dict(cells(model._repr_html_()))
    monkeypatch.setattr(model, "report", report)
    assert dict(cells(model._repr_html_()))["bits per character"] == "model 1.443, uniform 2.885"
    assert cells(Report(None, None, of_second=False)._repr_html_()) == []


def test_next_is_a_table_with_bars(model):
    rows = cells(model.next("an")._repr_html_())
    assert [row[0] for row in rows[1:]] == list(model.next("an"))
    spaced = GPT.train([f"{c} {c}" for c in "abcdefghijklm"], **{**QUICK, "steps": 60})
    rows = [row[0] for row in cells(spaced.next("a")._repr_html_())]
    assert next(iter(spaced.next("a"))) == " "
    assert (len(rows), rows[1], rows[-1]) == (14, "' '", "others")


def test_parts():
    assert cells(table(["a"], [["<&>"], [Markup("<b>bold</b>")]])) == [["a"], ["<&>"], ["bold"]]
    assert cells(facts("title", [("a\n", "b")])) == [["a\\n", "b"]]
    wide, narrow = (float(re.search(r"width:([\d.]+)px", bar(share))[1]) for share in (1.0, 0.5))
    assert wide == 2 * narrow > 0
    assert curve([], (0, 1), "none") == ""
    assert parsed(curve([Line("<x>", [(1, 2.0)])], (1, 1), "a <b>")) is not None


# Graphs


SVG = "{http://www.w3.org/2000/svg}"


def drawn(value):
    """The texts, and the numbers of boxes and of lines of a graph's picture."""
    root = ElementTree.fromstring(value._repr_svg_())
    texts = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
    return texts, len(list(root.iter(f"{SVG}rect"))) - 1, len(list(root.iter(f"{SVG}path")))


def test_a_small_graph_has_every_number(monkeypatch):
    w, x = Value(0.5), Value(2.0)
    loss = (1.0 + (w * x).exp()).log()
    loss.backward()
    monkeypatch.setattr(sys.modules["__main__"], "weight", w, raising=False)
    texts, boxes, lines = drawn(loss)
    assert (boxes, lines) == (7, 6)
    assert {"weight", "leaf", "mul", "exp", "constant", "add", "log"} <= set(texts)
    assert {"1.313", "grad 1.462", "× 2", "× 0.5", "× 2.718", "× 0.2689"} <= set(texts)


def test_a_value_used_twice_has_one_line():
    x = Value(3.0)
    texts, boxes, lines = drawn(x * x)
    assert (boxes, lines) == (2, 1)
    assert "× 6" in texts


def test_a_long_line_passes_no_box():
    """w goes to the last sum past two columns, in which it takes the place of a box."""
    w = Value(0.5)
    last = (w * 2.0).exp() + w
    root = ElementTree.fromstring(last._repr_svg_())
    passages = [path.get("d") for path in root.iter(f"{SVG}path") if path.get("d").endswith(f"h{BOX}")]
    assert len(passages) == 2
    for passage in passages:
        x, y = map(float, passage[1:].partition("h")[0].split())
        boxes = [box for box in root.iter(f"{SVG}rect") if box.get("x") and float(box.get("x")) == x]
        assert all(abs(float(box.get("y")) + HEIGHT / 2 - y) > HEIGHT / 2 for box in boxes)


def test_large_graphs_are_folded():
    values = leaves(map(float, range(1000)))
    texts, boxes, _ = drawn(dot(values[:500], values[500:]))
    assert boxes == MAX_PARENTS + 1
    assert f"{1000 - MAX_PARENTS} more" in texts
    assert drawn(sum_values([dot(values[i : i + 9], values[:9]) for i in range(0, 90, 9)]))[1] == MAX_NODES
    chain = Value(1.0)
    for _ in range(100_000):
        chain = chain + 1.0
    texts, boxes, _ = drawn(chain)
    assert boxes <= 2 * MAX_DEPTH + 1
    assert "2 more" in texts
    assert len(chain._repr_svg_()) < 20_000


def test_boxes_do_not_overlap_and_lie_inside():
    x, y = leaves([0.3, 1.2])
    for _ in range(6):
        x, y = (x * y).tanh(), x + y
    root = ElementTree.fromstring((x * y)._repr_svg_())
    places = {(float(box.get("x")), float(box.get("y"))) for box in root.iter(f"{SVG}rect") if box.get("x")}
    assert len(places) == len(list(root.iter(f"{SVG}rect"))) - 1 > 10
    assert max(x for x, _ in places) + BOX < float(root.get("width"))
    assert max(y for _, y in places) + HEIGHT < float(root.get("height"))


def test_names_and_operations_are_escaped():
    value = Value(math.nan, "<&" * MAX_TITLE)
    assert "<&" * (MAX_TITLE // 2) in drawn(value)[0]
    assert "nan" in drawn(value)[0]
