"""Prefix, stop text and lengths in the decoded text, for tokens that are not characters."""

from __future__ import annotations

import math
from collections import defaultdict
from itertools import product

import numpy as np
import pytest

from motegpt.api.gpt import GPT
from motegpt.config.sections import SampleConfig
from motegpt.data.batches import Batch
from motegpt.data.tokenizers import BpeTokenizer, ByteTokenizer, CharacterTokenizer, RegexTokenizer
from motegpt.errors import PrefixError, SettingError
from motegpt.generation.request import request_of
from motegpt.generation.starts import starts_of
from motegpt.generation.text_rules import TextRules, is_complete
from motegpt.model.rng import Stream
from motegpt.sampling.collect import draw_texts
from motegpt.sampling.generate import generate
from motegpt.sampling.starts import prepare_starts
from tests.conftest import ENGINES_HERE, engine_that_says, small_engine, small_settings

FAST = [name for name in ENGINES_HERE if name in ("array", "native")]
BLOCK = 4
BPE = BpeTokenizer("ab", (("a", "b"), ("ab", "a"), ("b", "b")), "(?s).+", "bos")
WORDS = RegexTokenizer(("a", "b", "ab", "abb", "ba"), "abb|ab|ba|.", "bos_eos")
STREAM = BpeTokenizer("ab", (("a", "b"), ("ab", "a")), "(?s).+", "none")


def settings(**given):
    return SampleConfig(**{"n": 1, "temperature": 1.0, **given})


def probabilities(engine, tokenizer):
    """The probability of each sequence of ids, without its end, up to the end of the block."""
    first = [0] if tokenizer.bos is None else [tokenizer.bos]
    found: dict[tuple[int, ...], float] = {}
    for sequence in product(range(tokenizer.vocab_size), repeat=engine.model.block_size):
        (logits,) = engine.logits(Batch.of([[*first, *sequence]], "tokens"))
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        length = next((i for i, one in enumerate(sequence) if one == tokenizer.stop), len(sequence))
        found[sequence[:length]] = math.prod(p[i, one] for i, one in enumerate(sequence[: length + 1]))
    return found


def expected_texts(all_texts, tokenizer, prefix):
    """Text -> probability, given that the ids which reach the end of the prefix tokenize their own text."""
    found: dict[str, float] = defaultdict(float)
    for ids, p in all_texts.items():
        text = tokenizer.decode(ids)
        sizes = [len(tokenizer.decode(ids[:n])) for n in range(len(ids) + 1)]
        reach = next((n for n, size in enumerate(sizes) if size >= len(prefix)), 0)
        if text.startswith(prefix) and list(ids[:reach]) == tokenizer.encode(tokenizer.decode(ids[:reach])):
            found[text] += p
    total = sum(found.values())
    return {text: p / total for text, p in found.items()}


@pytest.fixture(scope="module", params=[BPE, WORDS], ids=["bpe", "words"])
def model(request):
    """A random model, its tokenizer, and the probability of everything that it can draw."""
    engine = random_engine("array", request.param)
    return engine, request.param, probabilities(engine, request.param)


def random_engine(name, tokenizer):
    return small_engine(name, small_settings(block_size=BLOCK, init_std=0.4), tokenizer.vocab_size)


@pytest.mark.parametrize("prefix", ["a", "ab", "b", "aba", "abb", "ba"])
def test_texts_with_a_prefix_have_the_exact_distribution(model, prefix):
    engine, tokenizer, all_texts = model
    given, n = settings(prefix=prefix), 4000
    starts, total = prepare_starts(engine, tokenizer, given), 0.0
    shares = np.exp(starts.log_p) / np.exp(starts.log_p).sum()
    of_starts = [
        sum(p for ids, p in all_texts.items() if ids[: one.n_prefix_tokens] == one.prefix)
        for one in starts.requests
    ]
    np.testing.assert_allclose(shares, np.array(of_starts) / sum(of_starts), rtol=1e-9)
    expected = expected_texts(all_texts, tokenizer, prefix)
    texts = generate(engine, tokenizer, given, [Stream.of(3, i) for i in range(n)])
    assert set(texts) <= set(expected)
    for text, p in expected.items():
        total += p
        assert abs(texts.count(text) / n - p) < 4.5 * math.sqrt(p * (1 - p) / n) + 4 / n, text
    assert total == pytest.approx(1)


