"""preset="auto": settings from the data and a budget; given ones are kept, and the run can be made again."""

import itertools
import os
import pickle
import shutil
import signal
import warnings

import numpy as np
import pytest

from motegpt.api.gpt import GPT
from motegpt.cli import console
from motegpt.config.presets import CONSTANTS, settings_of
from motegpt.config.sections import FOUND_FROM_DATA, SECTIONS, section_values
from motegpt.data.corpus import corpus_of
from motegpt.errors import RunFolderError, SettingError
from motegpt.evaluation.novelty import Nearest, Novelty
from motegpt.sampling.conditions import Conditions
from motegpt.sampling.training_texts import HashedTexts, text_hash
from motegpt.training.auto import HELD_OUT, SECONDS, choose
from motegpt.training.begin import begin
from motegpt.training.facts import Facts, facts_of
from motegpt.training.records import Report
from motegpt.views.report import report_lines
from tests.conftest import ENGINES_HERE

NAMES = sorted(
    {a + b + c for a in ("an", "be", "cor", "do") for b in "aeiou" for c in ("", "n", "lla", "rt")}
)
LIST = [name + suffix for name in NAMES for suffix in ("", "ia", "o")]  # 240 of them
SPEED = 7e10
ENGINE = "native" if "native" in ENGINES_HERE else "array"


def facts(documents=1000, length=12, vocab_size=30, order=5, is_stream=False):
    tokens = documents * length
    return Facts(1 if is_stream else documents, tokens, length + 1, vocab_size, order, is_stream)


def sections(settings):
    """All sections, validated."""
    found = {**settings, "vocab_size": 30, "ngram_rows": ()}
    return {name: section.of(section_values(found, name)) for name, section in SECTIONS.items()}


@pytest.mark.parametrize("seconds", [1.0, 10.0, 600.0])
@pytest.mark.parametrize("is_stream", [False, True])
def test_every_corpus_gets_valid_settings(seconds, is_stream):
    sizes = (1, 5, 20, 49, 50, 199, 200, 999, 1000, 30_000, 1_000_000), (5, 12, 2000), (2, 30, 5000)
    for documents, length, vocab_size in itertools.product(*sizes):
        case = facts(documents, length, vocab_size, is_stream=is_stream)
        given = {"seconds": seconds, **({"format": "stream"} if is_stream else {})}
        choice = choose(case, given, SPEED)
        parts = sections(choice.settings)
        assert {name for part in parts.values() for name in vars(part)} >= choice.settings.keys()
        assert not FOUND_FROM_DATA & choice.settings.keys()
        assert parts["train"].warmup_steps < parts["train"].steps
        assert len(choice.reasons) <= 4
        assert choose(case, given, SPEED) == choice


GIVEN = {
    "n_embd": 48, "n_layer": 3, "n_head": 3, "block_size": 7, "lr": 0.001, "steps": 17, "batch_size": 5,
    "val_fraction": 0.2, "ngram_orders": None, "kneser_ney": None, "kneser_ney_weight": 0.25,
    "dtype": "float64", "dropout": 0.3, "schedule": "constant", "warmup_steps": 3, "lr_min": 0.0,
    "temperature": 0.5, "novel": False, "unique": False, "log_every": 7, "seed": 3, "clip_norm": None,
    "framing": "bos_eos", "shuffle": False,
}  # fmt: skip


@pytest.mark.parametrize("name", GIVEN)
def test_a_given_setting_is_kept(name):
    for documents in (20, 1000, 50_000):
        settings = choose(facts(documents), {name: GIVEN[name]}, SPEED).settings
        assert settings[name] == GIVEN[name]
        sections(settings)


def test_the_rest_is_chosen_around_what_is_given():
    def chosen(**given):
        return choose(facts(3000), given, SPEED)

    assert chosen().settings["n_embd"] == 64
    assert chosen(n_embd=128).settings["lr"] == pytest.approx(chosen().settings["lr"] / 2)
    assert chosen(n_head=3).settings["n_embd"] == 66
    assert chosen(n_embd=30).settings["n_head"] == 2
    assert chosen(epochs=2).settings["steps"] == 188  # 3,000 / 32 documents
    assert chosen(steps=50).settings["warmup_steps"] == 2
    assert chosen(lr=0.002).settings["lr_min"] == pytest.approx(0.00004)
    assert chosen(val_fraction=0.25).check == "held out"
    assert chosen(clip_node=10.0).settings["ngram_orders"] is None
    assert chosen(clip_node=10.0).settings["dropout"] == 0.0
    assert chosen(kneser_ney=None).settings.get("kneser_ney_weight") is None


