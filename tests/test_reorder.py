"""Decoder.reorder: sequences that change places have what they would have if they were fed anew."""

import random

import numpy as np
import pytest

from motegpt.config.sections import SampleConfig
from motegpt.data.tokenizers import CharacterTokenizer
from motegpt.engines import engine_class
from motegpt.sampling.beam import best_texts
from motegpt.sampling.conditions import Conditions
from motegpt.sampling.context import SlidingContext, window_start
from motegpt.sampling.starts import prepare_starts
from tests.conftest import ENGINES_HERE, VOCABULARY, small_engine, small_settings
from tests.tolerances import LOGITS, relative_error

BLOCK = 6
TOKENIZER = CharacterTokenizer("abcde", "bos")


def engines():
    """Each engine in each precision it has, with some number of sequences, several bundles in the core."""
    for name in ENGINES_HERE:
        for dtype in engine_class(name).dtypes:
            for n in {"native": (1, 7, 8, 9, 70)}.get(name, (1, 5)):
                yield pytest.param(name, dtype, n, id=f"{name}-{dtype}-{n}")


def fed(decoder, histories):
    """The logits after the last token of some histories."""
    decoder.reset()
    for ids in zip(*histories, strict=True):
        logits = decoder.feed(ids)
    return np.array(logits)


def moves(chance, n):
    """The same, a permutation, all from one, or any."""
    kinds = [list(range(n)), chance.sample(range(n), n), [chance.randrange(n)] * n]
    return chance.choice([*kinds, [chance.randrange(n) for _ in range(n)]])


@pytest.mark.parametrize(("name", "dtype", "n"), list(engines()))
def test_reordered_is_fed_anew(name, dtype, n):
    engine, chance = small_engine(name, small_settings(n_layer=2, dtype=dtype)), random.Random(n)
    decoder, anew = engine.decoder(n), engine.decoder(n)
    for _ in range(6):
        decoder.reset()
        histories = [[] for _ in range(n)]
        for at in range(BLOCK):
            if at:
                sources = moves(chance, n)
                decoder.reorder(sources)
                histories = [histories[source] for source in sources]
            histories = [[*history, chance.randrange(VOCABULARY)] for history in histories]
            logits = np.array(decoder.feed([history[-1] for history in histories]))
            assert relative_error(logits, fed(anew, histories)) < LOGITS[dtype]


@pytest.mark.parametrize("name", ENGINES_HERE)
def test_before_anything_was_fed_there_is_nothing_to_move(name):
    engine = small_engine(name, small_settings())
    decoder = engine.decoder(2)
    decoder.reorder([1, 1])
    np.testing.assert_array_equal(decoder.feed([0, 3]), engine.decoder(2).feed([0, 3]))


@pytest.mark.parametrize("name", ENGINES_HERE)
@pytest.mark.parametrize("sources", [[], [0], [0, 1, 1], [0, 2], [-1, 0]], ids=str)
def test_what_is_no_order(name, sources):
    decoder = small_engine(name, small_settings()).decoder(2)
    decoder.feed([0, 1])
    with pytest.raises(ValueError, match=r"reorder: expected 2 sources of 0 … 1"):
        decoder.reorder(sources)


@pytest.mark.parametrize("name", ENGINES_HERE)
def test_a_sliding_context_reorders_across_moves_of_its_window(name):
    n, chance = 4, random.Random(3)
    engine = small_engine(name, small_settings(n_layer=2))
    context, anew = SlidingContext(engine.decoder(n), BLOCK), engine.decoder(n)
    histories, sources = [[5, 1]] * n, None
    for _ in range(25):
        logits = np.array(context.logits(histories, sources))
        start = window_start(len(histories[0]), BLOCK)
        assert relative_error(logits, fed(anew, [history[start:] for history in histories])) < 1e-12
        sources = moves(chance, n)
        histories = [[*histories[source], chance.randrange(VOCABULARY)] for source in sources]


class Counting:
    """An engine whose decoder counts how often it is fed and reordered."""

    def __init__(self, engine):
        self.engine, self.model = engine, engine.model
        self.feeds = self.reorders = 0

    def decoder(self, n):
        self.inner = self.engine.decoder(n)
        return self

    def reset(self):
        self.inner.reset()

    def feed(self, ids):
        self.feeds += 1
        return self.inner.feed(ids)

    def reorder(self, sources):
        self.reorders += 1
        self.inner.reorder(sources)


@pytest.mark.parametrize("length", [20, 40, 80])
@pytest.mark.parametrize("block", [6, 100])
def test_beams_are_fed_a_number_of_times_that_is_linear_in_the_length(length, block):
    """Once a token within a block; beyond it, where half a block is left of every window, twice at most."""
    engine = Counting(small_engine("array", small_settings(block_size=block, init_std=0.5)))
    given = {"beams": 5, "n": 1, "max_new_tokens": length, "min_new_tokens": length}
    settings = SampleConfig(temperature=1.0, **given)
    starts = prepare_starts(engine, TOKENIZER, settings)
    best_texts(engine, TOKENIZER, starts, settings, Conditions())
    assert engine.reorders > length / 8
    assert engine.feeds == length if block > length else length < engine.feeds <= 2 * length
