"""docs/scale.md: its computed numbers are computed, and what it cites it names."""

import importlib.util
import re
from pathlib import Path

import pytest

from motegpt.engines import training_memory
from motegpt.engines.cost import operations_per_token

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def scaling():
    """benchmarks/scaling.py, which prints the tables."""
    spec = importlib.util.spec_from_file_location("scaling", ROOT / "benchmarks" / "scaling.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def table(name):
    """The lines between the two comments of a table."""
    return PAGE.partition(f"<!-- {name} -->\n")[2].partition("<!-- end -->")[0].splitlines()


@pytest.mark.parametrize("name", ["configs", "links"])
def test_a_computed_table_is_what_is_computed(scaling, name):
    computed = list(scaling.COMPUTED[name]())
    assert table(name) == computed
    assert len(computed) > 4
    assert scaling.placed(PAGE, name, computed) == PAGE
    assert scaling.placed(PAGE, name, [*computed[:-1], computed[-1].replace("1", "2")]) != PAGE


def test_the_measured_shapes_stand_beside_what_is_computed_of_them(scaling):
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table("ladder")]
    rows = [row for row in rows if len(row) == 6 and row[0] not in ("changed", "---")]
    assert len(rows) == sum(map(len, scaling.LADDERS.values()))
    settings = {shown: name for name, shown in scaling.NAMES.items()}
    for changed, operations, _, _, computed, measured in rows:
        shown, value = changed.split()
        model, train = scaling.problem({**scaling.BASE, settings[shown]: int(value)})
        tokens = train.batch_size * model.block_size
        count = operations_per_token(model, model.block_size) * tokens
        expected = training_memory("native", model, train, model.block_size).total / 1e6
        assert operations == f"{count / 1e9:.3g} · 10⁹"
        assert computed == f"{expected:.1f}"
        assert expected < float(measured) < 1.05 * expected + 8


def test_an_exponent_is_that_of_a_power(scaling):
    xs = [1.0, 2.0, 5.0, 9.0]
    assert scaling.exponent(xs, [3 * x**1.7 for x in xs]) == pytest.approx(1.7)


def test_break_even_is_where_computing_takes_as_long_as_sending(scaling):
    speed, link, ranks, parameters = 1e12, 1e9, 4, 10**6
    tokens = scaling.break_even(speed, link, ranks)
    sent = 4 * scaling.all_reduce(parameters, ranks)
    assert 6 * parameters * tokens / speed == pytest.approx(sent / link)
    assert tokens == pytest.approx(4 / 3 * (ranks - 1) / ranks * speed / link)
    assert scaling.tensor_width(speed, link, ranks) == pytest.approx(2 / 9 * (ranks - 1) * speed / link)
    assert scaling.pipeline_size(speed, link, ranks) == pytest.approx(ranks * speed / 18 / link)


def test_every_source_is_named_and_used():
    text, _, sources = PAGE.partition("## Sources")
    text = " ".join(text.split())
    cited = set(re.findall(r"([A-Z][A-Za-z]+)(?: et al\.)?,? \(?((?:19|20)\d\d)", text))
    listed = {(line[2:].split()[0].rstrip(","), re.search(r"\((\d{4})\)", line)[1])
              for line in sources.splitlines() if re.match(r"- .*\(\d{4}\)", line)}  # fmt: skip
    cited = {(name if name != "Yuan" else "Patarasuk", year) for name, year in cited}
    assert cited - listed == set()
    assert listed - cited == set()
