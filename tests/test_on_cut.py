"""Texts that the end of the block ended and not the model: kept, marked or drawn again."""

import csv
import io
import json
import pickle
from copy import copy

import pytest

from motegpt.api.gpt import GPT
from motegpt.config.presets import PRESETS, settings_of
from motegpt.config.sections import SampleConfig, section_values
from motegpt.data.tokenizers import CharacterTokenizer
from motegpt.errors import SettingError, TriesExhausted
from motegpt.generation.request import request_of
from motegpt.model.rng import PythonRandom, Stream
from motegpt.sampling.collect import draw_texts
from motegpt.sampling.generate import generate, generate_sequentially
from tests.conftest import ENGINES_HERE, engine_that_says, small_engine, small_settings

TOKENIZER = CharacterTokenizer("abcde", "bos")
STREAM = CharacterTokenizer("abcde\n", "none")
BLOCK = 6


def sample(on_cut="keep", **given):
    return SampleConfig(**{"n": 30, "temperature": 1.0, "on_cut": on_cut, **given})


def drawn(engine, on_cut="keep", tokenizer=TOKENIZER, **given):
    """Texts from streams of one seed, as GPT.samples draws them."""
    return [text for group in draw_texts(engine, tokenizer, sample(on_cut, **given), 3) for text in group]


@pytest.fixture(params=ENGINES_HERE)
def engine(request):
    """One text in four is cut."""
    return engine_that_says([0.6, 0.3, 0.0, -0.5, 0.2, 0.4], request.param, block_size=BLOCK)


def test_the_presets_keep():
    for preset in PRESETS:
        assert SampleConfig.of(section_values(settings_of(preset), "sample")).on_cut == "keep"


@pytest.mark.parametrize(
    ("given", "tokenizer", "cut_at"),
    [
        ({}, TOKENIZER, 6),
        ({"prefix": "ab"}, TOKENIZER, 4),
        ({}, CharacterTokenizer("abcd", "bos_eos"), 6),
        ({"max_new_tokens": 3}, TOKENIZER, None),
        ({"max_new_tokens": 6}, TOKENIZER, None),
        ({"max_new_tokens": 60}, TOKENIZER, None),
        ({"max_length": 3}, TOKENIZER, None),
        ({"max_length": 6, "prefix": "ab"}, TOKENIZER, None),
        ({"max_length": 7}, TOKENIZER, 6),
        ({"stop": "a"}, TOKENIZER, 6),
        ({}, STREAM, 6),
        ({"max_new_tokens": 60}, STREAM, None),
    ],
    ids=str,
)
def test_only_the_block_cuts(given, tokenizer, cut_at):
    """A text that is as long as max_new_tokens or max_length is as long as the user wanted it."""
    request = request_of(sample(**given), tokenizer, BLOCK)
    assert request.cut_at == cut_at
    assert request.is_cut([0] * request.max_new_tokens) == (cut_at is not None)
    assert not request.is_cut([0] * (request.max_new_tokens - 1))


def test_marked_texts_are_the_same_texts(engine):
    for given in ({}, {"prefix": "ab"}, {"stop": "d"}, {"top_k": 3}):
        kept, marked = drawn(engine, **given), drawn(engine, "mark", **given)
        assert kept == marked
        assert {type(text) for text in kept} == {str}
        assert [text.cut for text in marked] == [len(text) == BLOCK for text in kept]
        assert {text.cut for text in marked} == {True, False}


def test_no_text_is_cut_where_the_user_says_how_long_it_is(engine):
    for given in ({"max_new_tokens": BLOCK}, {"max_length": BLOCK}, {"max_new_tokens": 2 * BLOCK}):
        texts = drawn(engine, "mark", **given)
        assert max(map(len, texts)) >= BLOCK
        assert not any(text.cut for text in texts)
        assert drawn(engine, "redraw", **given) == texts


def test_redrawn_texts_are_the_candidates_that_are_whole(engine):
    candidates = [text for text in drawn(engine, n=90) if len(text) < BLOCK]
    assert 30 < len(candidates) < 90
    assert drawn(engine, "redraw") == candidates[:30]
    assert drawn(engine, "redraw", suffix="a", n=5) == [text for text in candidates if text[-1:] == "a"][:5]


