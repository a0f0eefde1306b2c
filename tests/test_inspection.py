"""What the model attends to, and the maps of its vectors."""

import numpy as np
import pytest

from motegpt.config.sections import model_and_training
from motegpt.data.tokenizers import CharacterTokenizer
from motegpt.engines import fresh_engine
from motegpt.engines.array.engine import ArrayEngine
from motegpt.engines.scalar.graph import Value
from motegpt.engines.scalar.model import FUSED, empty_cache, forward_token
from motegpt.errors import DataError, PrefixError
from motegpt.evaluation.gradcheck import vary_constants
from motegpt.evaluation.inspect import attention, cosines, ids_of, principal_plane, residual_stream, trace
from tests.conftest import ARCHITECTURES, ENGINES_HERE, random_sequences, small_settings


def fresh(preset="microgpt", **changes):
    """A model with random weights: its shape and its parameters."""
    model, train = model_and_training(small_settings(preset, **{"n_layer": 2, **changes}), 6)
    return model, fresh_engine("array", model, train).export().parameters


def scalar_trace(model, parameters, ids):
    """The intermediates of the scalar engine, position by position, in the shapes of the array engine's."""
    w = {name: np.vectorize(Value, otypes=[object])(x).tolist() for name, x in parameters.items()}
    cache, found = empty_cache(model), {}
    for at, token in enumerate(ids):
        trace = {}
        forward_token(token, at, w, cache, model, FUSED, trace)
        for name, x in trace.items():
            found.setdefault(name, []).append(np.vectorize(lambda value: value.data)(x))
    return {name: in_shape(name, rows, model) for name, rows in found.items()}


def in_shape(name, rows, model):
    """T rows (C) -> (1, T, C), or (1, T, H, D) of heads; T rows (H, t + 1) -> (1, H, T, T)."""
    if name.endswith(("scores", "pattern")):
        beyond = -np.inf if name.endswith("scores") else 0.0
        square = np.full((1, model.n_head, len(rows), len(rows)), beyond)
        for t, row in enumerate(rows):
            square[0, :, t, : t + 1] = row
        return square
    of_heads = name.endswith(tuple("qkvz")) or "attn.q_norm" in name or "attn.k_norm" in name
    heads = (-1, model.head_size) if of_heads else (-1,)
    return np.reshape(rows, (1, len(rows), *heads))


@pytest.mark.parametrize("qk_norm", [False, True])
@pytest.mark.parametrize("position", ["learned", "rope"])
@pytest.mark.parametrize("preset", ["microgpt", "zeroclaw"])
def test_every_intermediate_is_that_of_the_scalar_engine(preset, position, qk_norm):
    model, parameters = fresh(preset, n_embd=12, n_head=2, block_size=5, position=position, qk_norm=qk_norm)
    assert_traces_agree(model, parameters)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_intermediate_of_an_architecture(architecture):
    model, parameters = fresh(**{"preset": "microgpt", **ARCHITECTURES[architecture]})
    assert_traces_agree(model, vary_constants(parameters, model, 1))


def assert_traces_agree(model, parameters):
    ids = random_sequences(3, 1, 4)[0]
    found, expected = trace(parameters, model, ids), scalar_trace(model, parameters, ids)
    assert found.keys() - expected.keys() == {name for name in found if name.endswith("hook_scale")}
    for name, x in expected.items():
        np.testing.assert_allclose(found[name], x, atol=1e-13, err_msg=name)
    maps = np.stack([expected[f"blocks.{i}.attn.hook_pattern"][0] for i in range(2)])
    np.testing.assert_allclose(attention(parameters, model, ids), maps, atol=1e-14)


def test_the_final_norm_is_between_the_residual_stream_and_the_head():
    model, parameters = fresh("gpt2")
    parameters = vary_constants(parameters, model, 1)
    ids = [5, 0, 1, 2]
    x, found = residual_stream(parameters, model, ids)[-1], trace(parameters, model, ids)
    centered = x - x.mean(axis=1, keepdims=True)
    scale = np.sqrt((centered**2).mean(axis=1, keepdims=True) + model.norm_eps)
    np.testing.assert_allclose(found["ln_final.hook_scale"][0], scale)
    normalized = centered / scale * parameters["ln_f_gain"] + parameters["ln_f_bias"]
    np.testing.assert_allclose(found["ln_final.hook_normalized"][0], normalized)
    np.testing.assert_allclose(found["logits"][0], normalized @ parameters["wte"].T)


