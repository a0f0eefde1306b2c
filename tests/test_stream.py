"""Streams: windows, equal training on every engine, resuming, generation."""

import math
import random
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from motegpt import GPT
from motegpt.config.presets import settings_of
from motegpt.config.sections import DataConfig, SampleConfig, TrainConfig, section_values
from motegpt.data.corpus import corpus_of
from motegpt.data.plan import DocumentPlan, WindowPlan, plan_of
from motegpt.data.tokenizers import ByteTokenizer, CharacterTokenizer, Tokenizer
from motegpt.errors import DataError
from motegpt.generation.request import prompt_of
from motegpt.model.rng import Stream, splitmix64
from motegpt.sampling.generate import generate
from motegpt.training.build import prepare, resume
from motegpt.training.run_folder import RunFolder
from tests.conftest import ENGINES_HERE, small_engine, small_settings
from tests.tolerances import LOSSES

TEXT = "the cat sat on the mat\nthe dog sat on the log\n" * 5
TOKENIZER = Tokenizer.of([TEXT], "none")
STREAM = TOKENIZER.encode_stream([TEXT])
OTHERS = [name for name in ENGINES_HERE if name != "scalar"]


def plan(batch_size=3, seed=5, block_size=6, loss_mean="documents"):
    return WindowPlan(STREAM, block_size, batch_size, loss_mean, seed)


def rows(batch):
    """The full sequences of a batch."""
    return [[*row, targets[-1]] for row, targets in zip(batch.inputs, batch.targets, strict=True)]


def test_a_batch_consists_of_windows_of_the_stream():
    for step in range(50):
        for row in rows(plan().batch(step)):
            assert len(row) == 7
            assert TOKENIZER.decode(row) in TEXT


def test_windows_depend_on_step_and_seed():
    batches = [rows(plan(seed=seed).batch(step)) for seed in (1, 2) for step in (0, 1, 10**12)]
    assert len({str(batch) for batch in batches}) == len(batches)
    assert plan().batch(10**12) == plan().batch(10**12)


def test_window_numbers():
    assert rows(plan(6).batch(1)) == rows(plan(3).batch(2)) + rows(plan(3).batch(3))


def chi_squared(starts, places):
    """The chi-squared statistic; about places - 1 if every start is equally likely."""
    counts, expected = Counter(starts), len(starts) / places
    assert set(counts) <= set(range(places))
    return sum((counts[i] - expected) ** 2 / expected for i in range(places))


