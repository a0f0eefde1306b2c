"""The examples of the documents for programs that the tests do not install."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

from motegpt import GPT, SweepRows
from tests.transcripts import blocks

DOCS = Path(__file__).parents[1] / "docs"


def examples(name):
    """The scripts of a document that need other programs."""
    return [
        block.text for block in blocks((DOCS / name).read_text(encoding="utf-8")) if block.language == "py"
    ]


class Run:
    """What the examples use of a run of W&B or MLflow."""

    def __init__(self):
        self.logged = []

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def log(self, values, step):
        self.logged.append((step, values))


def test_the_examples_log_every_record(monkeypatch):
    run, parameters = Run(), []
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=lambda **settings: run))
    mlflow = SimpleNamespace(start_run=lambda: run, log_params=parameters.append, log_metrics=run.log)
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    scripts = examples("watching.md")
    assert len(scripts) == 2
    expected = [(one.step, one.values()) for one in GPT.train(preset="microgpt", lr=0.01).records]
    for script in scripts:
        run.logged.clear()
        exec(script, {})
        assert run.logged == expected
    assert parameters == [{"lr": 0.01}]


def test_the_executor_for_ray_runs_a_sweep(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweep.toml").write_text(
        'preset = "microgpt"\nfixed = {steps = 5}\ngrid = {lr = [0.01, 0.1]}'
    )
    with ThreadPoolExecutor(2) as pool:

        def remote(function):
            return SimpleNamespace(
                remote=lambda *given: SimpleNamespace(future=lambda: pool.submit(function, *given))
            )

        monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(remote=remote))
        (script,) = [text for text in examples("sweeps.md") if "ray" in text]
        exec(script, {})
    assert [row["status"] for row in SweepRows.load("sweeps/lr")] == ["ok", "ok"]