def test_a_text_that_ends_at_its_last_chance_is_whole():
    """Drawn from the last position but one: a letter more would have been cut."""
    engine = engine_that_says([3.0, 0.0, 0.0, 1.0])
    texts = drawn(engine, "mark", CharacterTokenizer("abc", "bos"), n=200)
    assert {text.cut for text in texts if len(text) == 3} == {False}
    assert {text.cut for text in texts if len(text) == 4} == {True}


def test_tries_that_run_out():
    engine = engine_that_says([0.0, 0.0, 0.0, -99.0])
    with pytest.raises(TriesExhausted, match=r"got 0, as 7 in a row did not qualify \(not cut\)"):
        drawn(engine, "redraw", CharacterTokenizer("abc", "bos"), tries=7)
    with pytest.raises(TriesExhausted, match=r"\(suffix 'a' and not cut\)"):
        drawn(engine, "redraw", CharacterTokenizer("abc", "bos"), tries=7, suffix="a")


def test_beams(engine):
    given = {"beams": 30, "n": 20, "length_penalty": 1.5}
    kept, marked = (drawn(engine, on_cut, **given) for on_cut in ("keep", "mark"))
    assert kept == marked
    assert [text.cut for text in marked] == [len(text) == BLOCK for text in kept]
    assert {text.cut for text in marked} == {True, False}
    whole = drawn(engine, "redraw", **given)
    assert max(map(len, whole)) < BLOCK
    expected = [text for text in kept if len(text) < BLOCK]
    assert whole[: len(expected)] == expected


def test_beams_that_are_all_cut():
    engine = engine_that_says([0.0, 0.0, 0.0, -9.0])
    tokenizer, given = CharacterTokenizer("abc", "bos"), {"beams": 2, "n": 2, "length_penalty": 1.0}
    assert all(text.cut for text in drawn(engine, "mark", tokenizer, **given))
    assert not any(len(text) == 4 for text in drawn(engine, "redraw", tokenizer, **given))
    with pytest.raises(TriesExhausted, match=r"texts that qualify \(suffix 'aaaa' and not cut\), got 0"):
        drawn(engine, "redraw", tokenizer, **given, suffix="aaaa")


def test_texts_in_turn_obey_too(engine):
    def in_turn(on_cut, **given):
        return generate_sequentially(engine, TOKENIZER, sample(on_cut, **given), PythonRandom(4))

    kept, marked = in_turn("keep", n=90), in_turn("mark", n=90)
    assert kept == marked
    assert [text.cut for text in marked] == [len(text) == BLOCK for text in kept]
    whole = [text for text in kept if len(text) < BLOCK]
    assert in_turn("redraw") == whole[:30]
    longest = max(len(run) for run in "".join("x" if len(text) == BLOCK else " " for text in kept).split())
    assert len(in_turn("redraw", tries=longest)) < 90
    assert max(map(len, in_turn("redraw", beams=30, n=20))) < BLOCK


def test_generate_marks_and_does_not_redraw(engine):
    """Whatever conditions a text meets as a whole, it is the text of its generator."""
    rngs = [[Stream.of(3, i) for i in range(20)] for _ in range(3)]
    kept, marked, redrawn = (
        generate(engine, TOKENIZER, sample(on_cut), rng)
        for on_cut, rng in zip(("keep", "mark", "redraw"), rngs, strict=True)
    )
    assert kept == marked == redrawn
    assert any(text.cut for text in marked)


@pytest.mark.parametrize("given", [{}, {"max_new_tokens": 9}, {"beams": 2, "n": 2}], ids=str)
def test_a_stream_has_no_ends_to_wait_for(given):
    engine = small_engine("array", small_settings())
    with pytest.raises(SettingError, match="on_cut: expected keep or mark, as the texts of a stream have no"):
        drawn(engine, "redraw", STREAM, **given)


def test_a_stream_can_be_marked_and_its_stop_text_waited_for():
    engine = small_engine("array", small_settings())
    assert all(text.cut for text in drawn(engine, "mark", STREAM))
    assert not any(text.cut for text in drawn(engine, "mark", STREAM, max_new_tokens=9))
    texts = drawn(engine, "redraw", STREAM, stop="\n")
    assert max(map(len, texts)) < BLOCK


