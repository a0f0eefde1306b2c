"""Exported tokenizers in the library `tokenizers`: the same ids and the same texts."""

import json
import random

import pytest

from motegpt import SettingError, UsageError
from motegpt.data.tokenizers import BpeTokenizer, FileTokenizer, RegexTokenizer, Tokenizer
from motegpt.interchange.regex import oniguruma
from motegpt.interchange.tokens import special_names, tokenizer_json

# Where Python and Oniguruma disagree on \w, \s or \d: marks, numbers, separators and controls.
ODD = "aAbB12_ -\n\r\t\x0b\x1c\x1f\x85\xa0²½Ⅷ٣नमस्ते́ñǅß🙂‍漢\u2028\u200b."
WORDS = ["ab", "a1_", "नमस्ते", "x² ", "a\x1cb", "e\u0301", "  ", "\r\n", "1٣", "ß", "🙂", "b.", "-A-"]
PATTERNS = [
    r" ?\w+| ?[^\w\s]+|\s+(?!\S)|\s+",
    r"\b\w+\b|.",
    r"(?i)a[b-d]+?|\s+$|ß|ss",
    r"^.|\d{2,3}|(?<=a)b(?!c)|(?<!b)A",
    r"(?s).{1,2}",
    r"(?m)^\w|.$",
    r"[^\W\d_]+|\D",
    r"(?>\w+)\s|\w+",
    r"\w++|\S\B",
    r"\A.|.\Z|(?a:\w+)|(?P<one>\s{2})",
    r"(?i:AB)|a{2}?|[\x1c-\x1f]+|[Ⅷ½]",
    r"(?a:\b\w+\b)|(?a:.\B)|\S",
]

library = pytest.importorskip("tokenizers", reason="make test-interchange")


def corpus(seed):
    rng = random.Random(seed)
    return ["".join(rng.choices([*ODD, *WORDS], k=rng.randint(1, 20))) for _ in range(200)]


def check_equal(tokenizer, texts):
    theirs = library.Tokenizer.from_str(json.dumps(tokenizer_json(tokenizer)))
    theirs.encode_special_tokens = True  # transformers sets it, by split_special_tokens
    specials = list(special_names(tokenizer).values())
    known = 0
    for text in texts:
        if tokenizer.unknown(text):
            if tokenizer.alphabet:
                with pytest.raises(Exception, match=r"(?i)unk"):
                    theirs.encode(text)
            continue
        known += 1
        ids = tokenizer.encode(text)
        assert theirs.encode(text, add_special_tokens=False).ids == ids, text
        assert theirs.encode(text).ids == specials[:1] + ids
        assert theirs.decode(ids, skip_special_tokens=False) == tokenizer.decode(ids)
    return known


@pytest.mark.parametrize("framing", ["bos", "bos_eos", "none"])
@pytest.mark.parametrize("kind", ["characters", "bytes", "bpe", "words"])
def test_every_kind(kind, framing):
    more = {"max_vocab_size": 90} if kind in ("bpe", "words") else {}
    tokenizer = Tokenizer.of(corpus(1), framing, kind, **more)
    assert check_equal(tokenizer, ["", "<BOS>", "漢字", *corpus(1), *corpus(2)]) > 200


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("learn", [BpeTokenizer.learn, RegexTokenizer.learn], ids=["bpe", "regex"])
def test_every_part_of_a_pattern(pattern, learn):
    tokenizer = learn(corpus(3), "bos", token_pattern=pattern, max_vocab_size=120)
    assert check_equal(tokenizer, [*corpus(3), *corpus(4), *ODD]) > 200


def test_a_wrong_class_is_found(monkeypatch):
    """The patterns as Oniguruma reads them differ from Python's on these texts."""
    monkeypatch.setattr("motegpt.interchange.tokens.oniguruma", lambda pattern, _: f"(?:{pattern})|[\\s\\S]")
    with pytest.raises(AssertionError):
        test_every_kind("bpe", "bos")


@pytest.mark.parametrize("pattern", ["a*", "a?|b", "(?=a)"])
def test_patterns_that_match_nothing_are_refused(pattern):
    with pytest.raises(SettingError, match="at least a character"):
        oniguruma(pattern, "ab")


def test_no_pattern_matches_a_character_outside_the_alphabet():
    assert oniguruma("x", "ab") == r"(?:(?!))|[\s\S]"
    assert oniguruma(r"\w", "acb-") == r"(?:[\x{61}-\x{63}])|[\s\S]"


def byte_level_file(path, specials=()):
    model = library.Tokenizer(library.models.BPE())
    model.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = library.decoders.ByteLevel()
    trainer = library.trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=list(specials),
        initial_alphabet=library.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    model.train_from_iterator(corpus(5), trainer)
    model.save(str(path))


@pytest.mark.parametrize("framing", ["bos", "bos_eos", "none"])
@pytest.mark.parametrize("specials", [(), ("<|end|>",)])
def test_a_tokenizer_file(tmp_path, framing, specials):
    byte_level_file(tmp_path / "tokenizer.json", specials)
    tokenizer = FileTokenizer.learn([], framing, tokenizer_file=str(tmp_path / "tokenizer.json"))
    theirs = library.Tokenizer.from_str(json.dumps(tokenizer_json(tokenizer)))
    begin = [] if tokenizer.bos is None else [tokenizer.bos]
    for text in ["", "a b", "a<|end|>b" if specials else "c", *corpus(6)]:
        assert theirs.encode(text).ids == begin + tokenizer.encode(text)
        assert theirs.decode(tokenizer.encode(text), skip_special_tokens=False) == text


def test_a_list_whose_ids_would_move_is_refused(tmp_path):
    model = library.Tokenizer(library.models.Unigram([("a", -1.0), ("b", -2.0)], unk_id=None))
    model.save(str(tmp_path / "tokenizer.json"))
    learn = {"tokenizer_file": str(tmp_path / "tokenizer.json")}
    assert tokenizer_json(FileTokenizer.learn([], "bos", **learn))["model"]["type"] == "Unigram"
    with pytest.raises(UsageError, match="cannot be exported"):
        tokenizer_json(FileTokenizer.learn([], "bos_eos", **learn))


def test_names_of_special_tokens_are_new():
    tokenizer = RegexTokenizer(("a", "b", "<BOS>"), "<BOS>|.", "bos")
    assert special_names(tokenizer) == {"<<BOS>>": 3}
    assert check_equal(tokenizer, ["ab<BOS>a", "<<BOS>>"]) == 1
