"""What is said before a training: documents that are cut, one text, an endless warm-up, a rate that jumps."""

import json
from pathlib import Path

import pytest

from motegpt import GPT
from motegpt.config.presets import settings_of
from motegpt.config.sections import DataConfig, TrainConfig, section_values
from motegpt.data.cut import cut_of, sizes_of
from motegpt.data.documents import flat
from motegpt.data.tokenizers import Tokenizer
from motegpt.model.schedule import learning_rate
from motegpt.training.remarks import learning_rate_rises, warmup_too_long

QUICK = ("--engine", "array", "--steps", 3, "-n", 1)
MIXED = ["a" * 8 + "b" * 8, "ab", "ba" * 12, "b" * 15]  # 16, 2, 24 and 15 characters


def data_config(preset="microgpt", **changes):
    return DataConfig.of(section_values({**settings_of(preset), **changes}, "data"))


def train_config(**changes):
    return TrainConfig.of(section_values({**settings_of("microgpt"), **changes}, "train"))


def cut_in(documents, data, block_size):
    found = cut_of(
        sizes_of(flat(documents), Tokenizer.of(documents, data.framing, data.tokenizer)), block_size, data.cut
    )
    return found.block_size, found.documents, found.fitting


@pytest.mark.parametrize(
    ("changes", "block_size", "expected"),
    [
        ({}, 16, (16, 2, 25)),
        ({}, 17, (17, 1, 25)),
        ({}, 25, (25, 0, 25)),
        ({"preset": "zeroclaw"}, 16, (16, 3, 26)),
        ({"preset": "zeroclaw"}, 26, (26, 0, 26)),
    ],
    ids=str,
)
def test_what_is_cut_of_documents(changes, block_size, expected):
    assert cut_in(MIXED, data_config(**changes), block_size) == expected


def test_one_long_document_is_not_worth_a_large_block(motegpt, tmp_path):
    (tmp_path / "long.txt").write_text("".join(f"{i:02} {'ab' * 11}\n" for i in range(50)) + "abc" * 100)
    said = "--block-size 26 keeps all but 1, and --block-size 301 keeps all"
    assert said in motegpt("train", "long.txt", *QUICK).err


def test_bytes_are_cut_by_bytes():
    assert cut_in(["жанна"], data_config(tokenizer="bytes"), 16) == (16, 0, 11)


def test_the_block_size_that_is_named_keeps_all_and_one_less_does_not(motegpt, tmp_path):
    (tmp_path / "mixed.txt").write_text("\n".join(MIXED))
    for preset in ("microgpt", "zeroclaw"):
        words = ("train", "mixed.txt", "--preset", preset, *QUICK)
        (line,) = motegpt(*words).err.splitlines()
        fitting = int(line.partition("--block-size ")[2].split()[0])
        assert motegpt(*words, "--block-size", fitting).err == ""
        assert "1 document is truncated" in motegpt(*words, "--block-size", fitting - 1).err


def test_documents_that_are_cut_are_told_of(motegpt, tmp_path):
    (tmp_path / "mixed.txt").write_text("\n".join(MIXED))
    words = ("train", "mixed.txt", *QUICK)
    ended = motegpt(*words, "--out", "run", "--until", 1)
    assert "2 documents are truncated at block_size 16; --block-size 25 keeps all" in ended.err
    assert "truncated" not in motegpt("train", "--resume", "run").err
    assert motegpt(*words, "--quiet").err == ""
    begin = json.loads(motegpt(*words, "--json").out.splitlines()[0])
    assert begin["cut"].items() >= {"block_size": 16, "documents": 2, "fitting": 25}.items()
    stream = json.loads(motegpt(*words, "--format", "stream", "--json").out.splitlines()[0])
    assert stream["cut"] is None


def test_the_lines_of_a_reference_program_stay_as_they_are(motegpt):
    ended = motegpt("train", "--preset", "zeroclaw", "--engine", "array", "--until", 1)
    assert "19 documents are truncated at block_size 8; --block-size 13 keeps all" in ended.err
    assert "block" not in ended.out


