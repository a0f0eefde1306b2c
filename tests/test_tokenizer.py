"""Characters to ids and back, in both framings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motegpt.errors import DataError, PrefixError, RunFolderError
from motegpt.tokenizer import FRAMINGS, Tokenizer


def test_microgpt_framing_puts_bos_last_and_at_both_ends():
    tokenizer = Tokenizer.of(["ca", "b"], "bos")
    assert (tokenizer.bos, tokenizer.stop, tokenizer.vocab_size) == (3, 3, 4)
    assert tokenizer.encode_all(["cab"]) == [[3, 2, 0, 1, 3]]


def test_zeroclaw_framing_puts_bos_and_eos_first():
    tokenizer = Tokenizer.of(["ca", "b"], "bos_eos")
    assert (tokenizer.bos, tokenizer.stop, tokenizer.vocab_size) == (0, 1, 5)
    assert tokenizer.encode_all(["cab"]) == [[0, 4, 2, 3, 1]]
    assert tokenizer.decode([4, 0, 2, 1]) == "c<BOS>a<EOS>"


@given(documents=st.lists(st.text(min_size=1), min_size=1), framing=st.sampled_from(FRAMINGS))
def test_decode_inverts_encode_for_any_unicode(documents, framing):
    if len(set("".join(documents))) < 2:
        return
    tokenizer = Tokenizer.of(documents, framing)
    for document in documents:
        assert tokenizer.decode(tokenizer.encode(document)) == document
    assert {i for row in tokenizer.encode_all(documents) for i in row} <= set(range(tokenizer.vocab_size))


def test_one_character_is_nothing_to_learn():
    with pytest.raises(DataError, match="at least 2 different characters"):
        Tokenizer.of(["aaa"], "bos")


def test_unknown_characters_are_named():
    with pytest.raises(PrefixError, match="got 'xz'"):
        Tokenizer.of(["ab"], "bos").encode("zax")


def test_a_tampered_alphabet_is_refused():
    with pytest.raises(RunFolderError, match="different"):
        Tokenizer("aa", "bos")
    with pytest.raises(RunFolderError, match="framing"):
        Tokenizer("ab", "both")
