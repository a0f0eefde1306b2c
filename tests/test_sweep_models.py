"""The models that a sweep keeps: those of `GPT.train`, named by key, whatever ends the sweep in between."""

import errno
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import motegpt
from motegpt import GPT, RunFolderError, SettingError, SweepRows, UsageError
from motegpt.config.fields import kinds
from motegpt.config.sections import SECTIONS
from motegpt.sweeps.store import Store, line_of, read_rows
from motegpt.system.runs import KEPT
from motegpt.training.run_folder import RunFolder
from motegpt.training.write_run import Trained

from .test_sweep import NAMES, TABLE, without

SWEEP = {**TABLE, "fixed": {**TABLE["fixed"], "val_fraction": 0.25, "split_seed": 1, "log_every": 1}}


@pytest.fixture(scope="module")
def expected():
    """The rows of SWEEP, by key."""
    return without(motegpt.sweep(SWEEP, NAMES, threads=1))


def best_of(rows):
    """The key of the best row."""
    return min(rows.values(), key=lambda row: (row["best_val_loss"], row["key"]))["key"]


def names_in(folder):
    """The names of the files in a folder, hidden ones too."""
    return sorted(path.name for path in folder.iterdir())


def test_all_models_are_those_of_a_training_alone(expected, tmp_path):
    rows = motegpt.sweep(SWEEP, NAMES, out=tmp_path, keep="all")
    assert without(rows) == expected
    assert names_in(tmp_path / "models") == sorted(f"{key}.motegpt" for key in expected)
    for row in rows[:3]:
        loaded = GPT.load(rows.models[row["key"]])
        settings = {name: row[name] for name in ("lr", "n_layer", "seed", "engine")}
        alone = GPT.train(NAMES, preset="microgpt", **SWEEP["fixed"], **settings)
        assert loaded.generate(5, seed=1) == alone.generate(5, seed=1)
        assert loaded.score(NAMES) == alone.score(NAMES)
        assert RunFolder(rows.models[row["key"]]).metrics() == [one.values() for one in alone.records]


@pytest.mark.parametrize("how", [{"threads": 1}, {"threads": 3}, {"executor": ThreadPoolExecutor(2)}])
def test_the_best_model_is_the_same_on_any_number_of_workers(expected, how, tmp_path):
    rows = motegpt.sweep(SWEEP, NAMES, out=tmp_path, keep="best", **how)
    assert without(rows) == expected
    assert names_in(tmp_path / "best") == [f"{best_of(expected)}.motegpt"]
    assert rows.models == {best_of(expected): tmp_path / "best" / f"{best_of(expected)}.motegpt"}


def test_the_best_without_held_out_documents_has_the_lowest_loss(tmp_path):
    rows = motegpt.sweep(TABLE, NAMES, out=tmp_path, keep="best")
    (key,) = rows.models
    assert key == min(rows, key=lambda row: (row["loss"], row["key"]))["key"]


def test_models_come_from_other_processes(expected, tmp_path):
    motegpt.sweep(SWEEP, NAMES, out=tmp_path, keep="all", processes=2)
    assert names_in(tmp_path / "models") == sorted(f"{key}.motegpt" for key in expected)


def test_a_diverged_training_has_no_model(tmp_path):
    table = {**TABLE, "grid": {"lr": [1e200, 0.01]}, "fixed": {**TABLE["fixed"], "steps": 40}}
    rows = motegpt.sweep({**table, "repeat": {}}, NAMES, out=tmp_path, keep="all")
    assert (
        [row["status"] for row in rows if row["key"] in rows.models]
        == ["ok"]
        != [row["status"] for row in rows]
    )


@pytest.mark.parametrize("keep", ["all", "best"])
def test_a_sweep_that_continues_trains_again_where_the_model_is_missing(expected, tmp_path, keep):
    motegpt.sweep(SWEEP, NAMES, out=tmp_path)
    written = (tmp_path / "rows.jsonl").read_bytes()
    rows = motegpt.sweep(SWEEP, NAMES, out=tmp_path, keep=keep)
    assert without(rows) == expected
    found = expected if keep == "all" else [best_of(expected)]
    assert sorted(rows.models) == sorted(found)
    assert {row["attempts"] for row in rows} == {1}  # the same results are no other attempt
    assert (tmp_path / "rows.jsonl").read_bytes() == written
    assert motegpt.sweep(SWEEP, NAMES, out=tmp_path, keep=keep) == rows
    assert (tmp_path / "rows.jsonl").read_bytes() == written  # nothing ran again


