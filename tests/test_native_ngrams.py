"""The n-gram embedding in the core: what its own execution must not change, and whole texts in one call.

tests/test_ngram_engines.py compares its numbers with those of the other engines.
"""

import numpy as np
import pytest

from motegpt.config.sections import model_and_training
from motegpt.data.plan import DocumentPlan
from motegpt.engines import fresh_engine, why_unavailable
from motegpt.generation.filters import Filters
from motegpt.generation.request import Request
from motegpt.model.rng import Stream
from motegpt.model.spec import tensors
from motegpt.ngrams.contexts import Contexts
from motegpt.sampling.generate import generate_by_token
from tests.conftest import random_sequences, small_settings
from tests.tolerances import LOGITS, LOSSES, relative_error

pytestmark = pytest.mark.skipif(
    why_unavailable("native") is not None, reason="the core was not built: no compiler was found"
)

VOCABULARY = 4
REGULARIZED = {"ngram_dropout": 0.4, "ngram_weight_decay": 2.0, "lr": 0.02, "clip_norm": 0.3}


def problem(dtype="float64", **changes):
    """A plan, and an engine whose tables are random."""
    plan = DocumentPlan(random_sequences(3, 40, 9, VOCABULARY), 7, "documents")
    contexts = Contexts.of_plan(plan, 5, 2)
    chosen = small_settings(dtype=dtype, block_size=9, ngram_orders=5, ngram_rows=contexts.sizes, **changes)
    engine = fresh_engine("native", *model_and_training(chosen, VOCABULARY), contexts)
    rng = np.random.default_rng(1)
    engine.load({one.name: rng.normal(0, 0.3, one.shape) for one in tensors(engine.model)})
    return plan, engine


def state(engine):
    """All parameters and slots as one array."""
    snapshot = engine.export()
    parts = [snapshot.parameters, *snapshot.slots.values()]
    return np.concatenate([values.ravel() for part in parts for values in part.values()])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_chunks_exports_logits_and_decoding_change_no_byte(dtype, threads, optimizer):
    """Decay of the tables is applied when a row is used or exported, which may be between its steps."""
    chosen = {"dtype": dtype, "threads": threads, "optimizer": optimizer, **REGULARIZED}
    plan, whole = problem(**chosen)
    losses = whole.train(plan, 0, 40)
    plan, cut = problem(**chosen, checkpoint_activations=True)
    parts, start = [], 0
    for count in (5, 3, 1, 8, 14, 9):
        parts += cut.train(plan, start, count)
        start += count
        cut.logits(plan.batch(start))
        cut.export()
        cut.decoder(2).feed([0, 1])
        cut.gradients(plan.batch(start), start)
    assert parts == losses
    assert state(cut).tobytes() == state(whole).tobytes()


def test_a_resumed_training_is_one_that_never_stopped():
    plan, whole = problem(**REGULARIZED)
    whole.train(plan, 0, 40)
    _, first = problem(**REGULARIZED)
    first.train(plan, 0, 21)
    _, second = problem(**REGULARIZED)
    second.load(first.export())
    second.train(plan, 21, 19)
    assert state(second).tobytes() == state(whole).tobytes()


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_change_only_the_order_of_sums(threads):
    plan, one = problem(threads=1, n_embd=64, **REGULARIZED)
    _, many = problem(threads=threads, n_embd=64, **REGULARIZED)
    assert many.train(plan, 0, 30) == pytest.approx(one.train(plan, 0, 30), rel=LOSSES["float64"])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("n", [1, 7, 64, 70])
def test_whole_texts_are_those_drawn_token_by_token(dtype, n):
    """Longer than the block, so that the contexts begin anew with each window."""
    _, engine = problem(dtype, n_layer=2)
    request = Request((0, 1), 25, None, Filters(0.7))
    drawn = engine.generate(request, [Stream.of(1, i) for i in range(n)])
    assert drawn == generate_by_token(engine, request, [Stream.of(1, i) for i in range(n)])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_decoder_reads_the_contexts_that_training_reads(dtype):
    plan, engine = problem(dtype)
    longest = max(plan.batch(0).inputs, key=len)
    decoder = engine.decoder(3)
    for _ in range(2):
        rows = []
        for at, token in enumerate(longest):
            ids = [token] * 3 if at % 2 else [token, 3 - token, token]
            rows.append(np.array(decoder.feed(ids))[2])
            decoder.reorder([2, 2, 0])
        batch = plan.batch(0)
        expected = engine.logits(batch)[batch.inputs.index(longest)]
        assert relative_error(rows, expected) < 10 * LOGITS[dtype]
        decoder.reset()


def test_a_row_that_no_batch_uses_is_only_decayed():
    plan, engine = problem(ngram_dropout=0.999999, ngram_weight_decay=2.0)
    before = engine.export().parameters
    engine.train(plan, 0, 8)
    after, slots = engine.export().parameters, engine.export().slots
    for table in ("ngram2", "ngram3", "ngram4", "ngram5"):
        quotient = after[table] / before[table]
        assert quotient == pytest.approx(np.full_like(quotient, quotient.flat[0]), rel=1e-12)
        assert 0 < quotient.flat[0] < 1
        assert not any(slot[table].any() for slot in slots.values())
