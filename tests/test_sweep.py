"""A sweep in this process: rows, resuming, what is refused, interruptions."""

import json
import os
import pickle
import re
import signal
import sys
import threading
import time
from collections import Counter
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import SimpleNamespace

import pytest

import motegpt
from motegpt.config.sections import model_and_training
from motegpt.engines.budget import OPERATIONS_PER_SECOND
from motegpt.errors import (
    DataError,
    EngineUnavailable,
    MotegptError,
    RunFolderError,
    SettingError,
    UsageError,
)
from motegpt.sweeps.estimate import VOCABULARY, Queue, predicted_seconds, settings_at
from motegpt.sweeps.executors import Pool, pool_maker
from motegpt.sweeps.results import Results
from motegpt.sweeps.run import Sweep, read_table
from motegpt.sweeps.runner import Runner
from motegpt.sweeps.status import Status
from motegpt.sweeps.store import Part, Recorded, Store, cut_torn_line, line_of, read_rows
from motegpt.sweeps.work import host, run_group
from motegpt.training.events import first_chunk_size

NAMES = ["anna", "hanna", "nan", "otto", "ada", "bob", "eve", "hannah"]
TABLE = {
    "preset": "microgpt",
    "fixed": {"steps": 5, "n_embd": 4, "n_head": 2, "block_size": 8, "dtype": "float64"},
    "grid": {"lr": [0.01, 0.02, 0.03], "n_layer": [1, 2]},
    "repeat": {"seed": [1, 2]},
}
CHANGING = ("seconds", "host", "attempts")  # what may differ between two rows of one training


def without(rows, names=CHANGING):
    """The rows by key, without what may differ."""
    rows = list(rows.values() if isinstance(rows, dict) else rows)
    found = {row["key"]: {k: v for k, v in row.items() if k not in names} for row in rows}
    assert len(found) == len(rows)
    return json.loads(json.dumps(found))


@pytest.fixture(scope="module")
def expected():
    """The rows of TABLE, by key."""
    return without(motegpt.sweep(TABLE, NAMES, threads=1))


def test_the_rows_are_those_of_single_trainings(expected):
    assert len(expected) == 12
    for row in list(expected.values())[:3]:
        model = motegpt.GPT.train(
            NAMES, preset="microgpt", **TABLE["fixed"], lr=row["lr"], n_layer=row["n_layer"], seed=row["seed"]
        )
        assert model.records[-1].loss == row["loss"]  # five percent of five steps is the last
        assert (row["status"], row["steps_done"]) == ("ok", 5)


@pytest.mark.parametrize(
    "how", [{"threads": 2}, {"executor": ThreadPoolExecutor(3)}], ids=["threads", "executor"]
)
def test_rows_do_not_depend_on_the_number_of_workers(expected, how, tmp_path):
    assert without(motegpt.sweep(TABLE, NAMES, out=tmp_path / "s", **how)) == expected
    assert without(read_rows(tmp_path / "s")) == expected


def test_a_sweep_continues_where_it_ended(expected, tmp_path):
    seen = []

    def stop(status):
        seen.append(status.done)
        if status.done >= 4:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        motegpt.sweep(TABLE, NAMES, out=tmp_path, threads=1, progress=stop)
    before = read_rows(tmp_path)
    assert 4 <= len(before) < 12
    rows = motegpt.sweep(TABLE, NAMES, out=tmp_path)
    assert without(rows) == expected
    assert all(row in rows for row in before.values())  # nothing ran twice
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 12
    assert motegpt.sweep(TABLE, NAMES, out=tmp_path) == rows


def test_a_larger_table_runs_what_it_has_more(expected, tmp_path):
    motegpt.sweep({**TABLE, "repeat": {"seed": [1]}}, NAMES, out=tmp_path)
    assert without(motegpt.sweep(TABLE, NAMES, out=tmp_path)) == expected
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 12
    assert len(Results.read(tmp_path).rows) == 12
    motegpt.sweep({**TABLE, "repeat": {"seed": [1]}}, NAMES, out=tmp_path)
    assert len(Results.read(tmp_path).rows) == 6  # the others stay in the file


