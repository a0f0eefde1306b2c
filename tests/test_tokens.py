"""Words, matches of a pattern, and the tokens of a tokenizer.json."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from motegpt.config.patterns import MAX_PIECE, WORDS, pieces
from motegpt.config.sections import DataConfig
from motegpt.config.text import has_surrogate
from motegpt.data.tokenizers import FileTokenizer, RegexTokenizer, Tokenizer
from motegpt.data.tokenizers.file import _without_prefix
from motegpt.errors import DataError, MotegptError, PrefixError, RunFolderError, SettingError

SMILES = r"\[[^\]]+\]|Br|Cl|[A-Za-z]|%\d\d|."
MOLECULES = ["CC(=O)O", "C1=CC=CC=C1Cl", "[Na+].[Cl-]", "BrCCl", "BrBr", "[Na+].[Br-]", "C[N+](C)C"]
DATA = {"framing": "bos", "cut": "targets", "shuffle": True}


def texts_of(tokenizer, text):
    return [tokenizer.token_bytes(token).decode() for token in tokenizer.encode(text)]


def test_a_word_is_a_token_with_the_space_before_it():
    docs = ["the cat sat, the cat ran", "the dog sat", "a cat"]
    tokenizer = Tokenizer.of(docs, "bos", "words")
    assert texts_of(tokenizer, "the cat sat") == ["the", " cat", " sat"]
    assert texts_of(tokenizer, "the dog") == ["the", *" dog"]  # seen once: spelled
    assert tokenizer.alphabet == "".join(sorted(set("".join(docs))))


def test_a_match_of_the_pattern_is_a_token():
    tokenizer = Tokenizer.of(MOLECULES, "bos", "regex", token_pattern=SMILES)
    assert texts_of(tokenizer, "BrC[Na+]Cl") == ["Br", "C", "[Na+]", "Cl"]
    assert texts_of(tokenizer, "[N+]") == list("[N+]")  # seen once
    with pytest.raises(PrefixError, match="got 'x'"):
        tokenizer.encode("Cx")
    twice = Tokenizer.of(MOLECULES * 2, "bos", "regex", token_pattern=SMILES)
    assert "l" in twice.alphabet
    assert twice.unknown("Cl") == ""
    assert twice.unknown("lC") == "l"  # occurs in Cl alone, so no model has seen it
    with pytest.raises(DataError, match=r"got 'Z' \(U\+005A\)"):
        tokenizer.encode_documents(["Z"])


def test_the_most_frequent_pieces_get_the_room_there_is():
    docs = ["bb cc cc aa aa"]
    for size, tokens in ((5, []), (6, [" aa"]), (9, [" aa", " cc"])):
        found = Tokenizer.of(docs, "none", "words", max_vocab_size=size - 1).tokens
        assert [token for token in found if len(token) > 1] == tokens


@given(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.sampled_from([WORDS, SMILES, "a", "x*", "(?=a)", r"\b"]),
)
def test_pieces_make_up_the_text(text, pattern):
    found = list(pieces(pattern, text))
    assert "".join(found) == text
    assert all(0 < len(piece) <= MAX_PIECE for piece in found)


def test_pieces_of_an_endless_word_are_bounded():
    assert list(map(len, pieces(WORDS, "a" * 600))) == [256, 256, 88]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"max_vocab_size": 99},
            "max_vocab_size: expected none with `tokenizer='characters'`; leave it out, or try",
        ),
        (
            {"tokenizer": "words", "token_pattern": "a"},
            "token_pattern: expected none with `tokenizer='words'`",
        ),
        ({"tokenizer": "regex"}, "token_pattern: expected one with `tokenizer='regex'`, got none"),
        ({"tokenizer": "file"}, "tokenizer_file: expected one with `tokenizer='file'`, got none"),
        ({"tokenizer": "bpe", "tokenizer_file": "x"}, "tokenizer_file: expected none with"),
        ({"tokenizer": "bpe", "max_vocab_size": 1}, "max_vocab_size: expected a whole number of at least 2"),
        (
            {"tokenizer": "regex", "token_pattern": "("},
            "token_pattern: expected a regular expression, got '\\('",
        ),
        ({"tokenizer": "bpe", "token_pattern": "(a*)*"}, "which can take too long"),
    ],
    ids=str,
)
def test_settings_that_do_not_fit_the_tokenizer(given, message):
    with pytest.raises(SettingError, match=message):
        DataConfig.of({**DATA, **given})


@pytest.mark.parametrize(
    "pattern",
    [
        SMILES,
        WORDS,
        r"[NBRQK]?[a-h]?[1-8]?x?[a-h][1-8](=[NBRQ])?[+#]?|O-O(-O)?|\d+\.|\s+",
        "[A-G][#b]?(maj|m)?7?",
    ],
)
def test_patterns_that_people_use_are_accepted(pattern):
    assert DataConfig.of({**DATA, "tokenizer": "regex", "token_pattern": pattern}).token_pattern == pattern


def test_forged_tokens_are_refused():
    values = Tokenizer.of(MOLECULES, "bos", "regex", token_pattern=SMILES).values()
    assert Tokenizer.from_values(json.loads(json.dumps(values))).values() == values
    forged = (["a", "a"], ["a", ""], ["a", 5], "ab", ["a"], ["a", "b" * 257], ["a", "\ud800"], None)
    for tokens in forged:
        with pytest.raises(RunFolderError, match="tokenizer: expected"):
            Tokenizer.from_values({**values, "tokens": tokens})
    with pytest.raises(RunFolderError, match="expected a pattern"):
        RegexTokenizer.restore({**values, "pattern": "(x+)+"})


@pytest.fixture(scope="module")
def library():
    return pytest.importorskip("tokenizers", reason="reads tokenizer.json; pip install 'motegpt[hf]'")


def made(library, kind):
    """A tokenizer.json as other programs write it."""
    models, pre, decoders, trainers = (
        getattr(library, name) for name in ("models", "pre_tokenizers", "decoders", "trainers")
    )
    trainer = {"vocab_size": 300, "show_progress": False, "special_tokens": ["<|end|>"]}
    if kind == "gpt2":
        one = library.Tokenizer(models.BPE())
        one.pre_tokenizer, one.decoder = pre.ByteLevel(add_prefix_space=True), decoders.ByteLevel()
        training = trainers.BpeTrainer(**trainer, initial_alphabet=pre.ByteLevel.alphabet())
    elif kind == "sentencepiece":
        one = library.Tokenizer(models.Unigram())
        one.pre_tokenizer, one.decoder = pre.Metaspace(), decoders.Metaspace()
        training = trainers.UnigramTrainer(**trainer)
    elif kind == "llama":
        one = library.Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
        one.normalizer = library.normalizers.Sequence(
            [library.normalizers.Prepend("▁"), library.normalizers.Replace(" ", "▁")]
        )
        one.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
        tokens = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
        training = trainers.BpeTrainer(**{**trainer, "vocab_size": 320, "special_tokens": tokens})
    else:
        one = library.Tokenizer(models.WordPiece(unk_token="<unk>"))
        one.normalizer, one.pre_tokenizer = library.normalizers.Lowercase(), pre.Whitespace()
        one.decoder = decoders.WordPiece()
        training = trainers.WordPieceTrainer(**{**trainer, "special_tokens": ["<unk>"]})
    one.train_from_iterator(DOCS, training)
    return one.to_str()


DOCS = ["the cat sat on the mat", "the dogs sat", "a cat  and a dog", "Zoë's mat: naïve"] * 3


@pytest.mark.parametrize("kind", ["gpt2", "llama", "sentencepiece"])
def test_a_tokenizer_json_round_trips(library, kind, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(made(library, kind), encoding="utf-8")
    tokenizer = Tokenizer.of(DOCS, "bos", "file", tokenizer_file=str(path))
    for text in DOCS:
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert len(ids) < len(text)
    assert Tokenizer.from_values(json.loads(json.dumps(tokenizer.values()))) == tokenizer
    assert tokenizer.unknown("the cat") == ""


@pytest.mark.parametrize("kind", ["gpt2", "llama", "sentencepiece", "wordpiece"])
@given(text=st.text())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
def test_a_text_is_kept_as_it_is_or_refused(library, kind, text):
    tokenizer = FILES.get(kind) or FILES.setdefault(
        kind, FileTokenizer(_without_prefix(made(library, kind)), "bos")
    )
    try:
        assert tokenizer.decode(tokenizer.encode(text)) == text
    except PrefixError:
        assert tokenizer.unknown(text)
    if kind == "gpt2" and not has_surrogate(text):
        assert tokenizer.unknown(text) == ""  # bytes have everything


FILES: dict[str, FileTokenizer] = {}


def test_what_a_file_loses_is_refused(library, tmp_path):
    tokenizer = FileTokenizer(made(library, "wordpiece"), "bos")
    with pytest.raises(PrefixError, match="expected one that the tokenizer file keeps as it is"):
        tokenizer.encode("The cat")


BAD_FILES = {
    "nothing": b"",
    "no JSON": b"{",
    "a list": b"[]",
    "a number": b"5",
    "not UTF-8": b"\xff\xfe\x00",
    "no model": b"{}",
    "an unknown model": b'{"model": {"type": "Quantum"}, "version": "1.0"}',
    "a model of nothing": b'{"version":"1.0","model":{"type":"BPE","vocab":{},"merges":[]}}',
    "merges of unknown tokens": b'{"version":"1.0","model":{"type":"BPE","vocab":{"a":0},"merges":["a z"]}}',
    "an id out of bounds": b'{"version":"1.0","model":{"type":"WordLevel","vocab":{"a":-1},"unk_token":"a"}}',
    "normalizers of another type": b'{"normalizer": {"normalizers": [5]}, "model": {}}',
    "nesting": b"[" * 100_000,
}


@pytest.mark.parametrize("data", BAD_FILES.values(), ids=BAD_FILES.keys())
def test_bad_files_are_refused_in_one_line(library, data, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_bytes(data)
    with pytest.raises(DataError, match="expected") as found:
        Tokenizer.of(DOCS, "bos", "file", tokenizer_file=str(path))
    assert "\n" not in str(found.value)
    with pytest.raises(RunFolderError, match="tokenizer: expected"):
        Tokenizer.from_values({"kind": "file", "source": data.decode("latin-1"), "framing": "bos"})


def test_a_missing_file_is_named(tmp_path):
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(MotegptError, match=r"tokenizer_file: expected a tokenizer\.json in"):
            Tokenizer.of(DOCS, "bos", "file", tokenizer_file=str(path))


def test_a_pattern_of_a_file_that_takes_for_ever_is_stopped(library):
    """By the library, which panics; that is no Exception."""
    one = library.Tokenizer(library.models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    one.pre_tokenizer = library.pre_tokenizers.Split(library.Regex("(a+)+b"), "isolated")
    with pytest.raises(PrefixError, match="expected one that the tokenizer file keeps"):
        FileTokenizer(one.to_str(), "bos").encode("a" * 60)