def test_rows_sum_to_one_and_nothing_looks_ahead():
    model, parameters = fresh()
    ids = [0, 3, 5, 1, 1, 2]
    maps = attention(parameters, model, ids)
    np.testing.assert_allclose(maps.sum(axis=-1), 1.0, rtol=1e-14)
    assert (maps >= 0).all()
    assert not maps[..., *np.triu_indices(6, k=1)].any()
    shorter = attention(parameters, model, ids[:4])
    np.testing.assert_allclose(maps[..., :4, :4], shorter, atol=1e-15)


def test_the_residual_stream_ends_in_the_logits():
    model, parameters = fresh()
    ids = [5, 0, 1, 2]
    stream = residual_stream(parameters, model, ids)
    assert stream.shape == (3, 4, 8)
    _, train = model_and_training(small_settings(), 6)
    engine = ArrayEngine(model, train)
    engine.load(parameters)
    decoder = engine.decoder(1)
    logits = [decoder.feed([token])[0] for token in ids]
    np.testing.assert_allclose(stream[-1] @ parameters["lm_head"].T, logits, atol=1e-13)
    embedded = parameters["wte"][ids] + parameters["wpe"][:4]
    cosine = (
        (stream[0] * embedded).sum(1) / np.linalg.norm(stream[0], axis=1) / np.linalg.norm(embedded, axis=1)
    )
    np.testing.assert_allclose(cosine, 1.0)


def test_any_engines_parameters_can_be_inspected():
    model, train = model_and_training(small_settings(), 6)
    expected = attention(fresh_engine("array", model, train).export().parameters, model, [5, 1, 2])
    for name in ENGINES_HERE:
        parameters = fresh_engine(name, model, train).export().parameters
        np.testing.assert_allclose(attention(parameters, model, [5, 1, 2]), expected, atol=1e-14)


@pytest.mark.parametrize("ids", [[], [0] * 7, [6], [-1]])
def test_ids_that_the_model_cannot_read(ids):
    model, parameters = fresh()
    with pytest.raises(ValueError, match="inspection: expected"):
        attention(parameters, model, ids)
    with pytest.raises(ValueError, match="missing"):
        attention({}, model, [0])


def test_what_the_model_reads_of_a_text():
    tokenizer = CharacterTokenizer("abc", "bos_eos")
    assert ids_of("cab", tokenizer, 4) == [0, 4, 2, 3]
    for text, error, said in (
        ("", DataError, "got none"),
        ("abca", DataError, "at most 3 characters"),
        ("ax", PrefixError, "'x'"),
    ):
        with pytest.raises(error, match=said):
            ids_of(text, tokenizer, 4)


def test_the_principal_plane_is_that_of_the_covariance():
    vectors = np.random.default_rng(1).normal(size=(9, 5)) * [3, 1, 0.5, 2, 0.1]
    plane = principal_plane(vectors)
    values = np.linalg.eigvalsh(np.cov(vectors.T))[::-1]
    np.testing.assert_allclose(plane.points.var(axis=0, ddof=1), values[:2])
    np.testing.assert_allclose(plane.shares, values[:2] / values.sum())
    np.testing.assert_allclose(plane.points.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(principal_plane(vectors[:2]).points[0]) * 2,
                               np.linalg.norm(vectors[0] - vectors[1]))  # fmt: skip
    rotated = principal_plane(vectors @ np.linalg.qr(np.random.default_rng(2).normal(size=(5, 5)))[0])
    np.testing.assert_allclose(rotated.points, plane.points)


@pytest.mark.parametrize("shape", [(1, 4), (3, 1), (2, 2)])
def test_awkward_sizes(shape):
    vectors = np.ones(shape)
    plane = principal_plane(vectors)
    assert not plane.points.any()
    assert not plane.shares.any()
    np.testing.assert_allclose(cosines(vectors), 1.0)


def test_cosines():
    np.testing.assert_allclose(
        cosines(np.array([[1.0, 0], [0, 2], [-3, 0], [0, 0]])),
        [[1, 0, -1, 0], [0, 1, 0, 0], [-1, 0, 1, 0], [0, 0, 0, 0]],
    )
