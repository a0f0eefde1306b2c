"""Many trainings on the same data: rows have the numbers of GPT.train, in any number of threads."""

import math
import re
import threading

import pytest

from motegpt import GPT, Data, DataError, SettingError, train_many
from motegpt.config.sections import SECTIONS
from motegpt.config.synonyms import RENAMED
from motegpt.training import data as data_module
from motegpt.training import many
from motegpt.training.reference import flat_settings

NAMES = ["anna", "hanna", "nan", "han", "ann", "nah", "hana", "anah", "nanna", "hah"]
SMALL = {"preset": "microgpt", "engine": "array", "n_embd": 8, "n_head": 2, "steps": 30, "log_every": 7}
VALIDATED = {**SMALL, "val_fraction": 0.3, "eval_every": 10, "lr": 0.05}
WITHOUT = {"index", "seconds", "model"}  # what differs between equal trainings


def row_of(settings, data=NAMES, **how):
    (row,) = train_many([settings], data, **how)
    return row


def sorted_rows(settings, data=NAMES, **how):
    return sorted(train_many(settings, data, **how), key=lambda row: row["index"])


def comparable(rows):
    return [{name: value for name, value in row.items() if name not in WITHOUT} for row in rows]


@pytest.mark.parametrize("engine", ["array", "native"])
def test_the_numbers_are_those_of_a_training_alone(engine):
    settings = {**VALIDATED, "engine": engine, "steps": 43}
    row = row_of(settings)
    alone = {"threads": 1} if engine == "native" else {}
    model = GPT.train(NAMES, **{**settings, "log_every": 1}, **alone)
    losses = [record.loss for record in model.records]
    evaluated = {record.step: record.val_loss for record in model.records if record.val_loss is not None}
    assert row["loss"] == math.fsum(losses[-3:]) / 3  # 5 % of 43 steps
    assert row["val_loss"] == evaluated[43]
    assert row["best_val_loss"] == min(evaluated.values()) == evaluated[row["best_step"]]
    assert (row["status"], row["reason"], row["steps_done"]) == ("ok", None, 43)
    assert row["tokens"] == model.records[-1].tokens
    expected = {**flat_settings(model.config), "log_every": 7, "level": model.config.level}
    assert {name: row[name] for name in expected} == expected
    assert (row["preset"], row["engine"], row["data"]) == ("microgpt", engine, model.config.source.sha256)
    assert row["parameters"] == sum(array.size for array in model.engine.parameters().values())
    assert row["operations"] > 6 * row["parameters"] / 2
    assert row["seconds"] > 0


def test_rows_do_not_depend_on_threads_or_order():
    settings = [
        {**VALIDATED, "seed": seed, "engine": engine} for seed in range(4) for engine in ("array", "native")
    ]
    settings.insert(3, {**SMALL, "n_head": 3})
    one = sorted_rows(settings, threads=1, curves=True)
    assert [row["index"] for row in one] == list(range(9))
    for threads in (2, 5):
        assert comparable(sorted_rows(settings, threads=threads, curves=True)) == comparable(one)
    assert comparable(sorted_rows(settings[::-1], threads=2, curves=True)) == comparable(one[::-1])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"n_head": 3}, "n_embd: expected a multiple of n_head = 3, got 8"),
        ({"preset": "auto"}, "preset: expected one of microgpt, .*, got 'auto'"),
        ({"preset": None}, "preset: expected one of microgpt, .*, got None"),
        ({"preset": "x"}, "preset: expected one of .*, got 'x'"),
        ({"engine": "x"}, "engine: expected one of scalar"),
        ({"epochs": 3}, "epochs: expected `steps` or `epochs`"),
        ({"patience": 3}, "patience: expected a validation set, got none; set `val_fraction=0.1`, or leave"),
        ({"eval_every": 3}, "eval_every: expected a validation set, got none; set"),
    ],
)
def test_a_training_that_cannot_be_is_refused(changes, reason):
    row = row_of({**SMALL, **changes})
    assert row["status"] == "refused"
    assert row["loss"] is None
    assert re.match(reason, row["reason"])
    assert row["steps"] == 30
    assert row["data"]
    assert row.keys() == row_of(SMALL).keys()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stepz": 3}, "unknown setting 'stepz'; did you mean steps"),
        ({"vocab_size": 5}, "vocab_size is determined by the data and cannot be set"),
        (
            {"checkpoint_every": 5},
            "checkpoint_every: expected a run folder to write to, got none; train that",
        ),
        (
            {"log_statistics": True},
            "log_statistics: expected records of the logged steps, got none; set",
        ),
    ],
)
def test_a_setting_without_effect_is_an_error_before_anything_runs(monkeypatch, changes, message):
    monkeypatch.setattr(many, "begin", lambda *_, **__: pytest.fail("a training"))
    with pytest.raises(SettingError, match=message):
        train_many([SMALL, {**SMALL, **changes}], NAMES)
    with pytest.raises(SettingError, match=message):
        list(train_many(iter([{**SMALL, **changes}]), NAMES))