@pytest.mark.parametrize("given", [{"min_length": 6}, {"min_new_tokens": 4, "prefix": "ab"}], ids=str)
def test_texts_that_must_reach_the_end_of_the_block(given):
    with pytest.raises(SettingError, match="on_cut: expected texts shorter than the block"):
        request_of(sample("redraw", **given), TOKENIZER, BLOCK)
    request_of(sample("redraw", **given, max_new_tokens=9), TOKENIZER, BLOCK)
    request_of(sample("mark", **given), TOKENIZER, BLOCK)


# In Python and on the command line


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run whose texts are often cut, as its names are longer than its block."""
    path = tmp_path_factory.mktemp("runs") / "run"
    names = ["anna", "hannah", "johanna", "an"]
    GPT.train(names, steps=60, seed=1, engine="array", block_size=5, temperature=1.0, preset="microgpt").save(
        path
    )
    return path


def test_a_marked_text_is_a_text(folder):
    texts = GPT.load(folder).generate(40, seed=1, on_cut="mark")
    assert texts == GPT.load(folder).generate(40, seed=1)
    cut = next(text for text in texts if text.cut)
    assert isinstance(cut, str)
    assert (repr(cut), hash(cut), json.dumps(cut)) == (repr(str(cut)), hash(str(cut)), json.dumps(str(cut)))
    for again in (copy(cut), pickle.loads(pickle.dumps(cut))):
        assert (again, again.cut) == (cut, True)
    assert not any(text.cut for text in GPT.load(folder).generate(9, seed=1, on_cut="mark", max_length=5))


def read_back(text, form):
    return (
        list(csv.DictReader(io.StringIO(text))) if form == "csv" else list(map(json.loads, text.splitlines()))
    )


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_the_mark_is_a_field_of_csv_and_json_lines(motegpt, folder, form):
    words = ("sample", folder, "-n", 40, "--seed", 1, "--format", form)
    plain, marked = (read_back(motegpt(*words, *more).out, form) for more in ((), ("--on-cut", "mark")))
    texts = GPT.load(folder).generate(40, seed=1, on_cut="mark")
    assert {tuple(row) for row in plain} == {("text", "logprob")}
    assert {tuple(row) for row in marked} == {("text", "logprob", "cut")}
    assert [{name: row[name] for name in ("text", "logprob")} for row in marked] == plain
    of_bool = {"csv": {True: "1", False: "0"}, "jsonl": {True: True, False: False}}[form]
    assert [(row["text"], row["cut"]) for row in marked] == [(text, of_bool[text.cut]) for text in texts]


def test_lines_of_text_have_no_mark(motegpt, folder):
    words = ("sample", folder, "-n", 9, "--seed", 1)
    assert motegpt(*words).out == motegpt(*words, "--on-cut", "mark").out


def test_a_run_keeps_its_setting_and_the_last_samples_obey_it(motegpt, tmp_path):
    (tmp_path / "list.txt").write_text("anna\nhannah\njohanna\nan\n")
    words = ("train", "list.txt", "--steps", 60, "--block-size", 5, "--temperature", 1, "-n", 20)
    kept = motegpt(*words, "--engine", "array").out
    ended = motegpt(*words, "--engine", "array", "--on-cut", "redraw", "--out", "run")
    lengths = [[len(line.split()[-1]) for line in out.splitlines()[-20:]] for out in (kept, ended.out)]
    assert (max(lengths[0]), max(lengths[1])) == (5, 4)
    assert max(map(len, motegpt("sample", "run", "-n", 30).out.split())) == 4
    assert max(map(len, motegpt("sample", "run", "-n", 30, "--on-cut", "keep").out.split())) == 5
    row = json.loads(motegpt("sample", "run", "-n", 1, "--on-cut", "mark", "--format", "jsonl").out)
    assert "cut" in row


def test_a_stream_is_refused_before_it_is_trained(motegpt, tmp_path):
    (tmp_path / "book.txt").write_text("the cat sat on the mat. " * 9)
    ended = motegpt("train", "book.txt", "--format", "stream", "--on-cut", "redraw", "--out", "run")
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert "no end token, got redraw; try --on-cut mark, or set a --stop text" in ended.err
    assert not (tmp_path / "run").exists()