def test_parts_have_files_of_their_own_and_together_all_rows(expected, tmp_path):
    rows = [row for k in (1, 2, 3) for row in motegpt.sweep(TABLE, NAMES, out=tmp_path, part=f"{k}/3")]
    assert without(rows) == expected == without(read_rows(tmp_path))
    assert sorted(path.name for path in tmp_path.glob("rows*")) == [f"rows-{k}-of-3.jsonl" for k in (1, 2, 3)]
    assert len(motegpt.sweep(TABLE, NAMES, out=tmp_path)) == 12  # one driver finds the rows of all parts
    assert not (tmp_path / "rows.jsonl").exists()


@pytest.mark.parametrize("part", ["0/3", "4/3", "3", "1/0", "-1/3", "1/3/5", ""])
def test_a_part_is_one_of_several(part):
    with pytest.raises(UsageError, match="part: expected K/N with 1 <= K <= N"):
        motegpt.sweep(TABLE, NAMES, part=part)


def test_a_point_that_no_model_can_have_is_a_row(tmp_path):
    rows = motegpt.sweep(
        {**TABLE, "where": [{"when": {"n_layer": 2}, "n_head": [2, 3]}]}, NAMES, out=tmp_path
    )
    refused = [row for row in rows if row["status"] == "refused"]
    assert Counter(row["status"] for row in rows) == {"ok": 12, "refused": 6}
    assert {(row["n_layer"], row["n_head"]) for row in refused} == {(2, 3)}
    assert "n_embd: expected a multiple of n_head" in refused[0]["reason"]
    assert refused[0]["loss"] is None
    excluding = motegpt.sweep({**TABLE, "grid": {"epochs": [1], "lr": [0.1]}}, NAMES)
    assert {row["status"] for row in excluding} == {"refused"}


def test_settings_that_vary_may_be_those_of_the_data():
    table = {**TABLE, "grid": {"val_fraction": [0.0, 0.25], "framing": ["bos", "bos_eos"]}}
    rows = motegpt.sweep(table, NAMES)
    assert {row["status"] for row in rows} == {"ok"}
    assert {row["val_fraction"] for row in rows if row["val_loss"] is not None} == {0.25}
    assert {(row["framing"], row["vocab_size"]) for row in rows} == {("bos", 10), ("bos_eos", 11)}


def test_curves_are_in_a_file_of_their_own(tmp_path):
    table = {**TABLE, "fixed": {**TABLE["fixed"], "log_every": 2}}
    rows = motegpt.sweep(table, NAMES, out=tmp_path, curves=True)
    curves = [json.loads(line) for line in (tmp_path / "curves.jsonl").read_text().splitlines()]
    assert {curve["key"] for curve in curves} == {row["key"] for row in rows}
    assert all([step for step, *_ in curve["curve"]] == [1, 2, 4, 5] for curve in curves)
    assert "curve" not in (tmp_path / "rows.jsonl").read_text()
    assert list(motegpt.SweepRows.load(tmp_path)) == rows == motegpt.sweep(table, NAMES, out=tmp_path)
    assert all("curve" in row for row in rows)


def test_statistics_are_with_the_curves(tmp_path):
    table = {**TABLE, "fixed": {**TABLE["fixed"], "log_statistics": True}}
    rows = motegpt.sweep(table, NAMES, out=tmp_path, curves=True)
    assert motegpt.SweepRows.load(tmp_path) == rows
    for row in rows:
        assert [one["step"] for one in row["statistics"]] == [step for step, *_ in row["curve"]]
        assert all(len(one) > 9 for one in row["statistics"])
    assert (
        not {"curve", "statistics"} & json.loads((tmp_path / "rows.jsonl").read_text().split("\n")[0]).keys()
    )


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        (
            "log_statistics",
            True,
            "log_statistics: expected records of the logged steps, got none; set",
        ),
        ("checkpoint_every", 2, "checkpoint_every: expected a run folder to write to, got none; train that"),
        ("checkpoint_at", "log", "checkpoint_at: expected a run folder"),
        ("checkpoint_minutes", 5, "checkpoint_minutes: expected a run folder"),
        ("keep", 2, "keep: expected a run folder"),
        ("sample_every", 2, "sample_every: expected a training that generates samples, got none; generate"),
    ],
)
def test_a_setting_without_effect_is_refused(setting, value, message):
    for more in (
        {"fixed": {**TABLE["fixed"], setting: value}},
        {"where": {"when": {"n_layer": 1}, setting: [value]}},
    ):
        with pytest.raises(SettingError, match=message):
            motegpt.sweep({**TABLE, **more}, NAMES)