def test_the_budget_decides_what_is_trained():
    small, large = facts(1000), facts(30_000)
    assert choose(small, {"seconds": 0.1}, SPEED).settings["n_embd"] == 32
    assert choose(small, {}, SPEED).settings["n_embd"] == 64
    assert (choose(small, {}, SPEED).check, choose(large, {}, SPEED).check) == ("second model", "held out")
    assert choose(small, {}, SPEED).seconds == SECONDS
    longest = choose(large, {"seconds": 1e5}, SPEED).settings["steps"]
    assert choose(large, {"seconds": 2e5}, SPEED).settings["steps"] == longest
    assert choose(large, {"seconds": 9.5}, SPEED).settings["steps"] < longest


def test_sgd_has_a_rate_of_its_own():
    adam, sgd = (choose(facts(3000), {"optimizer": one}, SPEED) for one in ("adam", "sgd"))
    assert (sgd.settings["lr"], sgd.settings["lr_min"]) == pytest.approx((0.3, 0.006))
    assert "lr 0.3 for SGD, dropout" in sgd.reasons[2]
    assert "SGD" not in adam.reasons[2]
    for name in ("weight_decay", "ngram_weight_decay"):
        decays = [one.settings[name] * one.settings["lr"] for one in (adam, sgd)]
        assert decays[0] == pytest.approx(decays[1], rel=1e-3)
    plain = choose(facts(3000), {"optimizer": "sgd", "momentum": 0.0}, SPEED).settings
    assert plain["lr"] == pytest.approx(3.0)
    assert choose(facts(20), {"optimizer": "sgd"}, SPEED).settings["lr"] == pytest.approx(0.03)
    given = choose(facts(3000), {"optimizer": "sgd", "lr": 0.1, "weight_decay": 0.2}, SPEED).settings
    assert (given["lr"], given["weight_decay"]) == (0.1, 0.2)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_learns_as_well_as_adam(momentum):
    bits = trained(seconds=2.0, optimizer="sgd", momentum=momentum).report.bits()
    adam = trained(seconds=2.0).report.bits()
    assert bits["gpt"] < adam["gpt"] + 0.1


def test_small_lists():
    few, some = choose(facts(20), {}, SPEED), choose(facts(100), {}, SPEED)
    assert (few.check, few.settings["ngram_orders"], few.settings["kneser_ney_weight"]) == ("none", None, 0.7)
    assert (some.check, some.settings["ngram_orders"], some.settings["kneser_ney_weight"]) == ("none", 5, 0.5)


def test_what_was_chosen_is_said():
    one = Facts(1, 9, 10, 6, 4, is_stream=False)
    lines = choose(one, {"seconds": 604_800}, SPEED).reasons
    assert lines[0].startswith("auto: 1 document, about")
    assert "of a budget of 604,800 s" in lines[0]
    assert lines[2].startswith("training: 75 steps, 1,200 epochs,")
    assert (
        choose(facts(300), {"kneser_ney_weight": 0.4}, SPEED).reasons[-1].endswith("weight is 0.4, as given")
    )
    for documents in (20, 100, 1000, 50_000):
        assert all(len(line) <= 110 for line in choose(facts(documents), {}, SPEED).reasons)
    with pytest.raises(SettingError, match=r"enough for one step, 0\.000\d+, got 1e-06; try `steps=1`"):
        choose(facts(300), {"seconds": 1e-6}, SPEED)


@pytest.mark.parametrize("documents", [["anna"] * 240, ["anna", "bob", "cora"] * 100])
def test_repeated_entries_are_trained_and_not_measured(documents):
    run = trained(documents=documents, steps=5)
    assert run.report.evaluation is None