def test_a_sweep_that_continues_trains_again_where_the_curve_is_missing(tmp_path):
    table = {**SWEEP, "fixed": {**SWEEP["fixed"]}, "grid": {"n_head": [2, 3]}}  # 3 is refused
    del table["fixed"]["n_head"]
    motegpt.sweep(table, NAMES, out=tmp_path)
    written = (tmp_path / "rows.jsonl").read_bytes()
    for fixed, series in (({}, {"curve"}), ({"log_statistics": True}, {"curve", "statistics"})):
        given = {**table, "fixed": {**table["fixed"], **fixed}}
        rows = motegpt.sweep(given, NAMES, out=tmp_path, curves=True)
        assert [series <= row.keys() for row in rows if row["status"] == "ok"] == [True, True]
        assert rows == motegpt.SweepRows.load(tmp_path)
        curves = (tmp_path / "curves.jsonl").read_bytes()
        assert motegpt.sweep(given, NAMES, out=tmp_path, curves=True) == rows
        assert (tmp_path / "curves.jsonl").read_bytes() == curves  # nothing ran again
    assert (tmp_path / "rows.jsonl").read_bytes() == written


def test_a_training_with_other_results_has_another_row(tmp_path):
    table = {**SWEEP, "repeat": {}, "grid": {"lr": [0.01]}}
    (row,) = motegpt.sweep(table, NAMES, out=tmp_path)
    (tmp_path / "rows.jsonl").write_bytes(line_of({**row, "loss": row["loss"] + 0.5}))
    (again,) = motegpt.sweep(table, NAMES, out=tmp_path, keep="all")
    assert (again["loss"], again["attempts"]) == (row["loss"], 2)
    assert list(motegpt.SweepRows.load(tmp_path)) == [again]


@pytest.mark.parametrize("keep", ["all", "best"])
@pytest.mark.parametrize("count", [1, 3])
def test_a_kill_between_a_model_and_its_row_loses_neither(expected, tmp_path, monkeypatch, keep, count):
    append, calls = Store.append, []

    def killed(self, rows, known):
        calls.append(rows)
        if len(calls) == count:
            raise KeyboardInterrupt
        append(self, rows, known)

    monkeypatch.setattr(Store, "append", killed)
    with pytest.raises(KeyboardInterrupt):
        motegpt.sweep(SWEEP, NAMES, out=tmp_path, keep=keep, threads=1)
    monkeypatch.undo()
    assert set(read_rows(tmp_path)) <= set(expected)
    rows = motegpt.sweep(SWEEP, NAMES, out=tmp_path, keep=keep, threads=1)
    assert without(rows) == expected
    assert sorted(rows.models) == sorted(expected if keep == "all" else [best_of(expected)])
    for path in rows.models.values():
        GPT.load(path)


def test_lost_rows_have_no_rank_and_other_files_stay(expected, tmp_path):
    first = motegpt.sweep({**SWEEP, "repeat": {"seed": [1]}}, NAMES, out=tmp_path)[0]
    with (tmp_path / "rows.jsonl").open("ab") as file:
        file.write(line_of({"key": first["key"], "status": "lost", "reason": "killed", "attempts": 3}))
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "mine.motegpt").touch()
    rows = motegpt.sweep(SWEEP, NAMES, out=tmp_path, keep="best")
    best = best_of({key: row for key, row in expected.items() if key != first["key"]})
    assert names_in(tmp_path / "best") == sorted([f"{best}.motegpt", "mine.motegpt"])
    assert list(rows.models) == [best]


def test_each_part_has_its_best(expected, tmp_path):
    for k in (1, 2, 3):
        rows = motegpt.sweep(SWEEP, NAMES, out=tmp_path, keep="best", part=f"{k}/3")
        assert best_of({row["key"]: row for row in rows}) in rows.models
    assert len(names_in(tmp_path / "best")) == 3
    rows = motegpt.sweep(SWEEP, NAMES, out=tmp_path, keep="best")
    assert list(rows.models) == [best_of(expected)]
    assert without(rows) == expected


