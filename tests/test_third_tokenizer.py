"""A third tokenizer, registered at run time: no other code assumes what a token is.

Its tokens are single characters and pairs of them, and the longest match is taken; so a token is neither a
character nor a byte, and the same text can be drawn as different ids.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, Self

import numpy as np
import pytest

from motegpt.api.gpt import GPT
from motegpt.config.fields import kinds
from motegpt.config.presets import settings_of
from motegpt.config.sections import DataConfig, SampleConfig, section_values
from motegpt.data.check import check_data
from motegpt.data.documents import flat
from motegpt.data.tokenizers import TOKENIZERS, ByteTokenizer, Tokenizer
from motegpt.errors import DataError, PrefixError, SettingError
from motegpt.evaluation.inspect import ids_of
from motegpt.generation.request import _masked, request_of
from motegpt.generation.starts import text_of
from motegpt.model.rng import Stream
from motegpt.sampling.collect import draw_texts
from motegpt.sampling.generate import generate_by_token
from motegpt.sampling.texts import texts_of
from tests.conftest import ENGINES_HERE, engine_that_says

NAMES = ["anna", "hanna", "johanna", "marianne", "nana", "ann", "jo", "maria", "ahmed", "zoë", "noë", "joan"]
SMALL = {"steps": 12, "n_embd": 8, "n_head": 2, "block_size": 8, "dtype": "float64", "seed": 3}
FAST = [name for name in ENGINES_HERE if name in ("array", "native")]


@dataclass(frozen=True)
class PairTokenizer(Tokenizer):
    """tokens: single characters, then the most frequent pairs."""

    kind = "pairs"
    tokens: tuple[str, ...]
    framing: str

    @classmethod
    def learn(cls, documents: Sequence[str], framing: str) -> Self:
        pairs = Counter(a + b for text in documents for a, b in pairwise(text))
        return cls((*sorted(set("".join(documents))), *(pair for pair, _ in pairs.most_common(6))), framing)

    @classmethod
    def restore(cls, values: Mapping[str, Any]) -> Self:
        return cls(tuple(values["tokens"]), values["framing"])

    def values(self) -> dict[str, Any]:
        return {"kind": self.kind, "tokens": list(self.tokens), "framing": self.framing}

    @property
    def symbols(self) -> Sequence[bytes]:
        return [token.encode() for token in self.tokens]

    @property
    def alphabet(self) -> str:
        return "".join(token for token in self.tokens if len(token) == 1)

    def unknown(self, text: str) -> str:
        return "".join(sorted(set(text) - set(self.tokens)))

    def encode(self, text: str) -> list[int]:
        if self.unknown(text):
            raise self.unknown_error(text)
        ids, at = [], 0
        while at < len(text):
            size = 2 if text[at : at + 2] in self.tokens else 1
            ids.append(self.text_ids[self.tokens.index(text[at : at + size])])
            at += size
        return ids


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the tokenizer as an entry of TOKENIZERS and a choice of the setting."""
    monkeypatch.setitem(TOKENIZERS, "pairs", PairTokenizer)
    setting = kinds(DataConfig)["tokenizer"]
    monkeypatch.setitem(kinds(DataConfig), "tokenizer", replace(setting, choices=(*setting.choices, "pairs")))


@pytest.mark.parametrize("framing", ["bos", "bos_eos", "none"])
def test_inherited_methods_of_a_tokenizer(framing):
    tokenizer = Tokenizer.of(NAMES, framing, "pairs")
    assert Tokenizer.from_values(tokenizer.values()) == tokenizer
    assert [tokenizer.decode(tokenizer.encode(name)) for name in NAMES] == NAMES
    framed = tokenizer.encode_documents(["anna"])[0]
    begin, end = ([] if one is None else [one] for one in (tokenizer.bos, tokenizer.stop))
    assert framed == [*begin, *tokenizer.encode("anna"), *end]
    assert b"".join(map(tokenizer.token_bytes, framed)) == b"anna"
    assert list(tokenizer.lengths(flat(NAMES))) == [len(tokenizer.encode(name)) for name in NAMES]
    assert len(tokenizer.encode("anna")) < 4
    assert tokenizer.encode_stream(["anna"]).tolist() == tokenizer.encode("anna")
    with pytest.raises(DataError, match=r"got 'x' \(U\+0078\)"):
        tokenizer.encode_documents(["max"])
    with pytest.raises(PrefixError, match="got 'x'"):
        tokenizer.encode("max")


@pytest.mark.parametrize("engine", FAST)
def test_train_save_load_sample_score_evaluate(engine, tmp_path):
    (tmp_path / "names.txt").write_text("\n".join(NAMES), encoding="utf-8")
    trained = GPT.train(
        tmp_path / "names.txt", engine=engine, tokenizer="pairs", val_fraction=0.2, **SMALL, preset="microgpt"
    )
    trained.save(tmp_path / "run")
    model = GPT.load(tmp_path / "run", engine)
    assert model.tokenizer == trained.tokenizer
    texts = model.generate(30, seed=1, prefix="an")
    assert texts == trained.generate(30, seed=1, prefix="an")
    assert all(text.startswith("an") for text in texts)
    assert max(map(len, texts)) > SMALL["block_size"]
    assert set("".join(model.generate(20, seed=1, forbid="n"))) <= set(model.tokenizer.alphabet) - {"n"}
    assert all(text.endswith("a") for text in model.generate(5, seed=1, suffix="a"))
    assert not set(model.generate(5, seed=1, novel=True, unique=True)) & set(NAMES)
    (score,) = model.score(["johanna"])
    assert (score.tokens, score.characters) == (len(model.tokenizer.encode("johanna")) + 1, 8)
    found = model.evaluate(NAMES)
    assert found.characters == sum(map(len, NAMES)) + len(NAMES)
    assert found.tokens < found.characters
    assert math.isfinite(found.bits_per_character("model"))


