"""n texts that are unique, novel or end as wished; the same for the same seed; and when there are no more."""

import hashlib

import pytest

from motegpt.api.gpt import GPT
from motegpt.config.sections import SampleConfig
from motegpt.data.tokenizers import CharacterTokenizer
from motegpt.errors import DataError, SettingError, TriesExhausted
from motegpt.model.rng import PythonRandom, Stream
from motegpt.sampling.collect import draw_texts
from motegpt.sampling.conditions import Conditions
from motegpt.sampling.generate import generate, generate_sequentially
from motegpt.sampling.training_texts import TrainingTexts
from tests.conftest import small_engine, small_settings

TOKENIZER = CharacterTokenizer("abcde", "bos")
DOCUMENTS = ["anna", "hanna", "nan"]


@pytest.fixture(scope="module")
def engine():
    return small_engine("array", small_settings(init_std=0.4))


@pytest.fixture(scope="module")
def model():
    return GPT.train(
        DOCUMENTS,
        steps=40,
        seed=1,
        n_embd=8,
        block_size=6,
        temperature=1.0,
        engine="array",
        preset="microgpt",
    )


def sample(**given):
    return SampleConfig(**{"n": 20, "temperature": 1.0, **given})


def drawn(engine, seed=3, excluded=None, **given):
    groups = draw_texts(engine, TOKENIZER, sample(**given), seed, excluded)
    return [text for group in groups for text in group]


def candidates(engine, count, seed=3, **given):
    return generate(engine, TOKENIZER, sample(**given), [Stream.of(seed, i) for i in range(count)])


def test_plain_texts_are_the_candidates_themselves(engine):
    assert drawn(engine) == candidates(engine, 20)
    assert drawn(engine, n=5) == drawn(engine)[:5]


def test_the_first_that_qualify_are_kept_in_their_order(engine):
    several = candidates(engine, 400)
    unique = list(dict.fromkeys(several))
    assert len(unique) < 300
    assert drawn(engine, n=60, unique=True) == unique[:60]
    known = set(several[:9])
    assert drawn(engine, excluded=known) == [text for text in several if text not in known][:20]
    assert (
        drawn(engine, suffix="ba") == [text for text in candidates(engine, 3000) if text.endswith("ba")][:20]
    )
    both = [text for text in unique if text not in known and text.endswith("b")]
    assert drawn(engine, n=9, unique=True, excluded=known, suffix="b") == both[:9]


def test_groups_do_not_change_what_is_kept(engine, monkeypatch):
    whole = drawn(engine, n=40, unique=True)
    monkeypatch.setattr("motegpt.sampling.collect.MAX_GROUP", 3)
    assert drawn(engine, n=40, unique=True) == whole
    assert drawn(engine, n=7, unique=True) == whole[:7]


def test_texts_come_in_groups_that_grow(engine):
    sizes = [len(group) for group in draw_texts(engine, TOKENIZER, sample(n=20), 0)]
    assert sizes == [1, 2, 4, 8, 5]


def test_tries_that_run_out_are_said_after_what_was_found(engine):
    found: list[str] = []
    few = sample(n=99, tries=900, max_length=1, temperature=9.0, unique=True)
    groups = draw_texts(engine, TOKENIZER, few, 0)
    with pytest.raises(
        TriesExhausted, match=r"expected 99 texts, got 6, as 900 in a row did not qualify \(unique\)"
    ):
        found.extend(text for group in groups for text in group)
    assert sorted(found) == ["", "a", "b", "c", "d", "e"]


def test_tries_are_counted_in_a_row(engine):
    """As many tries as the longest run of failures are not enough, one more is."""
    several = [text.endswith("a") for text in candidates(engine, 2000)]
    places = [i for i, good in enumerate(several) if good][:20]
    longest = max(b - a - 1 for a, b in zip([-1, *places[:-1]], places, strict=True))
    assert len(drawn(engine, suffix="a", tries=longest + 1)) == 20
    with pytest.raises(TriesExhausted):
        drawn(engine, suffix="a", tries=longest)