def test_the_best_leaves_all_models_alone(expected, tmp_path):
    motegpt.sweep({**SWEEP, "repeat": {"seed": [1]}}, NAMES, out=tmp_path, keep="all")
    before = names_in(tmp_path / "models")
    rows = motegpt.sweep(SWEEP, NAMES, out=tmp_path, keep="best")
    assert names_in(tmp_path / "models") == before
    assert names_in(tmp_path / "best") == [f"{best_of(expected)}.motegpt"]
    assert without(rows) == expected


def test_the_command_keeps_and_show_names_the_models(motegpt, tmp_path):
    Path("sweep.toml").write_text(
        'preset = "microgpt"\n[fixed]\nsteps = 3\nengine = "array"\n[repeat]\nseed = [1, 2]\n'
    )
    ended = motegpt("sweep", "sweep.toml", "--out", "s", "--keep", "best")
    assert ended.code == 0, ended.err
    (file,) = Path("s/best").iterdir()
    assert f"  best model    {file}" in ended.out
    assert f"  best model    {file}" in motegpt("show", "s").out
    assert "  models " not in ended.out
    assert motegpt("sample", file, "-n", 2).code == 0
    counted = motegpt("sweep", "sweep.toml", "--out", "s", "--keep", "all", "--dry-run")
    assert "2 to run" in counted.out
    assert "0 to run" in motegpt("sweep", "sweep.toml", "--out", "s", "--keep", "best", "--dry-run").out
    assert motegpt("sweep", "sweep.toml", "--out", "s", "--keep", "all").code == 0
    assert "  models        2 in s/models\n  best model    s/models/" in motegpt("show", "s").out


def test_the_page_lists_the_fields_of_a_row(tmp_path):
    page = (Path(__file__).parents[1] / "docs" / "sweeps.md").read_text(encoding="utf-8")
    table = page.partition("\n## Rows\n")[2].partition("| field | is |\n|---|---|\n")[2].partition("\n\n")[0]
    listed = {name for line in table.splitlines() for name in re.findall("`(\\w+)`", line.split(" | ")[0])}
    settings = {"preset": "microgpt", **TABLE["fixed"], "log_statistics": True}
    table = {"preset": "microgpt", "fixed": {**TABLE["fixed"], "log_statistics": True}}
    rows = [
        *motegpt.train_many([settings], NAMES, curves=True),
        *motegpt.sweep(table, NAMES, out=tmp_path, curves=True),
    ]
    names = {name for section in SECTIONS.values() for name in kinds(section)}
    assert listed - {"level"} == {name for row in rows for name in row} - names


@pytest.mark.parametrize("keep", ["all", "best"])
def test_models_that_are_removed_while_a_sweep_runs(tmp_path, keep, monkeypatch):
    append = Store.append

    def removing(self, rows, known):
        append(self, rows, known)
        shutil.rmtree(tmp_path / "s" / KEPT[keep], ignore_errors=True)

    monkeypatch.setattr(Store, "append", removing)
    with pytest.raises(
        RunFolderError, match=f"{KEPT[keep]}: was removed while the sweep ran; begin it again"
    ):
        motegpt.sweep(SWEEP, NAMES, out=tmp_path / "s", keep=keep, threads=1)


@pytest.mark.parametrize("name", ["write", "as_file"])
def test_a_model_that_cannot_be_packed_is_an_error_of_the_sweep(expected, tmp_path, monkeypatch, name):
    original, calls = getattr(Trained, name), []

    def full(*given):
        calls.append(given)
        if len(calls) > 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(*given)

    monkeypatch.setattr(Trained, name, full)
    message = "^keep: expected room for a model in the temporary folder of .*No space left on device; free"
    with pytest.raises(RunFolderError, match=message):
        motegpt.sweep(SWEEP, NAMES, out=tmp_path, keep="all", threads=1)
    assert {row["status"] for row in read_rows(tmp_path).values()} == {"ok"}
    monkeypatch.undo()
    assert without(motegpt.sweep(SWEEP, NAMES, out=tmp_path, keep="all", threads=1)) == expected


