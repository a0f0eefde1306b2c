"""Progress: one output of a notebook, one line of a terminal, and nothing anywhere else."""

import io
import os
import re
import subprocess
import sys
import types

import pytest

from motegpt import GPT, SettingError
from motegpt.api import progress
from motegpt.cli import console
from motegpt.system.terminals import is_live, is_notebook

WORDS = ["anna", "hanna", "nan"]
QUICK = {"steps": 30, "engine": "array", "log_every": 5, "seed": 1, "preset": "microgpt"}


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def no_notebook_around(monkeypatch):
    """The tests may run in a notebook or in an editor without a terminal."""
    for name in ("JPY_PARENT_PID", "MPLBACKEND"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setitem(sys.modules, "IPython", None)


@pytest.fixture
def terminal(monkeypatch):
    """Standard error as a terminal."""
    stderr = Terminal()  # sys itself is left alone: pytest replaces its streams after this
    monkeypatch.setattr(progress, "sys", types.SimpleNamespace(stderr=stderr))
    return stderr


@pytest.fixture
def notebook(monkeypatch):
    """A notebook: the list of what its outputs show, one list per output."""
    outputs = []

    class Handle:
        def __init__(self, data):
            self.shown = [data]
            outputs.append(self.shown)

        def update(self, data, raw):
            assert raw
            self.shown.append(data)

    ipython, display = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    ipython.get_ipython = lambda: types.SimpleNamespace(kernel=object())
    display.display = lambda data, raw, display_id: Handle(data)
    ipython.display = display
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return outputs


@pytest.fixture
def every_update(monkeypatch):
    """Displays show every update."""
    monkeypatch.setattr(progress.TerminalDisplay, "interval", 0.0)
    monkeypatch.setattr(progress.NotebookDisplay, "interval", 0.0)


def screen(text):
    """The lines that a terminal shows in the end, without spaces at their ends."""
    return [line.rpartition("\r")[2].rstrip() for line in text.replace("\r\n", "\n").split("\n")]


def test_a_terminal_has_one_line_that_is_removed(terminal, every_update):
    model = GPT.train(WORDS, **QUICK, progress=True)
    lines = [line.rstrip() for line in terminal.getvalue().split("\r") if line.strip()]
    assert re.fullmatch(r"step 1 of 30 · loss 1\.\d{3} · \d+ s left", lines[0])
    assert re.fullmatch(r"step 30 of 30 · loss \d\.\d{3}", lines[-1])
    assert "\n" not in terminal.getvalue()
    assert screen(terminal.getvalue()) == [""]
    assert model.records[-1].step == 30


def test_a_shorter_line_covers_a_longer_one(terminal):
    display = progress.TerminalDisplay()
    for text in ("a long line", "short"):
        display.show(types.SimpleNamespace(status=lambda text=text: text))
    assert terminal.getvalue() == "\ra long line\rshort      "
    display.end(None)
    assert screen(terminal.getvalue()) == [""]


def test_a_line_fits_the_terminal(terminal, every_update, monkeypatch):
    monkeypatch.setenv("COLUMNS", "12")
    GPT.train(WORDS, **QUICK, progress=True)
    assert max(map(len, terminal.getvalue().split("\r"))) == 11


def test_nothing_is_shown_in_the_first_half_second(terminal, every_update):
    GPT.train(WORDS, **QUICK)
    assert terminal.getvalue() == ""


def test_something_is_shown_after_it(terminal, every_update, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(progress, "time", types.SimpleNamespace(monotonic=lambda: sum(clock)))
    GPT.train(WORDS, **QUICK, callbacks=lambda record: clock.append(0.2))
    shown = [line.rstrip() for line in terminal.getvalue().split("\r") if line.strip()]
    assert shown[0].startswith("step 15 of 30")
    assert screen(terminal.getvalue()) == [""]


def test_nothing_is_shown_when_not_wanted(terminal, every_update, monkeypatch):
    GPT.train(WORDS, **QUICK, progress=False)
    assert terminal.getvalue() == ""
    pipe = io.StringIO()
    monkeypatch.setattr(progress, "sys", types.SimpleNamespace(stderr=pipe))
    GPT.train(WORDS, **QUICK, progress=True)
    assert pipe.getvalue() == ""
    with pytest.raises(SettingError, match="progress: expected True, False or None, got 'yes'"):
        GPT.train(WORDS, **QUICK, progress="yes")


def test_a_callback_prints_on_a_line_of_its_own(terminal, every_update):
    GPT.train(WORDS, **QUICK, progress=True, callbacks=lambda record: print(record.step, file=terminal))
    assert screen(terminal.getvalue()) == ["1", "5", "10", "15", "20", "25", "30", ""]


def test_the_line_is_removed_after_a_failure(terminal, every_update):
    with pytest.raises(ZeroDivisionError):
        GPT.train(WORDS, **QUICK, progress=True, callbacks=lambda record: 1 // (record.step - 10))
    assert screen(terminal.getvalue())[-1] == ""


def test_a_lost_terminal_does_not_end_a_training(monkeypatch, every_update):
    class Lost(Terminal):
        def write(self, text):
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(progress, "sys", types.SimpleNamespace(stderr=Lost()))
    assert GPT.train(WORDS, **QUICK, progress=True).records[-1].step == 30


def test_a_notebook_has_one_output_that_is_updated(notebook, every_update, terminal):
    GPT.train(WORDS, **QUICK, progress=True)
    assert terminal.getvalue() == ""
    (output,) = notebook
    assert len(output) > 5
    assert "step 1 of 30" in output[0]["text/html"]
    assert "<polyline" in output[-2]["text/html"]
    assert re.fullmatch(r"<div>step 30 of 30 · loss \d\.\d{3}</div>", output[-1]["text/html"])
    assert output[-1]["text/plain"].startswith("Training(step=30, ")


def test_a_short_training_has_no_output_in_a_notebook(notebook):
    GPT.train(WORDS, **QUICK)
    GPT.train(WORDS, **QUICK, progress=False)
    assert notebook == []


def test_a_training_that_is_shown_stays_up_to_date(notebook, every_update):
    training = GPT.training(WORDS, **QUICK)
    training._ipython_display_()
    (output,) = notebook
    assert len(output) == 1
    assert "step 0 of 30" in output[0]["text/html"]
    for record in training:
        if record.step == 10:
            break
    assert "step 10 of 30" in output[-1]["text/html"]
    list(training)
    assert "step 30 of 30" in output[-1]["text/html"]
    assert "<polyline" in output[-1]["text/html"]


def test_a_training_outside_of_a_notebook_is_printed(capsys):
    GPT.training(WORDS, **QUICK)._ipython_display_()
    assert capsys.readouterr().out == "Training(step=0, steps=30, engine='array')\n"


def test_what_is_a_notebook(notebook, monkeypatch):
    assert is_notebook()
    sys.modules["IPython"].get_ipython = lambda: None
    assert not is_notebook()
    sys.modules["IPython"].get_ipython = lambda: types.SimpleNamespace()  # a terminal with IPython
    assert not is_notebook()
    monkeypatch.delitem(sys.modules, "IPython")
    assert not is_notebook()


@pytest.mark.parametrize(
    ("name", "value"),
    [("JPY_PARENT_PID", "17"), ("MPLBACKEND", "module://matplotlib_inline.backend_inline"), ("TERM", "dumb")],
)
def test_a_command_of_a_notebook_is_not_live(name, value, monkeypatch):
    assert is_live(Terminal())
    monkeypatch.setenv(name, value)
    assert not is_live(Terminal())


def test_what_is_not_live():
    closed = Terminal()
    closed.close()
    assert not any(map(is_live, (None, io.StringIO(), closed)))


@pytest.mark.parametrize(("in_notebook", "report"), [(False, "LiveReport"), (True, "PlainReport")])
def test_a_command_prints_plain_lines_in_a_notebook(in_notebook, report, monkeypatch):
    if in_notebook:
        monkeypatch.setenv("JPY_PARENT_PID", "17")
    monkeypatch.setattr(sys, "stdout", Terminal())
    trainer = GPT.training(WORDS, **QUICK)._trainer
    assert type(console.report_for(trainer, as_json=False)).__name__ == report


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals are of POSIX")
@pytest.mark.parametrize("in_notebook", [False, True])
def test_train_on_a_pseudo_terminal(in_notebook):
    """As IPython's `!motegpt train` runs it: every line is printed once, and nothing is redrawn."""
    import pty

    environment = {**os.environ, **({"JPY_PARENT_PID": "17"} if in_notebook else {})}
    words = [sys.executable, "-m", "motegpt", "train", "--preset", "microgpt", "--engine", "array", "-n", "1"]
    master, slave = pty.openpty()
    with subprocess.Popen(words, stdout=slave, stderr=slave, env=environment) as process:
        os.close(slave)
        printed = b""
        while True:
            try:
                if not (more := os.read(master, 65536)):
                    break
            except OSError:  # the other end is closed
                break
            printed += more
    assert process.returncode == 0
    assert b"step 1000 / 1000" in printed
    assert (b"\x1b" not in printed and printed.count(b"\n") < 25) is in_notebook
