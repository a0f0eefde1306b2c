"""Byte-pair encoding: its merges, beside those of the library `tokenizers`, and forged ones."""

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motegpt.config.patterns import WORDS
from motegpt.data.corpus import built_in_names
from motegpt.data.tokenizers import BpeTokenizer, Tokenizer
from motegpt.data.tokenizers.bpe import learn_merges, merged
from motegpt.errors import RunFolderError

NAMES = built_in_names().decode().split()
PROSE = (
    "The cat sat on the mat, and the dogs sat on the cats'  mats.\n\nWhat is that?  That is the cat that sat "
    "there: the 3rd of 33 cats -- in 1933 -- that the dog_catcher caught.\tThe end."
)


def library_merges(documents, size):
    """The vocabulary in order of ids, and the merges, of the library's trainer on the same words."""
    library = pytest.importorskip("tokenizers", reason="compares with the library; pip install 'motegpt[hf]'")
    import json

    one = library.Tokenizer(library.models.BPE())
    one.pre_tokenizer = library.pre_tokenizers.Split(library.Regex(WORDS), "isolated")
    trainer = library.trainers.BpeTrainer(vocab_size=size, min_frequency=2, show_progress=False)
    one.train_from_iterator(documents, trainer)
    model = json.loads(one.to_str())["model"]
    return sorted(model["vocab"], key=model["vocab"].get), [tuple(pair) for pair in model["merges"]], one


def random_text(seed):
    """Few letters, so that pairs are often equally frequent and tokens repeat."""
    rng = random.Random(seed)
    return ["".join(rng.choice("abcé ") for _ in range(rng.randint(1, 30))).strip() or "a" for _ in range(60)]


@pytest.mark.parametrize(
    "documents",
    [NAMES, [PROSE], [PROSE * 3, *NAMES[:50]], *map(random_text, range(20))],
    ids=lambda documents: documents[0][:8],
)
def test_merges_are_those_of_the_library(documents):
    size = 400
    tokens, merges, library = library_merges(documents, size)
    ours = Tokenizer.of(documents, "none", "bpe", max_vocab_size=size)
    assert list(ours.merges) == merges
    assert list(ours.tokens) == tokens
    for document in documents[:200]:
        assert ours.encode(document) == library.encode(document).ids


def reference_merges(words, alphabet, room):
    """Count every pair anew for each merge."""
    tokens, pairs = list(alphabet), []
    spelled = [[tokens.index(character) for character in word] for word in words]
    while len(tokens) < len(alphabet) + room:
        counts = {}
        for word, times in zip(spelled, words.values(), strict=True):
            for pair in pairwise(word):
                counts[pair] = counts.get(pair, 0) + times
        pair = min(counts, key=lambda pair: (-counts[pair], pair), default=None)
        if pair is None or counts[pair] < 2:
            break
        text = tokens[pair[0]] + tokens[pair[1]]
        if text not in tokens:
            tokens.append(text)
        pairs.append(pair)
        spelled = [merged(word, pair, tokens.index(text)) for word in spelled]
    return tokens, pairs


@given(
    words=st.dictionaries(
        st.text("abc", min_size=1, max_size=12), st.integers(1, 4), min_size=1, max_size=12
    ),
    room=st.integers(0, 20),
)
def test_counts_that_are_kept_up_are_those_counted_anew(words, room):
    assert tuple(learn_merges(words, "abc", room)) == reference_merges(words, "abc", room)


def test_the_vocabulary_has_the_size_that_is_asked_for():
    for size in (40, 80):
        assert Tokenizer.of(NAMES, "bos", "bpe", max_vocab_size=size).vocab_size == size
    assert Tokenizer.of(NAMES, "bos", "bpe", max_vocab_size=5).vocab_size == 26  # every character has an id


def test_no_token_crosses_the_end_of_a_word_unless_the_pattern_says_so():
    text = ["new york " * 9]
    tokens = Tokenizer.of(text, "bos", "bpe", max_vocab_size=60).tokens
    assert " york" in tokens
    assert "new york" not in "".join(tokens)
    whole = Tokenizer.of(text, "bos", "bpe", max_vocab_size=60, token_pattern="(?s).+").tokens
    assert "new york" in "".join(whole)


FORGED = {
    "no merges": {"merges": None},
    "no pattern": {"pattern": None},
    "not a pattern": {"pattern": "("},
    "a pattern that takes for ever": {"pattern": "(a+)+b"},
    "a choice that is repeated": {"pattern": "(?:a|a)*b"},
    "options without end": {"pattern": "a?" * 40 + "a" * 40},
    "a reference": {"pattern": r"(a+)\1"},
    "three repetitions": {"pattern": "a*a*a*b"},
    "a long pattern": {"pattern": "a" * 5000},
    "a pattern nested deeply": {"pattern": "(" * 900 + ")" * 900},
    "an unknown token": {"merges": [["a", "z"]]},
    "a later token": {"merges": [["ab", "c"], ["a", "b"]]},
    "a merge given twice": {"merges": [["a", "b"], ["a", "b"]]},
    "three tokens": {"merges": [["a", "b", "c"]]},
    "a number": {"merges": [["a", 1]]},
    "a list in a list": {"merges": [["a", ["b"]]]},
    "a text": {"merges": ["ab"]},
    "tokens that double": {"merges": [["a" * 2**i, "a" * 2**i] for i in range(12)]},
    "a repeated character": {"characters": "aab"},
    "one character": {"characters": "a", "merges": []},
    "half of a pair": {"characters": "a\ud800"},
    "no characters": {"characters": 5},
    "a framing of none": {"framing": "both"},
}


@pytest.mark.parametrize("changes", FORGED.values(), ids=FORGED.keys())
def test_forged_merges_are_refused(changes):
    values = {"kind": "bpe", "characters": "abc", "merges": [["a", "b"]], "pattern": WORDS, "framing": "bos"}
    assert Tokenizer.from_values(values) == BpeTokenizer("abc", (("a", "b"),), WORDS, "bos")
    with pytest.raises(RunFolderError, match="tokenizer: expected"):
        Tokenizer.from_values({**values, **changes})