def test_a_setting_at_its_default_is_accepted(expected):
    fixed = {**TABLE["fixed"], "checkpoint_every": "none", "keep": 1, "log_statistics": False}
    assert without(motegpt.sweep({**TABLE, "fixed": fixed}, NAMES)) == expected


def test_a_curve_is_that_of_the_attempt_that_counts(tmp_path):
    with Store(tmp_path) as store:
        store.begin(Recorded({"preset": "microgpt"}, "", ""))
        store.append([{"key": "1", "status": "ok", "attempts": 2, "curve": [[2, 0.5, None]]}])
    with Store(tmp_path, Part(1, 2)) as store:
        store.append([{"key": "1", "status": "failed", "attempts": 1, "curve": []}])
        store.append([{"key": "2", "status": "lost", "attempts": 4}])
    rows = read_rows(tmp_path)
    assert (rows["1"]["status"], rows["1"]["curve"]) == ("ok", [[2, 0.5, None]])
    assert "curve" not in rows["2"]


def test_data_that_changed_are_refused(tmp_path):
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    motegpt.sweep(TABLE, tmp_path / "names.txt", out=tmp_path / "s")
    (tmp_path / "names.txt").write_text("\n".join(NAMES[1:]))
    with pytest.raises(RunFolderError, match=r"names.txt as it was when the sweep in .* began, got other"):
        motegpt.sweep(TABLE, tmp_path / "names.txt", out=tmp_path / "s")


def test_a_worker_with_other_data_is_refused(tmp_path):
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    found = Sweep.of(TABLE, tmp_path / "names.txt")
    with pytest.raises(
        DataError, match=r"on .*: data: .*names.txt as the sweep began with, got other contents"
    ):
        run_group(found.work._replace(digest="0" * 64), [])


def test_a_worker_without_the_data_says_where_it_is(tmp_path):
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    found = Sweep.of(TABLE, tmp_path / "names.txt")
    found.work.forget()  # a worker on another machine
    (tmp_path / "names.txt").unlink()
    with pytest.raises(DataError, match=f"on {re.escape(host())}: .*names.txt: no such file"):
        run_group(found.work, list(found.points.items())[:1])


def test_a_worker_without_the_engine_is_an_error_not_a_refused_training(monkeypatch):
    found = Sweep.of(TABLE, NAMES)
    group = list(found.points.items())[:1]
    monkeypatch.setitem(sys.modules, f"motegpt.engines.{group[0][1]['engine']}.engine", None)
    with pytest.raises(EngineUnavailable, match=r"engine .*; it is needed on "):
        run_group(found.work, group)


def test_two_drivers_on_one_folder_are_refused(tmp_path):
    with (
        Store(tmp_path),
        pytest.raises(
            RunFolderError, match="another process is running this sweep; wait for it, or give each"
        ),
    ):
        motegpt.sweep(TABLE, NAMES, out=tmp_path)
    assert len(motegpt.sweep(TABLE, NAMES, out=tmp_path)) == 12


def test_a_cluster_without_workers_is_waited_for_and_said():
    run = Sweep.of(TABLE, NAMES).run(
        None, lambda: Pool(lambda: ThreadPoolExecutor(1), lambda: 0), False, lambda: False
    )
    said = list(map(str, run))
    assert said[0].endswith(" of 12 trainings, waiting for workers")
    assert said[-1] == "12 of 12 trainings"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a disk that is full")
def test_a_disk_that_fills_up_is_an_error_that_says_how_to_go_on(tmp_path):
    def write():
        with Store(tmp_path) as store:
            (tmp_path / "rows.jsonl").symlink_to("/dev/full")
            store.append([{"key": "1", "status": "ok"}])

    with pytest.raises(
        RunFolderError, match=r"rows.jsonl: cannot be written \(No space.* same call continues"
    ):
        write()


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be removed there")
def test_rows_that_are_removed_meanwhile_end_the_sweep(tmp_path):
    with Store(tmp_path) as store:
        store.append([{"key": "1", "status": "ok"}])
        (tmp_path / "rows.jsonl").unlink()
        with pytest.raises(
            RunFolderError, match=r"rows.jsonl: was removed while the sweep ran; .* same call"
        ):
            store.append([{"key": "2", "status": "ok"}])


