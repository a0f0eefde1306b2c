"""RoPE and QK norm as a whole: decoding, long texts, run folders and the gradient check, on every engine."""

import numpy as np
import pytest

from motegpt import GPT
from motegpt.data.batches import Batch
from motegpt.data.plan import DocumentPlan
from motegpt.evaluation.gradcheck import check_engine
from motegpt.generation.filters import Filters
from motegpt.generation.request import Request
from motegpt.model.rng import Stream
from motegpt.model.rope import frequencies
from motegpt.sampling.generate import generate_by_token, generate_ids
from tests.conftest import ENGINES_HERE, random_batch, random_sequences, small_engine, small_settings

CHOICES = [
    {"position": "rope"},
    {"qk_norm": True},
    {"position": "rope", "qk_norm": True, "rope_base": 10_000.0},
]
HEADS = [(16, 8), (16, 4), (16, 1), (24, 4), (40, 1), (48, 2), (96, 4)]  # of 2, 4, 16, 6, 40, 24, 24 channels


def engine_of(name, changes, **more):
    return small_engine(name, small_settings(n_layer=2, **changes, **more))


def test_the_frequencies_are_those_of_the_paper():
    engine = small_engine("array", small_settings(n_embd=8, n_head=1, position="rope", rope_base=10_000.0))
    assert frequencies(engine.model) == pytest.approx([1.0, 0.1, 0.01, 0.001], rel=1e-15)
    assert frequencies(small_engine("array", small_settings()).model) == []


@pytest.mark.parametrize("name", [name for name in ENGINES_HERE if name not in ("scalar", "array")])
@pytest.mark.parametrize(("n_embd", "n_head"), HEADS)
@pytest.mark.parametrize("changes", CHOICES, ids=str)
def test_heads_of_any_width_agree_with_the_array_engine(name, n_embd, n_head, changes):
    """And with another gain than the first, a negative one."""
    engine, other = (engine_of(one, changes, n_embd=n_embd, n_head=n_head) for one in (name, "array"))
    w = other.export().parameters
    for key in w.keys() & {"layer1.attn_q_gain"}:
        w[key][:] = -0.7
    engine.load(w)
    other.load(w)
    (loss, gradients), (expected_loss, expected) = (one.gradients(random_batch(4)) for one in (engine, other))
    assert loss == pytest.approx(expected_loss, rel=1e-12)
    for key, gradient in expected.items():
        np.testing.assert_allclose(gradients[key], gradient, rtol=1e-9, atol=1e-12, err_msg=key)


@pytest.mark.parametrize("name", [name for name in ENGINES_HERE if name != "scalar"])
def test_a_gain_of_zero_has_a_gradient(name):
    chosen = small_settings(qk_norm=True)
    engine, scalar = small_engine(name, chosen), small_engine("scalar", chosen)
    w = engine.export().parameters
    w["layer0.attn_q_gain"][:] = 0.0
    for one in (engine, scalar):
        one.load(w)
    got, expected = (one.gradients(random_batch(2))[1]["layer0.attn_q_gain"] for one in (engine, scalar))
    assert expected[0] != 0.0
    np.testing.assert_allclose(got, expected, rtol=1e-9)


@pytest.mark.parametrize("name", ENGINES_HERE)
@pytest.mark.parametrize("changes", CHOICES, ids=str)
def test_cached_equals_uncached(name, changes):
    engine = engine_of(name, changes)
    sequences = [[1, 2, 3, 4, 5, 0], [5, 5, 1, 0, 2, 3]]
    whole = engine.logits(Batch.of([[*row, 0] for row in sequences], "documents"))
    decoder = engine.decoder(2)
    for _ in range(2):
        for at, ids in enumerate(zip(*sequences, strict=True)):
            if at < 4:
                np.testing.assert_allclose(decoder.feed(ids), [whole[0][at], whole[1][at]], rtol=1e-10)
        decoder.reorder([1, 1])  # cached keys are rotated, and stay right in another sequence
        np.testing.assert_allclose(decoder.feed([sequences[1][4]] * 2), [whole[1][4]] * 2, rtol=1e-10)
        decoder.reset()


@pytest.mark.parametrize("name", ENGINES_HERE)
@pytest.mark.parametrize("changes", CHOICES, ids=str)
def test_texts_beyond_the_block_are_those_of_the_scalar_engine(name, changes):
    """The window moves: positions count from its start, whatever computes."""
    request = Request((3, 1), 30, None, Filters(0.7))
    expected = generate_by_token(engine_of("scalar", changes), request, [Stream(seed) for seed in range(3)])
    drawn = generate_ids(engine_of(name, changes), request, [Stream(seed) for seed in range(3)])
    assert drawn == expected
    assert min(map(len, drawn)) == 30


@pytest.mark.parametrize("name", ENGINES_HERE)
@pytest.mark.parametrize("changes", CHOICES, ids=str)
def test_the_gradient_check_passes(name, changes):
    shape = {"n_layer": 1, "n_embd": 8, "n_head": 2, "block_size": 4, **changes}
    checks = list(check_engine(name, "microgpt", shape, seed=1))
    assert all(check.passed for check in checks)
    assert ("layer0.attn_q_gain" in {check.parameter for check in checks}) == ("qk_norm" in changes)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", [name for name in ENGINES_HERE if name in ("native", "torch")])
def test_recomputed_activations_change_nothing(name, threads):
    more = {"n_embd": 48, "block_size": 40, "batch_size": 4, "threads": threads}
    plan = DocumentPlan(random_sequences(3, 12, 40), 4, "tokens")
    kept, recomputed = (
        engine_of(name, CHOICES[2], **more, checkpoint_activations=less).train(plan, 0, 3)
        for less in (False, True)
    )
    assert kept == pytest.approx(recomputed, rel=1e-13)


def test_a_run_with_both_is_saved_loaded_and_resumed_elsewhere(tmp_path):
    documents, chosen = ["anna", "bob", "carla"], {**CHOICES[2], "schedule": "constant", "seed": 3}
    whole = GPT.train(documents, steps=8, engine="array", **chosen, preset="microgpt")
    GPT.train(documents, steps=4, engine="scalar", out=tmp_path / "run", **chosen, preset="microgpt")
    with pytest.warns(UserWarning, match="resuming with the array engine"):
        resumed = GPT.train(documents, resume=tmp_path / "run", steps=8, engine="array")
    for name, w in whole.engine.export().parameters.items():
        np.testing.assert_allclose(resumed.engine.export().parameters[name], w, rtol=1e-9)
    assert GPT.load(tmp_path / "run").generate(3, seed=1) == resumed.generate(3, seed=1)