def test_the_words_for_conditions():
    assert str(Conditions("a", True, {"b"})) == "suffix 'a', unique and novel"
    assert str(Conditions("", True, {"b"})) == "unique and novel"
    assert str(Conditions(unique=True)) == "unique"
    assert not Conditions()


def test_mistakes_come_before_the_first_text(engine):
    with pytest.raises(SettingError):
        draw_texts(engine, TOKENIZER, sample(allow="z"), 0)


def test_novel_after_a_training(model):
    plain = model.generate(200, seed=1)
    assert set(plain) & set(DOCUMENTS)
    novel = model.generate(200, seed=1, novel=True)
    assert not set(novel) & set(DOCUMENTS)
    assert novel[:50] == [text for text in plain if text not in {*DOCUMENTS, ""}][:50]
    names = model.generate(30, seed=1, novel=True, unique=True)
    assert len(set(names)) == 30


def test_novel_after_loading_from_memory_needs_the_data(model, tmp_path):
    model.save(tmp_path / "run")
    loaded = GPT.load(tmp_path / "run")
    with pytest.raises(DataError, match="documents in memory; give it as `data`"):
        loaded.generate(novel=True)
    (tmp_path / "list.txt").write_text("\n".join(DOCUMENTS))
    novel = loaded.generate(50, seed=1, novel=True, data=tmp_path / "list.txt")
    assert novel == model.generate(50, seed=1, novel=True)


def test_novel_after_loading_reads_the_file_again(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("\n".join(DOCUMENTS))
    GPT.train(path, steps=50, engine="array", preset="microgpt").save(tmp_path / "run")
    model = GPT.load(tmp_path / "run")
    assert not set(model.generate(50, seed=1, novel=True)) & set(DOCUMENTS)
    path.write_text("other\nnames")
    with pytest.raises(DataError, match="training data; give it as `data`"):
        model.generate(novel=True)
    path.unlink()
    with pytest.raises(DataError, match="is not found here; give it as `data`"):
        model.generate(novel=True)


def test_novel_with_the_built_in_names(tmp_path):
    GPT.train(steps=3, engine="array", preset="microgpt").save(tmp_path / "run")
    assert len(GPT.load(tmp_path / "run").generate(5, novel=True)) == 5


def test_every_part_of_a_stream_is_known():
    known = TrainingTexts(["a long text"], CharacterTokenizer("abc", "none"))
    assert "long" in known
    assert "text long" not in known
    assert "long" not in TrainingTexts(["a long text"], TOKENIZER)


def test_in_turn_with_a_suffix_and_with_beams(engine):
    rng = PythonRandom(2)
    texts = generate_sequentially(engine, TOKENIZER, sample(suffix="a", n=5), rng)
    assert len(texts) == 5
    assert all(text.endswith("a") for text in texts)
    few = generate_sequentially(engine, TOKENIZER, sample(suffix="abcde", n=5, tries=3, max_length=5), rng)
    assert len(few) < 5
    state = rng.state()
    assert len(generate_sequentially(engine, TOKENIZER, sample(beams=4, n=3), rng)) == 3
    assert rng.state() == state


def test_novelty_is_that_of_the_file_the_run_recorded(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("anna\nbob\n")
    model = GPT.train(path, steps=1, engine="array", preset="microgpt")
    assert model.config.source.sha256 == hashlib.sha256(b"anna\nbob\n").hexdigest()


@pytest.mark.parametrize(
    ("given", "advice"),
    [
        ({"unique": True, "temperature": 0.01}, "a higher `temperature`, or a larger `tries`"),
        ({"novel": True, "temperature": 0.0}, "a higher `temperature`, or a larger `tries`"),
        ({"unique": True, "max_length": 1, "temperature": 2.0}, "a larger `tries`"),
        ({"suffix": "zz", "temperature": 0.01}, "a larger `tries`"),
    ],
)
def test_the_advice_where_tries_run_out(given, advice):
    model = GPT.train(["anna", "bob", "zoe"], steps=200, preset="microgpt", seed=1)
    with pytest.raises(TriesExhausted) as caught:
        model.generate(50, seed=1, tries=20, **({"suffix": "zz"} if "max_length" in given else {}), **given)
    assert str(caught.value).endswith(f"; try {advice}")