def test_a_trained_model_has_its_report(tmp_path):
    model = trained(seconds=2.0)
    assert list(model.report.bits()) == ["uniform", "kneser-ney", "gpt", "model"]
    assert model.report.weight == model.average.weight
    assert repr(model.report).startswith(f"Report(model={model.report.bits()['model']:.6g}, gpt=")
    assert pickle.loads(pickle.dumps(model)).report == model.report
    model.save(tmp_path / "run")
    named = GPT.train(LIST, steps=2, preset="microgpt", engine="array")
    assert (GPT.load(tmp_path / "run").report, named.report) == (None, None)
    stream = trained(documents=[TEXT], format="stream", kneser_ney=None).report
    assert (stream.is_stream, stream.novelty, stream.weight) == (True, None, None)


def test_a_given_weight_is_what_is_measured():
    bits = [trained(steps=5, kneser_ney_weight=w).report.bits() for w in (0.0, 0.25)]
    assert bits[0]["model"] == pytest.approx(bits[0]["gpt"], abs=1e-6)
    assert bits[1]["model"] < bits[0]["model"]


def test_the_empty_text_is_not_novel():
    assert not Conditions(excluded={"anna"}).accept("", cut=False)
    assert Conditions(unique=True).accept("", cut=False)


def report(count, **changed):
    nearest = [Nearest("Ann" * 20, "Anna" * 900, 9)] * count
    return Report(None, Novelty(**{"texts": 200, "distinct": 197, "in_training": 2, "in_validation": 0,
                                   "new": 198, "nearest": nearest, **changed}), of_second=False)  # fmt: skip


def test_the_report_fits_lines():
    assert list(report_lines(report(0))) == ["200 samples: 197 different, 2 in the list, which are left out"]
    assert list(report_lines(report(0, in_training=0))) == ["200 samples: 197 different, all new"]
    for count in (1, 5):
        (line,) = list(report_lines(report(count)))[1:]
        assert (line[:39], len(line) <= 100) == ("new, with the nearest entry: AnnAnnAnnA", True)


def test_running_text_is_recognized():
    text = facts(300, 60)._replace(words=9.5)
    assert any("`format='stream'`" in line for line in choose(text, {}, SPEED).reasons)
    assert not any("stream" in line for line in choose(facts(300, 60), {}, SPEED).reasons)


def test_a_part_is_held_out_of_large_lists():
    settings = choose(facts(100_000), {}, SPEED).settings
    assert settings["val_fraction"] == 0.02
    assert settings.get("kneser_ney_weight") is None
    assert choose(facts(3000), {"steps": 10**6}, SPEED).settings["val_fraction"] == HELD_OUT


def test_facts_of_a_corpus():
    found = facts_of(corpus_of(["anna", "bob"]), {"kneser_ney": 3})
    assert found == Facts(
        documents=2, tokens=9, longest=5, vocab_size=5, kneser_ney=3, is_stream=False, distinct=2
    )
    assert found.words == 1.0
    stream = facts_of(corpus_of(["anna bob"]), {"format": "stream", "kneser_ney": None})
    assert (stream.tokens, stream.kneser_ney, stream.is_stream) == (7, 0, True)


def trained(out=None, documents=LIST, **given):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return GPT.train(documents, engine=ENGINE, out=out, **{"seconds": 0.2, "seed": 1, **given})


def test_a_run_measures_itself_by_a_second_model():
    trainer = begin(LIST, {"seconds": 2.0}, engine=ENGINE).trainer
    samples = [chunk.samples for chunk in trainer.run() if chunk.samples is not None]
    report = trainer.report
    assert len(samples) == 1
    assert len(set(samples[0])) == len(samples[0]) == 20
    assert not set(samples[0]) & set(LIST)
    assert report.of_second
    assert report.evaluation.documents == 30
    assert list(report.bits()) == ["uniform", "kneser-ney", "gpt", "model"]
    assert report.novelty.texts == 200
    assert trainer.config.data.val_fraction == 0.0


TEXT = " ".join(LIST * 2)[:2500]


@pytest.mark.parametrize(("repeats", "tail"), [(1, " by a second model, trained without them"), (6, "")])
def test_a_stream_is_measured_too(motegpt, tmp_path, repeats, tail):
    (tmp_path / "text.txt").write_text(TEXT * repeats)
    words = ["text.txt", "--format", "stream", "--preset", "auto", "--engine", ENGINE, "--seconds", 0.5]
    ended = motegpt("train", *words, "-n", 1)
    count = round(len(TEXT) * repeats * HELD_OUT)
    assert f"bits per character of {count:,} held-out characters{tail}; less" in ended.err
    assert ("learns 7/8 of the text" in ended.out) == (repeats == 1)
    (line,) = (line for line in ended.err.splitlines() if "uniform" in line)
    assert [name in line for name in ("Kneser-Ney", "GPT alone", "both")] == [True] * 3