def test_the_starts_of_a_prefix():
    def found(prefix, tokenizer=BPE):
        return sorted((tokenizer.decode(one.ids), one.tail) for one in starts_of(prefix, tokenizer))

    assert found("a") == [("a", ""), ("ab", "b"), ("aba", "ba")]
    assert found("ab") == [("ab", ""), ("aba", "a")]
    assert found("b") == [("b", ""), ("bb", "b")]
    assert found("") == [("", "")]
    assert found("ba", CharacterTokenizer("ab", "bos")) == [("ba", "")]
    assert found("é", ByteTokenizer("bos")) == [("é", "")]


@pytest.mark.parametrize("name", FAST)
def test_engines_draw_the_same_texts_after_a_prefix(name):
    engines = [random_engine(one, BPE) for one in ("array", name)]
    given = settings(prefix="a", n=200)
    a, b = ([text for group in draw_texts(one, BPE, given, seed=9) for text in group] for one in engines)
    assert a == b
    assert len(set(a)) > 10


def test_the_most_likely_start_is_taken_at_temperature_0():
    logits = [0.0] * BPE.vocab_size
    logits[BPE.encode("aba")[0]] = 5.0
    (text,) = generate(
        engine_that_says(logits), BPE, settings(prefix="ab", temperature=0.0), [Stream.of(1, 0)]
    )
    assert text == "aba" * BLOCK


