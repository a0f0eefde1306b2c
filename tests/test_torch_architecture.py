"""The architectures of the torch engine: gradients, KV cache, precision, recomputation, compilation."""

import numpy as np
import pytest

from motegpt.config.presets import settings_of
from motegpt.config.sections import model_and_training
from motegpt.data.batches import Batch
from motegpt.data.plan import DocumentPlan
from motegpt.engines import why_unavailable
from motegpt.evaluation.gradcheck import vary_constants
from motegpt.model.spec import tensors
from tests.conftest import random_batch, random_sequences, small_engine, small_settings

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytestmark = pytest.mark.skipif(why_unavailable("torch") is not None, reason="PyTorch is not installed")

TINY = {"n_layer": 2, "n_embd": 8, "n_head": 4, "block_size": 6, "init_std": 0.3, "dtype": "float64"}
ARCHITECTURES = {
    "gpt2": {"preset": "gpt2", "scaled_init": False},
    "llama": {"preset": "llama", "n_kv_head": 2, "rope_base": 100.0},
    "without norms": {"norm": "none", "activation": "gelu", "position": "none", "n_hidden": 5},
    "layer norm": {"norm": "layer", "norm_bias": True, "final_norm": True, "bias": True, "n_kv_head": 1},
    "rms norm": {"norm_gain": True, "norm_bias": True, "qk_norm": True, "n_kv_head": 2},
    "swiglu": {"activation": "swiglu", "n_hidden": 7, "bias": True, "position": "none", "final_norm": True},
}
HALF = 0.1  # bfloat16 keeps 8 bits of a factor; a few products deep

each = pytest.mark.parametrize("architecture", ARCHITECTURES)


def settings(architecture, **changes):
    return small_settings(**{"preset": "microgpt", **TINY, **ARCHITECTURES[architecture], **changes})


def engine_of(architecture, **changes):
    """An engine whose gains and biases are not those that it begins with."""
    engine = small_engine("torch", settings(architecture, **changes))
    engine.load(vary_constants(engine.export().parameters, engine.model, seed=3))
    return engine


def plan():
    return DocumentPlan(random_sequences(5, 12, 6), 4, "documents")


@each
def test_gradients_are_finite_differences(architecture):
    """Of the loss along random directions of all parameters, by torch.autograd.gradcheck."""
    engine = engine_of(architecture, n_layer=1)
    network, batch = engine._network, Batch.of([[1, 4, 0, 2]], "documents")
    names, w = zip(*network.named_parameters(), strict=True)
    ids, targets, weights = (torch.tensor(x) for x in (batch.inputs, batch.targets, batch.weights))

    def loss(*values):
        given = (ids, targets, weights.double())
        return torch.func.functional_call(network, dict(zip(names, values, strict=True)), given)

    assert torch.autograd.gradcheck(loss, [x.detach().requires_grad_() for x in w], fast_mode=True)


@each
def test_the_definitions_compute_the_same(architecture):
    """The network with Operations and with Reference: loss and gradients."""
    from motegpt.engines.torch.ops import Reference

    engine, batch = engine_of(architecture), random_batch(2)
    expected = engine.gradients(batch)
    for module in engine._network.modules():
        module._ops = Reference()
    got = engine.gradients(batch)
    assert got[0] == pytest.approx(expected[0], rel=1e-12)
    for name, gradient in expected[1].items():
        np.testing.assert_allclose(got[1][name], gradient, rtol=1e-9, atol=1e-11)


@each
def test_cached_equals_uncached(architecture):
    engine = engine_of(architecture)
    sequences = [[1, 2, 3, 4, 5, 0], [5, 5, 1, 0, 2, 3]]
    whole = engine.logits(Batch.of([[*row, 0] for row in sequences], "documents"))
    decoder = engine.decoder(2)
    for at, ids in enumerate(zip(*sequences, strict=True)):
        np.testing.assert_allclose(decoder.feed(ids), [whole[0][at], whole[1][at]], rtol=1e-10, atol=1e-12)
    assert decoder._caches[0].keys.shape == (2, engine.model.kv_heads, 6, engine.model.head_size)


@each
def test_tensors_are_exported_in_canonical_order(architecture):
    engine = engine_of(architecture)
    names = [tensor.name for tensor in tensors(engine.model)]
    assert list(engine.export().parameters) == names
    assert list(engine.gradients(random_batch(1))[1]) == names


@each
def test_every_tensor_has_a_gradient(architecture):
    _, gradients = engine_of(architecture).gradients(random_batch(1))
    invisible = {f"layer{i}.attn_wk_bias" for i in range(2)}  # adds the same to all scores of a query
    for name, gradient in gradients.items():
        assert np.abs(gradient).max() > 1e-6 or name in invisible, name


@each
def test_the_future_does_not_move_the_past(architecture):
    engine = engine_of(architecture)
    one = engine.logits(Batch.of([[0, 1, 2, 3, 4, 5]], "documents"))[0]
    other = engine.logits(Batch.of([[0, 1, 2, 5, 5, 5]], "documents"))[0]
    np.testing.assert_allclose(one[:3], other[:3], rtol=1e-12)
    assert np.abs(one[3:] - other[3:]).max() > 1e-3


@each
def test_checkpointed_activations_change_no_bit(architecture):
    kept, recomputed = (
        engine_of(architecture, dropout=0.2, batch_size=4, checkpoint_activations=again)
        for again in (False, True)
    )
    assert kept.train(plan(), 0, 3) == recomputed.train(plan(), 0, 3)
    for name, w in kept.export().parameters.items():
        np.testing.assert_array_equal(recomputed.export().parameters[name], w)


@each
def test_mixed_precision(architecture):
    """Gradients have the error of 16 bits, parameters stay in float32, and the loss falls."""
    batch, changes = random_batch(1, count=4), {"n_head": 2, "n_kv_head": None, "batch_size": 4}
    _, expected = engine_of(architecture, **changes).gradients(batch)
    engine = engine_of(architecture, **changes, dtype="float32", autocast="bfloat16")
    _, got = engine.gradients(batch)
    largest = max(np.abs(gradient).max() for gradient in expected.values())
    errors = [np.abs(got[name] - expected[name]).max() / largest for name in expected]
    assert 1e-4 < max(errors) < HALF
    losses = engine.train(plan(), 0, 60)
    assert losses[-1] < losses[0]
    assert {array.dtype.name for array in engine.export().parameters.values()} == {"float32"}


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_a_compiled_model_computes_the_same(monkeypatch, architecture):
    """Traced and differentiated ahead as for any backend; the last stage, which makes code, is left out."""
    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda module: real(module, backend="aot_eager"))
    one, other = (engine_of(architecture, batch_size=4, compile=compiled) for compiled in (False, True))
    assert other.train(plan(), 0, 3) == pytest.approx(one.train(plan(), 0, 3), rel=1e-12)


def test_the_smallest_gpt2_has_its_published_size():
    from motegpt.engines.torch.model import Transformer
    from motegpt.engines.torch.ops import Operations

    model, _ = model_and_training(settings_of("gpt2"), 50257)
    with torch.device("meta"):
        network = Transformer(model, Operations())
    assert sum(w.numel() for w in network.parameters()) == 124_439_808