def test_ctrl_c_measures_a_held_out_part(motegpt, tmp_path, monkeypatch):
    monkeypatch.setattr(console.PlainReport, "show", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    (tmp_path / "text.txt").write_text(TEXT * 6)
    words = ["text.txt", "--format", "stream", "--preset", "auto", "--engine", ENGINE, "--seconds", 0.5]
    ended = motegpt("train", *words, "-n", 1, "--out", "run")
    assert ended.code == 130
    assert "held-out characters; less is better:" in ended.err


def test_an_interrupted_run_has_a_usable_model(tmp_path):
    trainer = begin(LIST, {"seconds": 1.0}, engine=ENGINE, out=tmp_path / "run").trainer
    stopped = []
    for _ in trainer.run(interrupted=lambda: bool(stopped)):
        stopped.append(True)
    assert trainer.done < trainer.config.train.steps
    assert GPT.load(tmp_path / "run").generate(3, seed=1)


def test_the_settings_file_makes_the_run_again(motegpt, tmp_path):
    (tmp_path / "list.txt").write_text("\n".join(LIST))
    words = ("--engine", ENGINE, "--seconds", 0.3, "-n", 2)
    chosen = motegpt("train", "list.txt", "--preset", "auto", *words, "--out", "chosen")
    assert chosen.code == 0, chosen.err
    assert chosen.err.startswith("auto: 240 documents, about ")
    assert "bits per character of 30 held-out documents by a second model" in chosen.err
    again = motegpt("train", "list.txt", "--config", "chosen/settings.toml", "--out", "again")
    assert (again.code, "auto" in again.err) == (0, False), again.err
    for name in ("model.safetensors", "kneser_ney.safetensors", "contexts.safetensors", "texts.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "chosen" / name).read_bytes()
    assert not (tmp_path / "again" / "settings.toml").exists()
    alone = motegpt("train", "--config", "chosen/settings.toml")
    assert (alone.code, alone.out, alone.err.count("\n")) == (2, "", 1)
    message = (
        f"chosen/settings.toml has the settings of a run on {tmp_path}/list.txt; give that or other data"
    )
    assert message in alone.err
    assert motegpt("train", "--resume", "chosen", "--config", "chosen/settings.toml").err.count("source") == 0


def test_the_settings_file_of_the_built_in_names_needs_no_data(motegpt, tmp_path):
    words = ("--engine", ENGINE, "--steps", 2, "-n", 1)
    assert motegpt("train", "--preset", "auto", *words, "--out", "chosen").code == 0
    assert motegpt("train", "--config", "chosen/settings.toml").code == 0
    memory = trained(out=tmp_path / "memory", steps=2).config
    assert memory.source.kind in motegpt("train", "--config", "memory/settings.toml").err


def test_a_run_that_was_moved_knows_its_texts(tmp_path):
    trained(out=tmp_path / "run")
    shutil.move(tmp_path / "run", tmp_path / "moved")
    texts = GPT.load(tmp_path / "moved").generate(100, seed=1)
    assert not set(texts) & set(LIST)
    assert len(set(texts)) == len(texts) == 100
    path = tmp_path / "moved" / "texts.safetensors"
    path.write_bytes(path.read_bytes()[:-8] + bytes(8))
    with pytest.raises(RunFolderError, match=r"texts\.safetensors: contents do not match the digest"):
        GPT.load(tmp_path / "moved")


def test_a_copy_keeps_the_hashes(tmp_path):
    trained(out=tmp_path / "run")
    GPT.load(tmp_path / "run").save(tmp_path / "copy")
    assert not set(GPT.load(tmp_path / "copy").generate(50, seed=1)) & set(LIST)


def test_a_pickle_knows_the_texts():
    model = pickle.loads(pickle.dumps(trained()))
    assert not set(model.generate(50, seed=1)) & set(LIST)


def test_fewer_texts_where_tries_run_out():
    model = trained(documents=["a", "b", "aa"], tries=20, max_length=1)
    with pytest.warns(RuntimeWarning, match="in a row did not qualify"):
        assert len(model.generate(5, seed=1)) < 5


def test_hashes_of_texts():
    texts = HashedTexts.of(["anna", "bob", "anna"])
    assert (len(texts.hashes), texts.hashes.dtype) == (2, np.uint64)
    assert text_hash("anna") == 0x55579B557896D0CE
    assert ["anna" in texts, "bob" in texts, "ann" in texts, 3 in texts] == [True, True, False, False]
    assert "anna" not in HashedTexts.of([])


@pytest.mark.parametrize("documents", [["ab"], ["anna"] * 3, ["a", "b"], LIST[:5], ["x" * 600, "y" * 700]])
def test_tiny_and_odd_lists_train(documents):
    assert trained(documents=documents, steps=5).config.train.steps == 5


def test_a_named_preset_chooses_nothing():
    run = begin(LIST, {"steps": 3}, preset="microgpt", engine="array")
    assert (run.choices, run.trainer.measure, run.trainer.known) == ([], None, None)
    assert run.trainer.config.model.n_embd == 16


def test_an_unknown_preset_lists_auto_too():
    with pytest.raises(SettingError, match=r"preset: expected one of auto, microgpt, .*, got 'gpt'"):
        GPT.train(LIST, preset="gpt")
    with pytest.raises(SettingError, match=r"preset: expected one of microgpt, .*, got 'auto'"):
        settings_of("auto")


def test_constants_are_settings():
    assert not CONSTANTS.keys() & {"n_embd", "lr", "steps"}
    with pytest.raises(SettingError, match="seconds: expected enough for one step"):
        choose(facts(), {"seconds": 1e-9}, SPEED)


def test_samples_that_are_missing_are_said(motegpt, tmp_path):
    (tmp_path / "list.txt").write_text("ab\n" * 20)
    words = ["list.txt", "--engine", ENGINE, "--steps", 300, "--tries", 5, "-n", 50, "--preset", "auto"]
    ended = motegpt("train", *words)
    assert ended.out.count("\nsample") < 50
    count = ended.out.count("\nsample")
    assert f"{count} of 50 samples, as others were repeated, in the list" in ended.err


def test_a_second_model_is_announced(motegpt, tmp_path):
    (tmp_path / "list.txt").write_text("\n".join(LIST))
    ended = motegpt("train", "list.txt", "--engine", ENGINE, "--steps", 5, "--preset", "auto")
    assert ended.out.count("measuring: a second model learns 7/8 of the list\n--- inference") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seconds", 1e-9], "seconds: expected enough for one step"),
        (["--seconds", 1e7], "seconds: expected a number above 0 and at most 604,800"),
        (["--n-embd", 7, "--n-head", 2], "n_embd: expected a multiple of n_head = 2"),
        (["--kneser-ney", "none", "--kneser-ney-weight", 0.5], "kneser_ney_weight"),
    ],
)
def test_contradictions_are_one_line(motegpt, tmp_path, words, message):
    ended = motegpt("train", "--preset", "auto", "--engine", ENGINE, *words, "--out", "run")
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert message in ended.err
    assert not (tmp_path / "run").exists()


def test_a_resumed_run_measures_itself_too(motegpt, tmp_path):
    (tmp_path / "list.txt").write_text("\n".join(map(str, range(10_000, 10_600))))
    words = ["list.txt", "--n-embd", 8, "--n-layer", 1, "-n", 1, "--preset", "auto"]
    whole = motegpt("train", *words, "--out", "whole")
    motegpt("train", *words, "--out", "half", "--until", 20)
    rest = motegpt("train", "--resume", "half")
    assert "held-out documents" in whole.out + whole.err
    for name in ("config.json", "model.safetensors", "kneser_ney.safetensors"):
        assert (tmp_path / "half" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert "held-out documents" in rest.out + rest.err


def test_a_given_length_has_no_budget(motegpt):
    done = motegpt("train", "--preset", "auto", "--steps", 3, "--n-embd", 8, "-n", 1, "--engine", "array")
    assert done.code == 0
    assert "budget" not in done.out + done.err
