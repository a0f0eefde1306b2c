"""The notebooks run in a fresh kernel, and a kernel shows what is to be shown, once."""

import json
import os
import re
import sys
from pathlib import Path

import pytest

nbclient = pytest.importorskip("nbclient", reason="needs nbclient and ipykernel: pip install -e '.[dev]'")
pytest.importorskip("ipykernel", reason="needs ipykernel: pip install -e '.[dev]'")
pytest.importorskip("matplotlib", reason="the notebooks draw: pip install -e '.[plot]'")
nbformat = pytest.importorskip("nbformat")

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
SECONDS = 120  # for one cell, on a machine with other work


def executed(notebook, folder, monkeypatch):
    """The notebook after a run of all its cells in a new kernel; CellExecutionError if one fails."""
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    resources = {"metadata": {"path": str(folder)}}
    client = nbclient.NotebookClient(notebook, timeout=SECONDS, kernel_name="python3", resources=resources)
    client.execute()
    return notebook


def outputs_of(cell):
    """The outputs of a cell as (kind, data or text)."""
    return [(output.output_type, output.get("data", output.get("text"))) for output in cell.outputs]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert all(cell.get("outputs", []) == [] for cell in notebook["cells"])
    assert all(cell.get("execution_count") is None for cell in notebook["cells"])
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"


def test_all_notebooks_are_found():
    assert [path.stem for path in NOTEBOOKS] == [
        "attention",
        "first_lesson",
        "grokking",
        "induction",
        "sweep",
        "training_dynamics",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path, monkeypatch):
    notebook = executed(nbformat.read(path, as_version=4), tmp_path, monkeypatch)
    shown = [output for cell in notebook.cells if cell.cell_type == "code" for output in outputs_of(cell)]
    assert not [text for kind, text in shown if kind == "stream" and "Warning" in text]
    images = [
        data for kind, data in shown if kind in ("display_data", "execute_result") and "image/png" in data
    ]
    assert len(images) >= 1
    assert list(tmp_path.iterdir()) == []


CELLS = {
    "short": """
from motegpt import GPT
from motegpt.api import progress
progress.FIRST_SECONDS = 1e9  # however slow the machine is
QUICK = {"steps": 30, "log_every": 2, "preset": "microgpt", "engine": "array"}
model = GPT.train(["anna", "hanna"], **QUICK)""",
    "progress": 'GPT.train(["anna", "hanna"], **QUICK, progress=True);',
    "model": "model",
    "training": 'training = GPT.training(["anna", "hanna"], **QUICK)\ntraining',
    "loop": "list(training);",
    "scores": 'model.score(["anna", "<script>"])',
    "figure": 'model.plot_attention("anna")',
    "axes": """
import matplotlib.pyplot as plt
figure, axes = plt.subplots()
model.plot_loss(ax=axes)""",
    "figure again": "model.plot_loss()",
    "value": """
from motegpt.engines.scalar.graph import Value
weight = Value(0.5)
weight * weight""",
    "command": f"!{sys.executable} -m motegpt train --preset microgpt --engine array --steps 300 -n 1",
}


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """The outputs of CELLS in a kernel, by name."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in CELLS.values()])
    with pytest.MonkeyPatch.context() as monkeypatch:
        executed(notebook, tmp_path_factory.mktemp("kernel"), monkeypatch)
    return dict(zip(CELLS, map(outputs_of, notebook.cells), strict=True))


@pytest.mark.slow
def test_a_short_training_shows_nothing(shown):
    assert shown["short"] == []


@pytest.mark.slow
def test_progress_is_one_output(shown):
    ((kind, data),) = shown["progress"]
    assert kind == "display_data"
    assert "step 30 of 30" in data["text/html"]


@pytest.mark.slow
def test_objects_have_tables(shown):
    for name in ("model", "scores"):
        ((kind, data),) = shown[name]
        assert kind == "execute_result"
        assert data["text/html"].count("<table") == 1
    assert "<script" not in shown["scores"][0][1]["text/html"]


@pytest.mark.slow
def test_a_training_is_updated_by_later_cells(shown):
    ((_, data),) = shown["training"]
    assert "step 30 of 30" in data["text/html"]
    assert "<polyline" in data["text/html"]
    assert shown["loop"] == []


@pytest.mark.slow
def test_a_figure_is_shown_once(shown):
    for name in ("figure", "axes", "figure again"):
        assert ["image/png" in data for _, data in shown[name]].count(True) == 1, name


@pytest.mark.slow
def test_a_value_is_a_picture_with_the_name_of_its_variable(shown):
    ((_, data),) = shown["value"]
    assert ">weight<" in data["image/svg+xml"]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals are of POSIX")
def test_a_command_prints_each_line_once(shown):
    text = "".join(text for _, text in shown["command"])
    steps = re.findall(r"step +(\d+) /  300", text)
    assert steps == ["1", "100", "200", "300"]
    assert "\x1b" not in text
