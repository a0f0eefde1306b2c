"""The examples of docs/watching.md for programs that the tests do not install."""

import sys
from pathlib import Path
from types import SimpleNamespace

from motegpt import GPT
from tests.transcripts import blocks

PAGE = (Path(__file__).parents[1] / "docs" / "watching.md").read_text(encoding="utf-8")


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
    scripts = [block.text for block in blocks(PAGE) if block.language == "py"]
    assert len(scripts) == 2
    expected = [(one.step, one.values()) for one in GPT.train(preset="microgpt", lr=0.01).records]
    for script in scripts:
        run.logged.clear()
        exec(script, {})
        assert run.logged == expected
    assert parameters == [{"lr": 0.01}]