@pytest.mark.parametrize(("running", "begun"), [("1/3", None), (None, "1/3"), ("1/3", "2/4")])
def test_drivers_of_different_counts_do_not_train_the_same_points_at_once(tmp_path, running, begun):
    with (
        Store(tmp_path, Part.of(running)),
        pytest.raises(RunFolderError, match=r"another process is running .* of this sweep; wait for it"),
    ):
        motegpt.sweep(TABLE, NAMES, out=tmp_path, part=begun)
    motegpt.sweep(TABLE, NAMES, out=tmp_path, part=begun)  # the file of the lock stays, and no harm is done


def test_drivers_of_the_same_count_run_side_by_side(tmp_path):
    with Store(tmp_path, Part.of("1/3")):
        assert motegpt.sweep(TABLE, NAMES, out=tmp_path, part="2/3")


@pytest.mark.parametrize("at", [1, 100, -1])
def test_a_torn_last_line_is_cut_and_its_training_runs_again(expected, tmp_path, at):
    motegpt.sweep(TABLE, NAMES, out=tmp_path)
    path = tmp_path / "rows.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]) + lines[-1][:at])
    assert len(read_rows(tmp_path)) == 11  # who only reads leaves the file as it is
    assert path.read_bytes().endswith(lines[-1][:at])
    with pytest.warns(UserWarning, match="cut a torn line"):
        assert without(motegpt.sweep(TABLE, NAMES, out=tmp_path)) == expected
    assert without(read_rows(tmp_path)) == expected


def test_a_torn_line_is_cut_whatever_its_length(tmp_path):
    path = tmp_path / "x"
    for whole, torn in (
        (b"", b"x" * 200_000),
        (b"a\n", b"x" * 2**16),
        (b"a\n", b"x" * (2**16 - 1)),
        (b"a\nb\n", b""),
    ):
        path.write_bytes(whole + torn)
        assert cut_torn_line(path) == len(torn)
        assert path.read_bytes() == whole
    assert cut_torn_line(tmp_path / "missing") == 0


def test_a_line_that_is_no_row_is_named(tmp_path):
    motegpt.sweep(TABLE, NAMES, out=tmp_path)
    with (tmp_path / "rows.jsonl").open("a") as file:
        file.write('{"key": 3}\n')
    with pytest.raises(RunFolderError, match=r"rows.jsonl: line 13: expected a row, got .*remove the line"):
        motegpt.sweep(TABLE, NAMES, out=tmp_path)


def test_other_folders_are_left_alone(tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(RunFolderError, match="holds other files"):
        motegpt.sweep(TABLE, NAMES, out=tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(RunFolderError, match="cannot be written"):
        motegpt.sweep(TABLE, NAMES, out=tmp_path / "file")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "expected a sweep of format 1, got None"),
        ('{"format": 2}', "expected a sweep of format 1, got 2; use"),
        ('{"format": 1, "table": 3}', "expected a table, a digest and data"),
        ("[", "cannot be read"),
    ],
)
def test_a_damaged_sweep_is_a_clear_line(tmp_path, text, message):
    (tmp_path / "sweep.json").write_text(text)
    with pytest.raises(RunFolderError, match=message):
        Results.read(tmp_path)
    with pytest.raises(RunFolderError, match=message):
        motegpt.sweep(TABLE, NAMES, out=tmp_path)


def test_numbers_that_json_lacks_are_null():
    assert line_of({"loss": float("nan"), "x": [1, float("inf"), 0.1]}) == b'{"loss":null,"x":[1,null,0.1]}\n'


def test_a_row_of_more_attempts_counts(tmp_path):
    with Store(tmp_path) as store:
        store.begin(Recorded({"preset": "microgpt"}, "", ""))
        store.append([{"key": "1", "status": "failed"}, {"key": "2", "status": "ok"}])
        store.append([{"key": "1", "status": "ok", "attempts": 2}])
    with Store(tmp_path, Part(1, 2)) as store:
        store.append([{"key": "1", "status": "lost", "attempts": 1}])
    assert {key: row["status"] for key, row in read_rows(tmp_path).items()} == {"1": "ok", "2": "ok"}


