"""What the command motegpt sweep says."""

import pytest

from motegpt import SweepRows
from motegpt import sweep as sweep_rows
from motegpt.cli.commands import sweep
from motegpt.sweeps.status import Status
from motegpt.sweeps.store import line_of
from motegpt.views.sweeps import WIDTH
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


def test_a_dry_run_tells_what_has_no_effect_without_held_out_documents(motegpt, table):
    table.write_text(TABLE.replace("steps = 5", "steps = 5, n_head = 4") + "repeat = {eval_every = [2, 3]}\n")
    needs = (
        "refused: eval_every: expected a validation set, got none; set `val_fraction=0.1`, or leave it out"
    )
    dry = motegpt("sweep", table, "--dry-run").out
    assert dry == f"4 trainings\n  4 {needs}\n  0 to run, under 1 s on one thread\n"
    shown = " ".join(motegpt("sweep", table, "--out", "out").out.split())
    assert f"4 {needs.replace('refused: ', 'refused: for example ')}" in shown
    held_out = table.read_text().replace("steps = 5", "steps = 5, val_fraction = 0.2")
    table.write_text(held_out)
    assert "\n  4 to run" in motegpt("sweep", table, "--dry-run").out


def test_a_long_reason_is_wrapped(motegpt, table):
    table.write_text(TABLE.replace("lr = [0.01, 0.1]", "lr = [1e200, 1e199]").replace("5", "40"))
    lines = motegpt("sweep", table, "--out", "out").out.splitlines()
    assert any(line.startswith("2 diverged: for example ") for line in lines)
    assert max(map(len, lines)) <= WIDTH


def test_truncated_documents_are_said_once(motegpt, table):
    table.write_text(TABLE.replace("steps = 5", "steps = 5, block_size = 4"))
    said = "4 documents are truncated at block_size 4; block_size=7 keeps all\n"
    assert motegpt("sweep", table, "--out", "out").err.count(said) == 1
    assert "truncated" not in motegpt("sweep", table, "--out", "out").err  # nothing was left to train
    with pytest.warns(
        UserWarning, match="4 documents are truncated at block_size 4; `block_size=7` keeps all"
    ):
        sweep_rows(table)


@pytest.mark.parametrize("how", [(), ("--dry-run",)])
def test_an_empty_name_is_no_folder(motegpt, table, how):
    assert motegpt("sweep", table, "--out", "", *how).err == "motegpt: out: expected a path, got ''\n"
