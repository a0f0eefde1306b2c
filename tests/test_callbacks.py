"""Callbacks that write records for other programs: CSV, TensorBoard."""

import csv
import struct
import sys
from dataclasses import fields

import pytest

from motegpt import GPT, Csv, LibraryUnavailable, MotegptError, StepRecord, TensorBoard, UsageError

NAMES = ["anna", "bob", "carla", "dora"]
TINY = {"preset": "microgpt", "n_embd": 4, "n_head": 1, "block_size": 6, "engine": "array", "log_every": 5}


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def of_records(records):
    """As rows read back: texts, empty for none."""
    values = [one.name for one in fields(StepRecord) if one.name != "statistics"]
    names = [*values, *(records[0].statistics or {})]
    return [{name: str(one.values().get(name, "")) for name in names} for one in records]


def test_csv_has_a_row_for_each_record_and_a_column_for_each_value(tmp_path):
    settings = {**TINY, "val_fraction": 0.25, "eval_every": 10, "log_statistics": True}
    model = GPT.train(NAMES, steps=20, callbacks=Csv(tmp_path / "run.csv"), **settings)
    assert rows(tmp_path / "run.csv") == of_records(model.records)
    assert [row["val_loss"] != "" for row in rows(tmp_path / "run.csv")] == [True, False, True, False, True]
    assert float(rows(tmp_path / "run.csv")[0]["gradient_norm/wte"]) > 0


def test_a_resumed_training_continues_the_file(tmp_path):
    whole = GPT.train(NAMES, steps=20, callbacks=Csv(tmp_path / "whole.csv"), **TINY)
    settings = {**TINY, "checkpoint_every": 10, "keep": 9}
    GPT.train(NAMES, steps=20, out=tmp_path / "run", callbacks=Csv(tmp_path / "parts.csv"), **settings)
    GPT.train(NAMES, resume=tmp_path / "run", checkpoint=10, callbacks=Csv(tmp_path / "parts.csv"))
    assert rows(tmp_path / "parts.csv") == rows(tmp_path / "whole.csv") == of_records(whole.records)


def test_a_new_training_replaces_the_file_only_if_it_may(tmp_path):
    first = GPT.train(NAMES, steps=20, callbacks=Csv(tmp_path / "run.csv"), **TINY)
    with pytest.raises(UsageError, match=r"run.csv: expected no file of another training"):
        GPT.train(NAMES, steps=5, seed=2, callbacks=Csv(tmp_path / "run.csv"), **TINY)
    assert rows(tmp_path / "run.csv") == of_records(first.records)
    write = Csv(tmp_path / "run.csv", overwrite=True)
    again = GPT.train(NAMES, steps=5, seed=2, callbacks=write, **TINY)
    assert rows(tmp_path / "run.csv") == of_records(again.records)


def test_a_file_with_other_columns_is_kept(tmp_path):
    (tmp_path / "sales.csv").write_text("month,sum\nMay,3\n")
    with pytest.raises(UsageError, match=r"sales.csv: expected no file of another training"):
        GPT.train(NAMES, steps=5, callbacks=Csv(tmp_path / "sales.csv"), **TINY)
    assert (tmp_path / "sales.csv").read_text() == "month,sum\nMay,3\n"


@pytest.mark.parametrize("path", [3, "", "a\0b", None])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(UsageError, match="path: expected a path"):
        Csv(path)


def test_a_file_that_cannot_be_written_is_an_error_in_one_line(tmp_path):
    with pytest.raises(MotegptError, match=r"no/run.csv: cannot be written"):
        GPT.train(NAMES, steps=5, callbacks=Csv(tmp_path / "no" / "run.csv"), **TINY)


def scalars(folder):
    """(tag, step) -> value, of all event files; the start of a session hides later steps."""
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
    found = {}
    for path in sorted(folder.iterdir()):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack("<Q", data[at : at + 8])
            event = event_pb2.Event.FromString(data[at + 12 : at + 12 + length])
            at += 16 + length
            if event.session_log.status == 1:  # START
                found = {key: value for key, value in found.items() if key[1] < event.step}
            found |= {(one.tag, event.step): one.simple_value for one in event.summary.value}
    return found


def test_tensorboard_has_every_value_at_its_step(tmp_path):
    pytest.importorskip("tensorboardX", reason="pip install 'motegpt[tensorboard]'")
    settings = {**TINY, "log_statistics": True}
    model = GPT.train(NAMES, steps=10, callbacks=TensorBoard(tmp_path / "board"), **settings)
    expected = {
        (name, record.step): pytest.approx(value, rel=1e-6)
        for record in model.records
        for name, value in record.values().items()
        if name != "step"
    }
    assert scalars(tmp_path / "board") == expected


def test_a_resumed_training_continues_the_curves(tmp_path):
    pytest.importorskip("tensorboardX", reason="pip install 'motegpt[tensorboard]'")
    settings = {**TINY, "checkpoint_every": 10, "keep": 9}
    GPT.train(NAMES, steps=20, out=tmp_path / "run", callbacks=TensorBoard(tmp_path / "board"), **settings)
    board = TensorBoard(tmp_path / "board")
    GPT.train(NAMES, resume=tmp_path / "run", checkpoint=10, steps=15, callbacks=board)
    assert sorted({step for _, step in scalars(tmp_path / "board")}) == [1, 5, 10, 15]


def test_without_tensorboardx_the_message_installs_it(monkeypatch, tmp_path):
    for name in [name for name in sys.modules if name.startswith("tensorboardX")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(LibraryUnavailable, match=r"TensorBoard needs tensorboardX: pip install"):
        TensorBoard(tmp_path)