def test_every_start_is_equally_likely():
    windows = WindowPlan(STREAM[:106], 6, 1, "documents", 7)
    assert windows.starts == 100
    starts = [windows.start(i) for i in range(100_000)]
    assert 60 < chi_squared(starts, 100) < 150  # 99 degrees of freedom: one chance in a thousand beyond
    assert chi_squared([start - start % 50 // 49 for start in starts], 100) > 150  # two starts never occur
    assert chi_squared(list(range(100_000 // 100)) * 100, 1000) < 60  # starts in order are too uniform


@given(seed=st.integers(0, 2**64 - 1), first=st.integers(0, 2**63))
def test_the_hash_of_arrays_equals_that_of_ints(seed, first):
    numbers = np.arange(first, first + 5, dtype=np.uint64)
    assert splitmix64(seed, numbers).tolist() == [splitmix64(seed, first + i) for i in range(5)]
    windows = plan(seed=seed)
    assert windows.start(numbers).tolist() == [windows.start(first + i) for i in range(5)]


def test_tokens_are_counted():
    assert plan().tokens(7, 4) == sum(len(row) for s in range(7, 11) for row in plan().batch(s).inputs)


@pytest.mark.parametrize(
    ("length", "message"), [(6, "try `block_size=5`"), (2, "give more data"), (0, "got 0")]
)
def test_too_short_stream(length, message):
    with pytest.raises(DataError, match=f"at least block_size \\+ 1 = 7 tokens.*{message}"):
        WindowPlan(STREAM[:length], 6, 1, "documents", 0)
    assert WindowPlan(STREAM[:7], 6, 1, "documents", 0).batch(9).inputs == [list(STREAM[:6])]


def test_the_plan_follows_the_settings():
    settings = settings_of("microgpt")
    train = TrainConfig.of(section_values(settings, "train"))
    for changes, kind in (({"format": "stream"}, WindowPlan), ({}, DocumentPlan)):
        data = DataConfig.of({**section_values(settings, "data"), **changes})
        tokenizer = Tokenizer.of([TEXT], data.framing)
        assert type(plan_of([TEXT], tokenizer, data, train, 16)) is kind


@pytest.mark.parametrize("loss_mean", ["documents", "tokens"])
@pytest.mark.parametrize("name", OTHERS)
def test_every_engine_has_the_same_losses(name, loss_mean):
    chosen = small_settings(steps=30, batch_size=3)
    windows = plan(loss_mean=loss_mean)
    expected = small_engine("scalar", chosen, TOKENIZER.vocab_size).train(windows, 0, 30)
    engine = small_engine(name, chosen, TOKENIZER.vocab_size)
    losses = [
        loss for start, count in ((0, 1), (1, 17), (18, 12)) for loss in engine.train(windows, start, count)
    ]
    assert losses == pytest.approx(expected, abs=LOSSES["float64"])


@pytest.mark.parametrize("name", ENGINES_HERE)
def test_an_engine_accepts_another_plan(name):
    chosen = small_settings(steps=9)
    mixed = small_engine(name, chosen, TOKENIZER.vocab_size)
    documents = DocumentPlan([list(STREAM[:7]), list(STREAM[20:25])], 3, "documents")
    losses = mixed.train(plan(), 0, 3) + mixed.train(documents, 3, 3) + mixed.train(plan(), 6, 3)
    other = small_engine("array", chosen, TOKENIZER.vocab_size)
    expected = other.train(plan(), 0, 3) + other.train(documents, 3, 3) + other.train(plan(), 6, 3)
    assert losses == pytest.approx(expected, abs=LOSSES["float64"])


def begin(path, engine, **changes):
    settings = {
        **settings_of("microgpt"),
        "format": "stream",
        "steps": 12,
        "batch_size": 2,
        "n": 2,
        **changes,
    }
    trainer = prepare(corpus_of([TEXT], DataConfig.of(section_values(settings, "data"))), settings, engine)
    trainer.folder = RunFolder.create(path, trainer.config, trainer.tokenizer)
    return trainer


@pytest.mark.slow
@pytest.mark.parametrize("tokenizer", ["characters", "bytes"])
@pytest.mark.parametrize("engine", ENGINES_HERE)
def test_resumed_training_equals_uninterrupted_training(tmp_path, engine, tokenizer):
    chosen = {"tokenizer": tokenizer, "steps": 5, "block_size": 8, "n_embd": 8} | {"dtype": "float64"}
    whole = list(begin(tmp_path / "whole", engine, **chosen).run())[-1]
    for _ in begin(tmp_path / "parts", engine, **chosen).run(until=2):
        pass
    again = RunFolder(tmp_path / "parts")
    trainer = resume(again, corpus_of([TEXT], again.config().data), {}, None)
    assert list(trainer.run())[-1].samples == whole.samples
    for name in ("trainer.safetensors", "model.safetensors", "tokenizer.json"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_prompts():
    assert prompt_of("d", CharacterTokenizer("abcd", "bos")) == [4, 3]
    assert prompt_of("", CharacterTokenizer("abcd", "bos_eos")) == [0]
    assert prompt_of("db", CharacterTokenizer("abcd", "none")) == [3, 1]
    assert prompt_of("", CharacterTokenizer("a b\n", "none")) == [3]
    assert prompt_of("", CharacterTokenizer("a b", "none")) == [1]
    assert prompt_of("", CharacterTokenizer("ab", "none")) == [0]
    assert prompt_of("", ByteTokenizer("none")) == [10]
    assert prompt_of("é", ByteTokenizer("bos")) == [256, 195, 169]


@pytest.mark.parametrize("tokenizer", [TOKENIZER, ByteTokenizer("none")], ids=["characters", "bytes"])
def test_engines_generate_the_same_continuation(tokenizer):
    drawn = set()
    for name in ENGINES_HERE:
        engine = small_engine(name, small_settings(), tokenizer.vocab_size)
        streams = [Stream.of(1, i) for i in range(5)]
        free = generate(engine, tokenizer, SampleConfig(n=5, temperature=1.0), streams)
        led = generate(engine, tokenizer, SampleConfig(n=5, temperature=1.0, prefix="the "), streams)
        drawn.add((*free, *led))
        if tokenizer.kind == "characters":
            assert {len(text) for text in free} == {engine.model.block_size}
        assert all(text.startswith("the ") for text in led)
    assert len(drawn) == 1


def book(seed):
    """A story of distinct short sentences."""
    chance = random.Random(seed)
    who, did, what = ["the cat", "a dog", "our hen"], ["saw", "met", "fed"], ["the moon", "a fox", "my aunt"]
    return " ".join(f"{chance.choice(who)} {chance.choice(did)} {chance.choice(what)}." for _ in range(150))


def test_training_on_a_book_and_continuing_it(tmp_path):
    text = book(1)
    model = GPT.train(
        [text], format="stream", steps=400, batch_size=8, block_size=24, seed=1, preset="microgpt"
    )
    counts = Counter(text)
    unigram = -sum(n / len(text) * math.log(n / len(text)) for n in counts.values())
    assert model.records[-1].loss < 0.4 * unigram
    words = set(text.replace(".", "").split())
    (continued,) = model.generate(n=1, seed=3, prefix="the cat ", temperature=0.3)
    assert continued.startswith("the cat ")
    whole = continued.rpartition(" ")[0].replace(".", "").split()  # the last word may be truncated
    assert len(whole) >= 3
    assert set(whole) <= words
    model.save(tmp_path / "book")
    assert GPT.load(tmp_path / "book").generate(n=1, seed=3, prefix="the cat ", temperature=0.3) == [
        continued
    ]


def test_byte_tokens_in_any_script(tmp_path):
    model = GPT.train(
        ["Жанна", "анна", "👩‍👩‍👧"], tokenizer="bytes", steps=5, block_size=32, preset="microgpt"
    )
    assert model.config.model.vocab_size == 257
    assert model.generate(n=2, seed=1, prefix="ÿ") == model.generate(n=2, seed=1, prefix="ÿ")
    model.save(tmp_path / "run")
    assert GPT.load(tmp_path / "run").tokenizer == model.tokenizer


def test_the_command_line_trains_on_a_stream(motegpt, tmp_path):
    (tmp_path / "book.txt").write_text(TEXT)
    ended = motegpt(
        "train", "book.txt", "--format", "stream", "--steps", 3, "-n", 1, "--out", "run", "--until", 1
    )
    assert ended.code == 0, ended.err
    assert ended.out.startswith(f"num docs: 1\nvocab size: {len(set(TEXT))}\n")
    assert motegpt("train", "--resume", "run").code == 0
    assert motegpt("sample", "run", "-n", 1, "--prefix", "the ").out.startswith("the ")
    (tmp_path / "short.txt").write_text("ab")
    ended = motegpt("train", "short.txt", "--format", "stream", "--out", "no")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "at least block_size + 1 = 17 tokens, got 2; give more data" in ended.err
    assert not (tmp_path / "no").exists()


def test_windows_without_numpy():
    program = (
        "import sys; sys.modules['numpy'] = None\n"
        "from motegpt.data.plan import WindowPlan\n"
        "from motegpt.data.tokenizers import Tokenizer\n"
        "t = Tokenizer.of(['abc' * 9], 'none')\n"
        "print(WindowPlan(t.encode_stream(['abc' * 9]), 4, 2, 'documents', 1).batch(0))"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True).returncode == 0