@pytest.mark.parametrize("tokenizer", [BPE, STREAM], ids=["bos", "stream"])
@pytest.mark.parametrize(
    "given",
    [
        {"allow": "a"}, {"forbid": "b"}, {"stop": "ba"}, {"max_length": 3}, {"min_length": 4},
        {"min_new_tokens": 2}, {"stop": "b", "min_length": 3}, {"max_length": 2, "stop": "bb"},
        {"min_length": 3, "max_length": 3},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("prefix", ["", "a"])
def test_settings_hold_for_the_decoded_text(tokenizer, given, prefix):
    engine = small_engine("array", small_settings(block_size=BLOCK), tokenizer.vocab_size)
    given = settings(prefix=prefix, **given)
    for text in generate(engine, tokenizer, given, [Stream.of(5, i) for i in range(300)]):
        new = text[len(prefix) :]
        assert text.startswith(prefix)
        assert not given.stop or given.stop not in new
        assert (given.min_length or 0) <= len(text) <= (given.max_length or 99)
        assert not given.allow or set(new) <= set(given.allow)
        assert not set(new) & set(given.forbid)


def test_a_maximum_length_cuts_the_same_texts():
    engine = engine_that_says([0.0, 0.1, 0.2, 0.3, 0.2, -1.0], block_size=9)
    rngs = [[Stream.of(5, i) for i in range(200)] for _ in range(2)]
    free = generate(engine, BPE, settings(max_new_tokens=9), rngs[0])
    cut = generate(engine, BPE, settings(max_new_tokens=9, max_length=4), rngs[1])
    assert cut == [text[:4] for text in free]
    assert {len(text) for text in cut} >= {3, 4}


def test_lengths_of_bytes_are_those_of_characters():
    tokenizer, engine = ByteTokenizer("bos"), engine_that_says([0.0] * 257, block_size=40)
    given = settings(max_length=6, min_length=3, forbid="".join(map(chr, range(60))))
    texts = generate(engine, tokenizer, given, [Stream.of(1, i) for i in range(50)])
    assert all(3 <= len(text) <= 6 for text in texts)


def test_a_text_does_not_end_within_a_character():
    rules = TextRules(tuple(bytes([i]) for i in range(256)), max_length=1)
    assert not rules.ends(b"\xe2\x82")
    assert rules.ends(b"\xe2\x82\xac")
    assert rules.ends(b"aa")
    assert is_complete("é".encode())
    assert not is_complete("aé".encode()[:2])


@pytest.mark.parametrize("lengths", [{}, {"max_length": 4, "min_length": 2}], ids=str)
def test_beams_go_through_all_starts(lengths, model):
    engine, tokenizer, all_texts = model
    asked = settings(prefix="a", length_penalty=0.0, unique=True, beams=60, n=3, **lengths)
    (texts,) = draw_texts(engine, tokenizer, asked, seed=1)
    assert len(set(texts)) == 3
    if lengths:
        assert all(2 <= len(text) <= 4 for text in texts)
        return
    best: dict[str, float] = defaultdict(float)
    starts = [one.ids for one in starts_of("a", tokenizer)]
    for ids, p in all_texts.items():
        if len(ids) > 1 - (tokenizer.decode(ids) != "a") and any(ids[: len(one)] == one for one in starts):
            best[tokenizer.decode(ids)] = max(best[tokenizer.decode(ids)], p)
    assert set(texts) <= set(sorted(best, key=best.get, reverse=True)[:4])


def test_lengths_that_no_text_can_have():
    with pytest.raises(SettingError, match=r"min_length: expected at most 4, .* got 5"):
        request_of(settings(min_length=5), BPE, BLOCK)
    with pytest.raises(SettingError, match="max_length: expected more than the 2 characters of the prefix"):
        request_of(settings(max_length=2, prefix="ab"), BPE, BLOCK)
    only = BpeTokenizer("ab", (("a", "a"),), "(?s).+", "bos")
    with pytest.raises(SettingError, match="stop: expected a text that 1 tokens can avoid"):
        request_of(settings(stop="a", allow="a", min_length=1), only, BLOCK)


@pytest.mark.parametrize("kind", ["bpe", "words"])
def test_train_save_load_and_continue_a_prefix(kind, tmp_path):
    docs = ["the cat sat", "the dog sat", "the cat ran", "a dog ran"] * 3
    model = GPT.train(docs, tokenizer=kind, steps=150, n_embd=16, seed=1, engine="array", preset="microgpt")
    model.save(tmp_path / "run")
    loaded = GPT.load(tmp_path / "run")
    assert loaded.tokenizer == model.tokenizer
    texts = loaded.generate(40, seed=1, prefix="the ca", temperature=0.7)
    assert texts == model.generate(40, seed=1, prefix="the ca", temperature=0.7)
    assert sum(text in docs for text in texts) > 20  # the prefix ends within a token that training knows
    (score,) = model.score(["the cat ran"])
    assert score.characters == 12
    assert score.tokens < 8


def test_a_prefix_may_have_no_tokens_of_its_own():
    tokenizer = RegexTokenizer(("C", "Br", "Cl"), "Br|Cl|.", "bos")
    engine = engine_that_says([0.0, 0.1, 0.2, 0.3], block_size=9)
    texts = generate(engine, tokenizer, settings(prefix="CB"), [Stream.of(1, i) for i in range(20)])
    assert all(text.startswith("CBr") for text in texts)
    assert not any(
        "l" in text
        for text in generate(
            engine,
            tokenizer,
            settings(prefix="C", stop="l", max_new_tokens=5),
            [Stream.of(1, i) for i in range(20)],
        )
    )
    with pytest.raises(PrefixError, match="got 'r'"):
        generate(engine, tokenizer, settings(prefix="r"), [Stream.of(1, 0)])
    with pytest.raises(PrefixError, match="expected one that the settings allow to continue"):
        generate(engine, tokenizer, settings(prefix="B", forbid="r"), [Stream.of(1, 0)])
    with pytest.raises(PrefixError, match="got 'z'"):
        generate(engine, tokenizer, settings(stop="z"), [Stream.of(1, 0)])