def test_a_list_of_one_document_is_told_of(motegpt, tmp_path):
    (tmp_path / "one.txt").write_text("anna\nanna\n")
    words = ("train", "one.txt", *QUICK)
    assert "all documents are identical" in motegpt(*words).err
    assert motegpt(*words, "--format", "stream", "--block-size", 4).err == ""
    (tmp_path / "one.txt").write_text("anna\nanna\nhan\n")
    assert motegpt(*words).err == ""


@pytest.mark.parametrize(("warmup", "said"), [(99, False), (100, True), (5000, True)])
def test_a_warm_up_that_never_ends_is_told_of(warmup, said):
    assert (warmup_too_long(train_config(steps=100, warmup_steps=warmup)) is not None) == said


def test_a_warm_up_is_told_with_its_numbers(motegpt):
    ended = motegpt("train", "--engine", "array", "--warmup-steps", 5000, "--steps", 100, "-n", 1)
    (line,) = ended.err.splitlines()
    assert "only reaches 0.0002 of 0.01, as warmup_steps is 5,000 and the run has 100 steps;" in line
    assert line.endswith("try --warmup-steps 10")


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_a_rate_that_jumps_is_told_with_what_goes_on_from_there(schedule):
    before = train_config(steps=200, schedule=schedule)
    after = before.replace(steps=400)
    line = learning_rate_rises(before, after, 200)
    last, following = learning_rate(before, 199), learning_rate(after, 200)
    assert f"from {last:.3g} at step 200 to {following:.3g} at step 201" in line
    lr = float(line.partition("`lr=")[2].partition("`")[0])
    assert learning_rate(after.replace(lr=lr), 200) == pytest.approx(last, rel=0.01)
    assert learning_rate_rises(before, after.replace(lr=lr), 200) is None


def test_a_rate_of_zero_or_near_its_floor_names_no_other():
    before = train_config(steps=200, schedule="linear_to_zero")
    assert "try a smaller `lr`" in learning_rate_rises(before, before.replace(steps=400), 200)
    before = train_config(steps=200, schedule="cosine", lr_min=0.001)
    assert "try a smaller `lr`" in learning_rate_rises(before, before.replace(steps=400), 200)


def test_nothing_is_said_of_a_rate_that_goes_on():
    for schedule in ("linear", "linear_to_zero", "cosine", "constant"):
        train = train_config(steps=200, schedule=schedule, warmup_steps=20)
        assert [learning_rate_rises(train, train, done) for done in range(200)] == [None] * 200


def test_resuming_a_finished_run_says_that_the_rate_jumps(motegpt):
    words = ("train", "--engine", "array", "--steps", 200, "-n", 1, "--out", "run")
    assert motegpt(*words).code == 0
    ended = motegpt("train", "--resume", "run", "--steps", 400)
    assert ended.code == 0
    assert (
        "rises from 5e-05 at step 200 to 0.005 at step 201; --lr 0.0001 continues at the previous rate"
        in ended.err
    )


@pytest.mark.parametrize(
    ("docs", "settings", "said"),
    [
        (["anna"], {}, "all documents are identical"),
        (["anna", "bob"], {"warmup_steps": 500}, "the learning rate only reaches"),
        (["anna" * 20, "bob"], {}, "1 document is truncated at block_size 16; `block_size=81` keeps all"),
        (["anna", "bob"], {"patience": 3}, "patience has no effect"),
        (["anna", "bob"], {"eval_every": 3}, "eval_every has no effect"),
        (["anna", "bob"], {"eval_every": 3, "patience": 3}, "eval_every and patience have no effect"),
    ],
)
@pytest.mark.parametrize("method", [GPT.train, GPT.training])
def test_what_is_said_in_python(docs, settings, said, method):
    with pytest.warns(UserWarning, match=said) as caught:
        method(docs, steps=3, engine="array", preset="microgpt", **settings)
    assert [Path(one.filename) for one in caught] == [
        Path(__file__)
    ]  # the line of the program, not of motegpt


def test_a_rate_that_jumps_is_said_in_python(tmp_path):
    GPT.train(["anna", "bob"], steps=20, engine="array", out=tmp_path / "run", preset="microgpt")
    with pytest.warns(
        UserWarning, match="the learning rate rises from 0.0005 at step 20 to 0.005 at step 21"
    ):
        GPT.train(["anna", "bob"], resume=tmp_path / "run", steps=40)
