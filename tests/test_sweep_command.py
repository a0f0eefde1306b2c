"""What the command motegpt sweep says."""

import pytest

from motegpt import SweepRows
from motegpt.cli.commands import sweep
from motegpt.sweeps.status import Status
from motegpt.sweeps.store import line_of
from tests.test_sweep import NAMES

TABLE = 'data = "names.txt"\npreset = "microgpt"\nfixed = {steps = 5}\ngrid = {lr = [0.01, 0.1]}\n'


@pytest.fixture
def table(tmp_path):
    """A sweep of two trainings."""
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    (tmp_path / "sweep.toml").write_text(TABLE)
    return tmp_path / "sweep.toml"


def test_a_dry_run_counts_what_has_no_row(motegpt, table):
    assert motegpt("sweep", table, "--out", "out").code == 0
    table.write_text(TABLE.replace("0.1]", "0.1, 0.2]"))
    assert motegpt("sweep", table, "--out", "out", "--dry-run").out.startswith("3 trainings\n  1 to run")


@pytest.mark.parametrize("how", [(), ("--dry-run",)])
def test_data_that_changed_are_refused(motegpt, table, how):
    assert motegpt("sweep", table, "--out", "out").code == 0
    (table.parent / "names.txt").write_text("other\n" * 9)
    ended = motegpt("sweep", table, "--out", "out", *how)
    assert ended.code == 2
    assert "names.txt as it was when the sweep in out began, got other contents; restore them" in ended.err


def test_ctrl_c_on_a_terminal_is_answered_on_a_line_of_its_own(monkeypatch, capsys):
    monkeypatch.setattr(sweep, "is_live", lambda stream: True)
    display = sweep.Display()
    display.show(Status(4))
    display.finish()
    first, second, _ = capsys.readouterr().err.split("\n")
    assert first.strip() == "0 of 4 trainings"
    assert second.startswith("finishing the trainings that run")


def test_a_dry_run_counts_what_runs_again(motegpt, table):
    assert motegpt("sweep", table, "--out", "out").code == 0
    assert "\n  0 to run" in motegpt("sweep", table, "--out", "out", "--dry-run").out
    assert "\n  2 to run" in motegpt("sweep", table, "--out", "out", "--dry-run", "--curves").out
    with open("out/rows.jsonl", "ab") as file:
        key = SweepRows.load("out")[0]["key"]
        file.write(line_of({"key": key, "status": "lost", "attempts": 4}))
    assert "\n  1 to run" in motegpt("sweep", table, "--out", "out", "--dry-run", "--retry-failed").out