def test_a_sweep_without_a_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    with pytest.raises(RunFolderError, match="keep: expected room for a model in the temporary folder"):
        motegpt.sweep(SWEEP, NAMES, out=tmp_path / "s", keep="best")
    assert read_rows(tmp_path / "s") == {}


def test_a_sweep_as_a_run_is_told_its_models(motegpt, tmp_path):
    Path("sweep.toml").write_text('preset = "microgpt"\n[fixed]\nsteps = 1\n[repeat]\nseed = [1, 2]\n')
    assert motegpt("sweep", "sweep.toml", "--out", "s").code == 0
    none = "s: is a sweep, not a run; it has kept no model; run it again with --keep best\n"
    assert motegpt("sample", "s").err.endswith(none)
    assert motegpt("sweep", "sweep.toml", "--out", "s", "--keep", "best").code == 0
    (file,) = Path("s/best").iterdir()
    with pytest.raises(RunFolderError, match=f"^s: is a sweep, not a run; give {file}$"):
        GPT.load("s")
    assert motegpt("sweep", "sweep.toml", "--out", "s", "--keep", "all").code == 0
    with pytest.raises(RunFolderError, match=f"is a sweep, not a run; give one of its 3 models, as {file}$"):
        GPT.load("s")


@pytest.mark.parametrize("given", [{"n": 3}, {"temperature": 0.5}, {"prefix": "a"}])
def test_settings_of_samples_need_a_model(given, tmp_path):
    table = {**SWEEP, "fixed": {**SWEEP["fixed"], **given}}
    (name,) = given
    expected = f"^{name}: expected a model that is kept, got none; set `keep`, or leave it out$"
    with pytest.raises(SettingError, match=expected):
        motegpt.sweep(table, NAMES, curves=True)
    with pytest.raises(SettingError, match=expected):
        motegpt.train_many([{"preset": "microgpt", **given}], NAMES)
    motegpt.train_many([{"preset": "microgpt", **given}], NAMES, keep="best")
    rows = motegpt.sweep({**table, "grid": {}, "repeat": {}}, NAMES, out=tmp_path, keep="best")
    (file,) = rows.models.values()
    assert getattr(GPT.load(file).config.sample, name) == given[name]


def test_invalid_arguments(tmp_path):
    with pytest.raises(UsageError, match="keep: expected a folder for the models, got none; set `out`"):
        motegpt.sweep(SWEEP, NAMES, keep="all")
    with pytest.raises(SettingError, match="keep: expected one of best, all, got 'none'"):
        motegpt.sweep(SWEEP, NAMES, keep="none", out=tmp_path)


def test_show_says_whose_model_the_best_is(motegpt, tmp_path):
    table = 'preset = "microgpt"\n[fixed]\nsteps = 4\neval_every = 2\nval_fraction = 0.2\n[repeat]\nseed = '
    Path("sweep.toml").write_text(f"{table}[1, 2]\n")
    assert motegpt("sweep", "sweep.toml", "--out", "s", "--keep", "best").code == 0
    (file,) = Path("s/best").iterdir()
    best = {row["key"]: row for row in SweepRows.load("s")}[file.stem]
    assert f"  best model    {file}, parameters of step {best['best_step']}\n" in motegpt("show", "s").out
    of_best = f" of the best, step {best['best_step']}, "
    assert f"parameters only{of_best}it cannot be resumed" in " ".join(motegpt("show", file).out.split())
    assert motegpt("export", file, "--to", "file", "--out", "copy.motegpt").code == 0
    assert f"samples{of_best}" in motegpt("show", "copy.motegpt").out
    Path("sweep.toml").write_text(f"{table}{{from = 1, to = 20}}\n")
    assert motegpt("sweep", "sweep.toml", "--out", "s").code == 0
    key = best_of({row["key"]: row for row in SweepRows.load("s")})
    assert key != file.stem
    shown = motegpt("show", "s").out
    assert f"  best model    none of the best row, {key}; --keep best trains it again\n" in shown
    assert str(file) not in shown
