"""Encoding and decoding in every framing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motegpt.data.documents import flat
from motegpt.data.tokenizers import (
    FRAMINGS,
    TOKENIZERS,
    ByteTokenizer,
    CharacterTokenizer,
    Tokenizer,
    units,
)
from motegpt.errors import DataError, PrefixError, RunFolderError


def test_microgpt_framing_puts_bos_last_and_at_both_ends():
    tokenizer = Tokenizer.of(["ca", "b"], "bos")
    assert (tokenizer.bos, tokenizer.stop, tokenizer.vocab_size) == (3, 3, 4)
    assert tokenizer.encode_documents(["cab"]) == [[3, 2, 0, 1, 3]]


def test_zeroclaw_framing_puts_bos_and_eos_first():
    tokenizer = Tokenizer.of(["ca", "b"], "bos_eos")
    assert (tokenizer.bos, tokenizer.stop, tokenizer.vocab_size) == (0, 1, 5)
    assert tokenizer.encode_documents(["cab"]) == [[0, 4, 2, 3, 1]]
    assert tokenizer.decode([4, 0, 2, 1]) == "c<BOS>a<EOS>"


def test_a_stream_has_no_special_tokens():
    tokenizer = Tokenizer.of(["ca", "b"], "none")
    assert (tokenizer.bos, tokenizer.stop, tokenizer.vocab_size) == (None, None, 3)
    assert tokenizer.encode_documents(["cab"]) == [[2, 0, 1]]
    assert tokenizer.encode_stream(["cab"]).tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    ("framing", "framed", "vocab_size"),
    [("bos", [256, 195, 169, 256], 257), ("bos_eos", [0, 197, 171, 1], 258), ("none", [195, 169], 256)],
)
def test_byte_tokens_encode_any_text(framing, framed, vocab_size):
    tokenizer = Tokenizer.of(["aaa"], framing, "bytes")
    assert tokenizer.encode_documents(["é"]) == [framed]
    assert tokenizer.vocab_size == vocab_size
    whole, half = tokenizer.encode("é"), tokenizer.encode("é")[:1]
    assert tokenizer.decode([*whole, *half, *tokenizer.encode("z")]) == "é\ufffdz"


def test_lone_surrogates_are_refused():
    for tokenizer in (ByteTokenizer("bos"), CharacterTokenizer("ab", "bos")):
        with pytest.raises(PrefixError, match="ud800"):
            tokenizer.encode("a\ud800")


class LookUpsOnly(dict):
    """A dictionary that refuses iteration."""

    def __iter__(self):
        raise AssertionError("the whole alphabet was walked through")

    keys = items = values = __iter__


def test_encoding_time_does_not_depend_on_the_alphabet():
    tokenizer = CharacterTokenizer("abc", "bos")
    tokenizer.__dict__["_ids"] = LookUpsOnly(tokenizer._ids)
    assert tokenizer.unknown("abxya") == "xy"
    assert tokenizer.encode("cab") == [2, 0, 1]
    with pytest.raises(PrefixError, match=r"got 'x' \(U\+0078\); known characters: 'abc'"):
        tokenizer.encode("cax")


def any_text(**bounds):
    return st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), **bounds)


@given(
    documents=st.lists(any_text(min_size=1) | st.text("ab \t~", min_size=1), min_size=1),
    framing=st.sampled_from(sorted(FRAMINGS)),
    kind=st.sampled_from(sorted(TOKENIZERS.keys() - {"file", "ids"})),  # tests/test_tokens.py has that
)
def test_decode_inverts_encode_for_any_unicode(documents, framing, kind):
    if len(set("".join(documents))) < 2:
        return
    tokenizer = Tokenizer.of(documents, framing, kind)
    for document in documents:
        assert tokenizer.decode(tokenizer.encode(document)) == document
        assert tokenizer.encode_stream([document]).tolist() == tokenizer.encode(document)
    encoded = tokenizer.encode_documents(documents)
    assert {i for row in encoded for i in row} <= set(range(tokenizer.vocab_size))
    begin, end = ([] if one is None else [one] for one in (tokenizer.bos, tokenizer.stop))
    assert encoded == [[*begin, *tokenizer.encode(document), *end] for document in documents]
    assert b"".join(map(tokenizer.token_bytes, tokenizer.encode(documents[0]))).decode() == documents[0]
    assert list(tokenizer.lengths(flat(documents))) == [len(tokenizer.encode(one)) for one in documents]
    assert Tokenizer.from_values(tokenizer.values()) == tokenizer


@pytest.mark.parametrize("size", [253, 254, 255, 256, 257])
@pytest.mark.parametrize("framing", ["bos", "bos_eos", "none"])
def test_ids_that_hardly_fit_a_byte(size, framing):
    """ASCII is encoded in bytes, with 255 for an unknown one."""
    documents = ["~a", "bb~~"]
    tokenizer = CharacterTokenizer("ab~" + "".join(map(chr, range(500, 500 + size))), framing)
    encoded = [list(row) for row in tokenizer.encode_documents(documents)]
    assert [tokenizer.decode(row).removeprefix("<BOS>") for row in encoded] == [
        one + {"bos": "<BOS>", "bos_eos": "<EOS>", "none": ""}[framing] for one in documents
    ]
    for unknown, found in (("a!", r"'!' \(U\+0021\)"), ("aé", r"'é' \(U\+00E9\)")):
        with pytest.raises(DataError, match=found):
            tokenizer.encode_documents([*documents, unknown])
        with pytest.raises(DataError, match=found):
            tokenizer.encode_stream([unknown])


def test_a_long_list_is_encoded_piece_by_piece(monkeypatch):
    tokenizer, documents = Tokenizer.of(["anna"], "bos"), ["anna", "nan", "a", "nn"]
    expected = tokenizer.encode_documents(documents)
    for piece in (1, 2, 5):
        monkeypatch.setattr(units, "PIECE", piece)
        assert tokenizer.encode_documents(documents) == expected


def test_a_corpus_of_one_character_is_refused():
    with pytest.raises(DataError, match="at least 2 distinct characters"):
        Tokenizer.of(["aaa"], "bos")


def test_unknown_characters_are_reported():
    with pytest.raises(PrefixError, match="got 'xz'"):
        Tokenizer.of(["ab"], "bos").encode("zax")


def test_a_tampered_alphabet_is_refused():
    with pytest.raises(RunFolderError, match="distinct"):
        CharacterTokenizer("aa", "bos")
    with pytest.raises(RunFolderError, match="framing"):
        CharacterTokenizer("ab", "both")
    for kind in ("syllables", ["bytes"]):
        with pytest.raises(RunFolderError, match="kind"):
            Tokenizer.from_values({"kind": kind, "framing": "bos"})
    with pytest.raises(RunFolderError, match="expected a framing"):
        Tokenizer.from_values({"kind": "bytes", "framing": ["bos"]})
    with pytest.raises(RunFolderError, match="surrogate"):
        CharacterTokenizer("a\ud800", "bos")
    for values in ({}, {"characters": 5, "framing": "bos"}, {"characters": "ab"}):
        with pytest.raises(RunFolderError, match="expected characters and framing"):
            Tokenizer.from_values(values)