def test_reports_and_errors(tmp_path):
    (tmp_path / "names.txt").write_text("\n".join(NAMES), encoding="utf-8")
    report = check_data(
        tmp_path / "names.txt", {**settings_of("microgpt"), "tokenizer": "pairs"}, {"tokenizer": "pairs"}
    )
    tokenizer = Tokenizer.of(NAMES, "bos", "pairs")
    assert report.vocab_size == tokenizer.vocab_size
    assert report.lengths.longest == max(len(tokenizer.encode(name)) for name in NAMES)
    assert "--tokenizer pairs" in report.command
    with pytest.raises(DataError, match="at most 1 tokens"):
        ids_of("johanna", tokenizer, 2)


def test_plots_label_tokens():
    pytest.importorskip("matplotlib")
    from motegpt.plots.attention import symbols_of
    from motegpt.plots.curves import bits_of

    pairs = SimpleNamespace(tokenizer=Tokenizer.of(NAMES, "bos", "pairs"))
    ids = [pairs.tokenizer.bos, *pairs.tokenizer.encode("anna")]
    assert symbols_of(pairs, ids) == ["<BOS>", "an", "na"]
    in_bytes = SimpleNamespace(tokenizer=ByteTokenizer("bos_eos"))
    assert symbols_of(in_bytes, in_bytes.tokenizer.encode("é")) == ["<C3>", "<A9>"]
    assert [bits_of([pairs]), bits_of([in_bytes])] == ["bits per token", "bits per byte"]


def test_the_engines_agree():
    losses = {
        name: GPT.train(NAMES, engine=name, tokenizer="pairs", **SMALL, preset="microgpt").score(NAMES)
        for name in FAST
    }
    expected = [one.log_probability for one in losses["array"]]
    for found in losses.values():
        np.testing.assert_allclose([one.log_probability for one in found], expected, rtol=1e-9)


TOKENS = PairTokenizer(("a", "b", "c", "ab", "bc", "ca"), "bos")


def draw(name, n=300, **given):
    """Texts of a nearly uniform model, checked against the reference."""
    engine = engine_that_says([0.0, 0.1, 0.2, 0.3, 0.2, 0.1, -1.0], name, block_size=6)
    settings = SampleConfig(n=n, temperature=1.0, **given)
    request = request_of(settings, TOKENS, 6)
    texts = [text for group in draw_texts(engine, TOKENS, settings, seed=5) for text in group]
    drawn = generate_by_token(engine, request, [Stream.of(5, i) for i in range(n)])
    assert texts == texts_of(request, TOKENS, drawn)
    return texts


@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize("stop", ["b", "bca", "cc", "ab"])
def test_stop_text_may_span_tokens(name, stop):
    """Equals texts generated without it, truncated at the stop text."""
    free = draw(name, max_new_tokens=9, prefix="ab")
    texts = draw(name, max_new_tokens=9, prefix="ab", stop=stop)
    assert texts == ["ab" + text[2:].partition(stop)[0] for text in free]
    assert any(stop in text[2:] for text in free)


@pytest.mark.parametrize("name", FAST)
def test_min_new_tokens_delays_the_stop_text(name):
    texts = draw(name, stop="bc", min_new_tokens=2, max_new_tokens=6)
    assert min(map(len, texts)) == 2
    assert not any("bc" in text for text in texts)
    only = PairTokenizer(("a", "aa"), "bos")
    with pytest.raises(SettingError, match="stop: expected a text that 1 tokens can avoid"):
        request_of(SampleConfig(n=1, temperature=1.0, stop="a", min_new_tokens=1), only, 6)


def test_stop_text_in_the_last_token_of_the_block_is_not_a_cut():
    texts = [text for text in draw("array", stop="c", on_cut="mark") if not text.cut]
    assert texts
    free = draw("array", n=300, on_cut="mark")
    stopped = draw("array", stop="c", on_cut="mark")
    assert [text.cut for text in stopped] == [text.cut and "c" not in text for text in free]


def test_stop_text_in_beam_search():
    engine = engine_that_says([0.0, 0.1, 0.2, 0.3, 0.2, 0.1, -1.0], block_size=6)
    settings = SampleConfig(n=4, beams=4, temperature=1.0, stop="bc", max_new_tokens=4)
    (texts,) = draw_texts(engine, TOKENS, settings, seed=1)
    assert len(texts) == 4
    assert not any("bc" in text for text in texts)


def test_forbidden_characters_are_found_beside_a_part_of_another():
    """A token may end within a character, so its bytes are compared."""
    symbols = [b"a", b"a\xc3", b"b\xc3", b"\xab", b"b"]
    pieces = SimpleNamespace(text_ids=range(5), token_bytes=symbols.__getitem__, bos=5, stop=5, unit="token")
    texts = [text_of(symbol) for symbol in symbols]
    settings = SampleConfig.of({**section_values(settings_of("microgpt"), "sample"), "forbid": "a"})
    assert _masked(settings, pieces, texts) == ({0, 1}, {2, 3, 4})