def test_settings_may_have_former_names():
    (former, current), *_ = RENAMED.items()
    value = flat_settings(GPT.train(NAMES, **SMALL).config)[current]
    assert row_of({**SMALL, former: value})["status"] == "ok"
    with pytest.raises(SettingError, match=f"{current}: expected one value, got another as `{former}`"):
        train_many([{**SMALL, former: value, current: value}], NAMES)


def test_a_refused_row_shows_the_level_that_was_refused():
    row = row_of({**SMALL, "level": "avx1024"})
    assert (row["status"], row["level"]) == ("refused", "avx1024")
    assert row_of({**SMALL, "n_head": 3})["level"] is None


def test_diverged_where_a_loss_is_not_finite():
    settings = {**SMALL, "lr": 1e200, "steps": 400}
    rows = [row_of(settings, curves=curves) for curves in (False, True)]
    for row in rows:
        assert row["status"] == "diverged"
        assert "is nan; last good checkpoint: none; try a smaller `lr`" in row["reason"]
        assert 0 < row["steps_done"] < 100
        assert row["loss"] is None
        assert row["tokens"] > 0
    assert rows[0] == {name: value for name, value in rows[1].items() if name != "curve"} | {
        "seconds": rows[0]["seconds"]
    }


def test_diverged_where_the_last_losses_are_far_above_a_guess():
    row = row_of({**SMALL, "lr": 5.0, "steps": 200, "schedule": "constant"})
    assert row["status"] == "diverged"
    assert "the run has diverged" in row["reason"]
    assert row["loss"] > 3
    assert row["steps_done"] == 200


def test_failed_and_the_others_go_on(monkeypatch):
    begin = many.begin

    def fail(data, given, **how):
        if given["seed"] == 1:
            raise MemoryError("no room\nat all")
        return begin(data, given, **how)

    monkeypatch.setattr(many, "begin", fail)
    rows = sorted_rows([{**SMALL, "seed": seed} for seed in range(3)])
    assert [row["status"] for row in rows] == ["ok", "failed", "ok"]
    assert rows[1]["reason"] == "MemoryError: no room at all"
    assert rows[1]["seed"] == 1


def test_curves():
    row = row_of(VALIDATED, curves=True)
    model = GPT.train(NAMES, **VALIDATED)
    assert row["curve"] == [[record.step, record.loss, record.val_loss] for record in model.records]
    assert "curve" not in row_of(SMALL)


def test_statistics_are_those_of_a_training_alone():
    settings = {**VALIDATED, "log_statistics": True}
    model = GPT.train(NAMES, **settings)
    expected = [{"step": record.step, **record.statistics} for record in model.records if record.statistics]
    assert row_of(settings, curves=True)["statistics"] == expected != []
    assert row_of(settings, keep="all")["model"].records == model.records
    assert "statistics" not in row_of(VALIDATED, curves=True)


def test_all_models_are_those_of_a_training_alone():
    settings = [{**VALIDATED, "seed": seed} for seed in range(3)] + [{**SMALL, "n_head": 3}]
    rows = sorted_rows(settings, keep="all")
    assert rows[3]["model"] is None
    for row, one in zip(rows[:3], settings, strict=False):
        alone = GPT.train(NAMES, **one)
        assert row["model"].generate(5, seed=1) == alone.generate(5, seed=1)
        assert row["model"].records == alone.records
        assert row["model"].config == alone.config
        assert row["model"].evaluate(["anna"]) == alone.evaluate(["anna"])


def test_the_best_model_is_the_last_that_is_kept():
    settings = [{**VALIDATED, "seed": seed, "split_seed": 3} for seed in range(6)]
    rows = list(train_many(settings, NAMES, keep="best"))
    best = math.inf
    for row in rows:
        assert (row["model"] is not None) == (row["best_val_loss"] < best)
        best = min(best, row["best_val_loss"])
    assert sum(row["model"] is not None for row in rows) < 6