def test_data_of_a_file_are_beside_it(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "names.txt").write_text("\n".join(NAMES))
    (tmp_path / "a" / "sweep.toml").write_text(
        'data = "names.txt"\npreset = "microgpt"\n[fixed]\nsteps = 1\n'
    )
    monkeypatch.chdir(tmp_path)
    assert read_table("a/sweep.toml")["data"] == [Path("a/names.txt")]
    (row,) = motegpt.sweep("a/sweep.toml")
    assert row["data"] == motegpt.Data(tmp_path / "a" / "names.txt").digest


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("preset", "expected a TOML file, got"),
        ('data = 3\npreset = "microgpt"', "data: expected a file or a list"),
    ],
)
def test_a_bad_file_is_a_clear_line(tmp_path, text, message):
    (tmp_path / "sweep.toml").write_text(text)
    with pytest.raises(SettingError, match=message):
        motegpt.sweep(tmp_path / "sweep.toml")
    with pytest.raises(SettingError, match="expected a TOML file to read, got No such file"):
        motegpt.sweep(tmp_path / "swep.toml")


def test_arguments_that_exclude_each_other():
    with pytest.raises(UsageError, match="processes: expected it without `threads`, got both"):
        pool_maker(threads=1, processes=2)
    with pytest.raises(UsageError, match="workers: expected an executor, got none"):
        pool_maker(workers=1)
    with pytest.raises(UsageError, match=r"executor: expected a concurrent.futures.Executor, got 3"):
        pool_maker(executor=3)
    with pytest.raises(SettingError, match="threads: expected a whole number of at least 1"):
        pool_maker(threads=0)
    with pytest.raises(SettingError, match="device"):
        motegpt.sweep({**TABLE, "engine": "array", "fixed": {"device": "cpu"}}, NAMES)


class Fragile(Executor):
    """Runs groups at once. Whoever runs the point of `poison` is lost, as is each of the calls in `kills`."""

    def __init__(self, poison=None, kills=(), error=BrokenProcessPool):
        self.poison, self.kills, self.error, self.calls, self.broken = poison, set(kills), error, 0, False

    def submit(self, function, work, group):
        future = Future()
        self.calls += 1
        if self.broken or self.calls in self.kills or self.poison in [key for key, _ in group]:
            self.broken = self.error is BrokenProcessPool
            future.set_exception(self.error("a worker was killed"))
        else:
            future.set_result(function(work, group))
        return future

    def shutdown(self, wait=True, *, cancel_futures=False):
        pass


def run_fragile(fragile, **how):
    """The rows of TABLE on an executor that is repaired when it breaks."""

    def make():
        fragile.broken = False
        return fragile

    found, rows = Sweep.of(TABLE, NAMES), []
    pool = Pool(make, lambda: 2, **{"can_remake": True, **how})
    runner = Runner(found.points.items(), pool, found.work, Status(12), rows.extend, {})
    assert [status.done for status in runner.run()][-1] == 12
    return rows


@pytest.mark.parametrize("kills", [{1}, {2, 3}, {1, 2, 4, 7}])
@pytest.mark.parametrize("error", [BrokenProcessPool, OSError], ids=["broken", "retried"])
def test_a_lost_worker_costs_no_row(expected, kills, error):
    rows = run_fragile(Fragile(kills=kills, error=error))
    assert without(rows) == expected
    assert max(row["attempts"] for row in rows) > 1


@pytest.mark.parametrize("error", [BrokenProcessPool, OSError], ids=["broken", "retried"])
def test_a_training_that_kills_its_worker_is_lost_and_no_other(expected, error):
    key = sorted(expected)[5]
    rows = run_fragile(Fragile(poison=key, error=error))
    (lost,) = (row for row in rows if row["status"] == "lost")
    assert lost["key"] == key
    assert f"lost {lost['attempts']} times" in lost["reason"]
    assert lost["attempts"] in (3, 4)  # alone, and maybe in a group before
    assert (lost["lr"], lost["preset"]) == (expected[key]["lr"], "microgpt")
    assert without(row for row in rows if row["key"] != key) == {
        k: v for k, v in expected.items() if k != key
    }


def test_an_executor_that_always_breaks_is_an_error():
    with pytest.raises(MotegptError, match=r"the workers cannot run .*1 row kept; the same"):
        run_fragile(Fragile(kills=range(100)))
    with pytest.raises(MotegptError, match="the workers cannot run"):
        run_fragile(Fragile(kills={1}), can_remake=False)


def test_workers_without_motegpt_are_an_error_not_lost_trainings():
    with pytest.raises(
        MotegptError, match=r"the workers cannot run .ModuleNotFoundError.*; install .* workers"
    ):
        run_fragile(Fragile(kills=range(100), error=ModuleNotFoundError))