def test_a_kept_model_can_be_saved_but_not_resumed(tmp_path):
    model = row_of(VALIDATED, keep="all")["model"]
    model.save(tmp_path / "run")
    assert GPT.load(tmp_path / "run").generate(3, seed=1) == model.generate(3, seed=1)
    assert not (tmp_path / "run" / "trainer.safetensors").exists()


def test_closing_stops_the_trainings():
    settings = ({**SMALL, "steps": 10**7, "seed": seed} if seed else SMALL for seed in range(10**6))
    rows = train_many(settings, NAMES, threads=2)
    assert next(rows)["index"] == 0
    rows.close()
    assert not [one for one in threading.enumerate() if one.name.startswith("motegpt")]


def test_invalid_arguments():
    for given, match in (
        ({"settings": SMALL}, "settings: expected a list of settings by name"),
        ({"settings": [SMALL], "threads": 0}, "threads: expected a whole number of at least 1"),
        ({"settings": [SMALL], "keep": "none"}, "keep: expected one of best, all, got 'none'"),
        ({"settings": [SMALL], "curves": 2}, "curves: expected true or false"),
        ({"settings": [{**SMALL, "seconds": 1}]}, "^seconds: expected steps or epochs, .*; set steps$"),
    ):
        with pytest.raises(SettingError, match=match):
            train_many(data=NAMES, **given)
    with pytest.raises(SettingError, match="settings: expected settings by name, got 3 at index 1"):
        list(train_many([SMALL, 3], NAMES))
    with pytest.raises(DataError, match="documents: expected strings"):
        train_many([SMALL], 5)
    assert list(train_many([], NAMES)) == []


def test_data_in_place_of_documents(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("\n".join(NAMES))
    data = Data(path, val_fraction=0.3)
    path.unlink()  # it has been read
    model, expected = (GPT.train(docs, **{**VALIDATED, **more}) for docs, more in ((data, {}), (NAMES, {})))
    assert model.records == expected.records
    assert model.config.data == expected.config.data
    assert GPT.train(data, **{**SMALL, "val_fraction": 0.0}).config.data.val_fraction == 0.0
    assert list(GPT.training(data, **VALIDATED)) == expected.records
    assert data.digest == model.config.source.sha256


def test_data_are_read_and_encoded_once(monkeypatch):
    calls = []
    for name in ("corpus_from", "Encoded"):
        original = getattr(data_module, name)
        monkeypatch.setattr(
            data_module, name, lambda *a, name=name, original=original: (calls.append(name), original(*a))[1]
        )
    data = Data(iter(NAMES), val_fraction=0.3, split_seed=1)
    settings = [
        {**SMALL, "seed": seed, "block_size": size, "cut": cut}
        for seed in range(3) for size in (4, 8) for cut in ("tokens", "targets")
    ]  # fmt: skip
    assert {row["status"] for row in train_many(settings, data, threads=3)} == {"ok"}
    assert sorted(calls) == ["Encoded", "corpus_from"]
    row_of({**SMALL, "split_seed": None}, data)
    row_of({**SMALL, "tokenizer": "bytes"}, data)
    row_of({**SMALL, "normalize": "nfc"}, data)
    assert sorted(calls) == ["Encoded"] * 4 + ["corpus_from"] * 2


def test_invalid_data():
    with pytest.raises(SettingError, match="unknown setting 'n_embd'"):
        Data(NAMES, n_embd=3)
    with pytest.raises(SettingError, match="val_fraction: expected a number of at least 0 and below 1"):
        Data(NAMES, val_fraction=2)
    with pytest.raises(DataError, match="documents: expected at least one"):
        Data([])
    assert repr(Data(NAMES, val_fraction=0.3)) == "Data(documents=10, val_fraction=0.3)"


def test_a_split_seed_holds_out_the_same_documents_for_every_seed():
    def held_out(**settings):
        training = GPT.training(NAMES, **{**VALIDATED, **settings})
        return list(map(list, training._trainer.validation.data.sequences))

    assert held_out(seed=1, split_seed=7) == held_out(seed=2, split_seed=7) == held_out(seed=7)
    assert held_out(seed=1) != held_out(seed=7)


def test_every_setting_is_in_a_row():
    row = row_of(SMALL)
    names = {name for section in SECTIONS.values() for name in section.__dataclass_fields__}
    assert names <= row.keys()