def test_failed_trainings_are_tried_again_if_asked(expected, tmp_path, monkeypatch):
    key = sorted(expected)[5]
    real = motegpt.sweeps.work.train_one

    def fails(index, point, *more):
        ended = real(index, point, *more)
        if (point["lr"], point["n_layer"], point["seed"]) == (0.02, 1, 1):
            ended.row.update(status="failed", reason="no memory", loss=None)
        return ended

    monkeypatch.setattr("motegpt.sweeps.work.train_one", fails)
    motegpt.sweep(TABLE, NAMES, out=tmp_path)
    monkeypatch.undo()
    assert Counter(row["status"] for row in motegpt.sweep(TABLE, NAMES, out=tmp_path)) == {
        "ok": 11,
        "failed": 1,
    }
    rows = motegpt.sweep(TABLE, NAMES, out=tmp_path, retry_failed=True)
    assert without(rows) == expected == without(read_rows(tmp_path))
    assert Counter(row["attempts"] for row in rows) == {1: 11, 2: 1}
    assert key in expected


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs signals")
def test_ctrl_c_keeps_what_has_run(expected, tmp_path):
    long = {**TABLE, "fixed": {**TABLE["fixed"], "steps": 200}}
    main = threading.main_thread().ident

    def interrupt(status, sent=[]):  # noqa: B006
        if status.done and not sent:
            sent.append(1)
            signal.pthread_kill(main, signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match=r"interrupted after .* of 12 trainings"):
        motegpt.sweep(long, NAMES, out=tmp_path, threads=1, progress=interrupt)
    kept = len(read_rows(tmp_path))
    assert 0 < kept < 12
    assert len(motegpt.sweep(long, NAMES, out=tmp_path)) == 12
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 12


def test_a_status_has_counts_and_the_time_left(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    status = Status(1000, [{"status": "ok"}] * 100)
    assert str(status) == "100 of 1,000 trainings"
    now[0] += 10
    status.add([{"status": "ok"}, {"status": "diverged"}], 20.0, 180.0)
    assert str(status) == "102 of 1,000 trainings, 1 diverged, about 90 s left"
    status.add([{"status": "ok"}], 20.0, 40_000.0)
    assert str(status).endswith("about 2.8 h left")


def test_groups_take_half_a_second_once_the_speed_is_known():
    point = {"preset": "microgpt", "engine": "array", "steps": 1000}
    queue = Queue((str(i), {**point, "seed": i}) for i in range(1000))
    assert len(queue.take(4)) == 1
    for seed in range(10):
        queue.end({**point, "seed": seed}, 0.01)  # whatever the table of speeds says
    assert queue.seconds == pytest.approx(9.99)
    assert len(queue.take(4)) == 50
    wide = Queue([(str(i), {**point, "n_embd": n}) for i, n in enumerate([16, 256] * 50)])
    wide.end(point, 0.01)
    assert len(wide.take(4)) < 5
    sizes = []
    while queue:
        sizes.append(len(queue.take(4)))
    assert max(sizes) == 50
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 1  # so that all workers end together


@pytest.mark.parametrize("frozen", [[["wte"], ["lm_head"]], ["wte", "none"]])
def test_a_list_of_texts_may_vary(frozen, tmp_path):
    one = {**TABLE, "grid": {"frozen": frozen}, "repeat": {}}
    for results in (motegpt.sweep(one, NAMES, out=tmp_path)._results, Results.read(tmp_path)):
        values = {cell.values for cell in results.best("loss")}
        assert len(values) == 2
        assert ("wte",) in {value for (value,) in values}


def test_an_engine_for_some_points_leaves_that_of_the_others_on_record(tmp_path):
    where = [{"when": {"n_layer": 2}, "engine": "array"}]
    one = {**TABLE, "grid": {"n_layer": [1, 2]}, "repeat": {}, "where": where}
    rows = motegpt.sweep(one, NAMES, out=tmp_path)
    assert list(motegpt.SweepRows.load(tmp_path)) == rows
    assert len({row["engine"] for row in rows}) == 2


IDS = {
    "ids": [[0, 1, 2, 1], [2, 1, 0], [1, 1, 2], [0, 2]],
    "mask": [[1, 0, 1, 1], [1, 1, 1], [1, 1, 0], [1, 1]],
}


def test_data_that_were_read_are_those_of_trainings_with_them(tmp_path):
    """Ids with a mask; settings of the data are part of the key and of the record."""
    one = {**TABLE, "grid": {"lr": [0.01, 0.02]}, "repeat": {}}
    data = motegpt.Data(**IDS, vocab_size=5, val_fraction=0.5, split_seed=1)
    rows = motegpt.sweep(one, data, out=tmp_path)
    trained = motegpt.train_many(
        [{**TABLE["fixed"], "preset": "microgpt", "lr": row["lr"]} for row in rows], data
    )
    losses = {row["lr"]: (row["loss"], row["val_loss"]) for row in trained}
    assert {row["lr"]: (row["loss"], row["val_loss"]) for row in rows} == losses
    assert None not in losses[0.01]
    assert list(motegpt.SweepRows.load(tmp_path)) == rows
    assert motegpt.sweep({**one, "data": data}, out=tmp_path) == rows
    other = motegpt.sweep(one, motegpt.Data(**IDS, vocab_size=5), out=tmp_path)
    assert not {row["key"] for row in rows} & {row["key"] for row in other}


@pytest.mark.parametrize("given", [{"source": NAMES}, IDS], ids=["texts", "ids"])
def test_work_on_data_reaches_other_processes(given):
    found = Sweep.of(TABLE, motegpt.Data(**given))
    group = list(found.points.items())[:1]
    (here,) = run_group(found.work, group)
    found.work.forget()
    (there,) = run_group(pickle.loads(pickle.dumps(found.work)), group)
    assert without([there]) == without([here])


class Elsewhere(Executor):
    """A worker with a memory of its own, which it loses at some calls, as one that is started again."""

    def __init__(self, monkeypatch, restarts):
        self.monkeypatch, self.restarts, self.memory, self.sent = monkeypatch, restarts, {}, []

    def submit(self, function, work, group):
        future, sent = Future(), pickle.dumps((function, work, group))
        self.sent.append(len(sent))
        if len(self.sent) in self.restarts:
            self.memory = {}
        with self.monkeypatch.context() as patched:
            patched.setattr(motegpt.sweeps.work, "_known", self.memory)
            function, work, group = pickle.loads(sent)
            future.set_result(function(work, group))
        return future


@pytest.mark.parametrize("restarts", [(), (6,), (5, 6, 7)])
@pytest.mark.parametrize("given", [{"source": [*NAMES, "x" * 10_000]}, IDS], ids=["texts", "ids"])
@pytest.mark.filterwarnings("ignore:1 document is truncated")
def test_data_are_sent_once_to_each_worker(monkeypatch, given, restarts):
    worker, data = Elsewhere(monkeypatch, restarts), motegpt.Data(**given)
    rows = motegpt.sweep(TABLE, data, executor=worker, workers=1)
    assert without(rows) == without(motegpt.sweep(TABLE, data))
    assert {row["attempts"] for row in rows} == {1}
    if "source" in given:
        assert 0 < sum(size > 10_000 for size in worker.sent) <= 2 * (1 + len(restarts))  # two groups ahead


def test_data_of_files_are_read_by_each_worker(monkeypatch, expected, tmp_path):
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    worker = Elsewhere(monkeypatch, (4,))
    rows = motegpt.sweep(TABLE, tmp_path / "names.txt", executor=worker, workers=1)
    assert {row["loss"] for row in rows} == {row["loss"] for row in expected.values()}
    assert len(worker.sent) <= 12


def test_no_data_stay_in_memory_after_a_sweep():
    known = dict(motegpt.sweeps.work._known)
    motegpt.sweep({**TABLE, "grid": {}, "repeat": {}}, ["only", "of", "this", "test"])
    assert motegpt.sweeps.work._known.keys() <= known.keys()


def test_times_are_predicted_for_the_level_that_is_set():
    """By the table of speeds, on any processor: of a training, and of its first steps."""
    points = [
        {"preset": "microgpt", "engine": "native", "dtype": "float32", "steps": 1000, "level": level}
        for level in ("baseline", "avx2", "avx512")
    ]
    speeds = [OPERATIONS_PER_SECOND["native", point["level"], "float32"] for point in points]
    seconds = [predicted_seconds(point) for point in points]
    assert [seconds[0] / each for each in seconds] == pytest.approx([each / speeds[0] for each in speeds])
    plan = SimpleNamespace(targets_per_sequence=1)
    sizes = [
        first_chunk_size("native", *model_and_training(settings_at(point), VOCABULARY), plan)
        for point in points
    ]
    assert sizes == sorted(set(sizes))
