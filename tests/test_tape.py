"""The tape of the array engine: fan-out, parameters, new operations, and the memory it holds."""

import gc
import weakref
from typing import NamedTuple

import numpy as np
import pytest

from motegpt.engines.array import ops
from motegpt.engines.array.model import forward, trace_of
from motegpt.engines.array.tape import Tape, apply
from tests.conftest import small_engine, small_settings
from tests.test_ops import numeric_gradient


class LayerNormSaved(NamedTuple):
    normalized: np.ndarray
    r: np.ndarray
    gain: np.ndarray


def layernorm(x, gain, bias, eps):
    """y = normalized · gain + bias with normalized = (x - mean x) · r, r = (var x + eps)^-½"""
    r = (x.var(axis=-1, keepdims=True) + eps) ** -0.5
    normalized = (x - x.mean(axis=-1, keepdims=True)) * r
    return normalized * gain + bias, LayerNormSaved(normalized, r, gain)


def layernorm_backward(dy, saved):
    normalized, r, gain = saved
    d = dy * gain
    along = (d * normalized).mean(axis=-1, keepdims=True)
    dx = (d - d.mean(axis=-1, keepdims=True) - normalized * along) * r
    return dx, (dy * normalized).sum(axis=0), dy.sum(axis=0)


@pytest.fixture
def numbers():
    return np.random.default_rng(5).standard_normal


def dot(x, dy):
    """Σ x · dy, a root of what comes before it."""
    return (x * dy).sum(), dy


RULES = {**ops.BACKWARD, layernorm: layernorm_backward, dot: lambda dloss, dy: dloss * dy}


def check(function, parameters, dy):
    """What the tape accumulates for each parameter is what central differences find."""
    dws = [np.ones_like(w) for w in parameters]  # added to, not written over
    tape = Tape(RULES, zip(parameters, dws, strict=True))
    tape.backward(tape.apply(dot, function(tape.apply, *parameters), dy))
    for i, (w, dw) in enumerate(zip(parameters, dws, strict=True)):

        def moved(x, i=i):
            return function(apply, *parameters[:i], x, *parameters[i + 1 :])

        np.testing.assert_allclose(dw - 1.0, numeric_gradient(moved, w, dy), atol=1e-6)


def test_an_operation_with_parameters_of_its_own(numbers):
    check(lambda apply, *w: apply(layernorm, *w, 1e-5), [numbers((3, 5)), numbers(5), numbers(5)],
          numbers((3, 5)))  # fmt: skip


def test_gradients_add_up_where_a_result_is_used_more_than_once(numbers):
    def function(apply, x, w):
        h = apply(ops.rmsnorm, apply(ops.linear, x, w), 1e-5)
        once = apply(ops.add, h, apply(ops.linear, h, w))  # w too is used more than once
        return apply(ops.add, apply(ops.add, once, once), h)

    check(function, [numbers((3, 5)), numbers((5, 5))], numbers((3, 5)))


def test_ids_that_are_used_again_mix_nothing_up(numbers):
    """Sums of one size, each freed before the one after the next is made, share few ids."""
    ids = []

    def function(apply, x, w):
        for _ in range(8):
            y = apply(ops.add, x, w)
            x = apply(ops.add, y, x)
            ids.append(id(y))
        return x

    x, w = numbers((3, 3)), numbers((3, 3))
    function(Tape(ops.BACKWARD, []).apply, x, w)
    assert len(set(ids)) < len(ids) / 2
    check(function, [x, w], numbers((3, 3)))


def test_nothing_is_kept_without_a_tape_and_little_with_one(numbers):
    """Of a product that is added, only the sum goes on; of what is activated, the input is needed."""
    x, w = numbers((3, 3)), numbers((3, 3))
    tape = Tape(ops.BACKWARD, [])
    for run, kept in ((apply, [False, False]), (tape.apply, [False, True])):
        product = run(ops.linear, x, w)
        added = run(ops.add, product, x)
        activated = run(ops.relu, added)
        alive = [weakref.ref(product), weakref.ref(added)]
        del product, added
        assert [one() is not None for one in alive] == kept
    tape.backward(run(ops.linear, activated, w))
    gc.collect()
    assert not any(one() is not None for one in alive), "the way back frees what was saved"


@pytest.mark.parametrize(
    ("preset", "changes"),
    [
        ("microgpt", {}),
        ("zeroclaw", {}),
        ("oxidized", {}),
        ("microgpt", {"position": "rope", "qk_norm": True}),
        ("gpt2", {}),
        ("llama", {"n_kv_head": 1, "qk_norm": True}),
        ("microgpt", {"norm": "none", "position": "none", "n_hidden": 3}),
    ],
    ids=str,
)
def test_the_trace_has_the_documented_names_and_shapes(preset, changes):
    engine = small_engine("array", small_settings(preset, n_layer=2, **changes))
    model, ids = engine.model, np.array([[0, 1, 2, 3], [3, 3, 0, 0], [5, 4, 3, 2]])
    w = engine.export().parameters
    trace = trace_of(w, ids, model)
    b, t, c, h, k, d = 3, 4, model.n_embd, model.n_head, model.kv_heads, model.head_size
    expected = {"hook_embed": (b, t, c), "logits": (b, t, model.vocab_size)}
    if model.position == "learned":
        expected["hook_pos_embed"] = (b, t, c)
    norms = ["embed.ln"] * model.embedding_norm + ["ln_final"] * model.final_norm
    for i in range(2):
        at = f"blocks.{i}"
        norms += [f"{at}.ln1", f"{at}.ln2"] if model.norm != "none" else []
        for name in ("resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post"):
            expected[f"{at}.hook_{name}"] = (b, t, c)
        expected |= {f"{at}.attn.hook_{name}": (b, t, h, d) for name in "qz"}
        expected |= {f"{at}.attn.hook_{name}": (b, t, k, d) for name in "kv"}
        expected |= {f"{at}.attn.hook_{name}": (b, h, t, t) for name in ("attn_scores", "pattern")}
        for x, heads in (("q", h), ("k", k)):
            if model.position == "rope":
                expected[f"{at}.attn.hook_rot_{x}"] = (b, t, heads, d)
            if model.qk_norm:
                expected[f"{at}.attn.{x}_norm.hook_scale"] = (b, t, heads, 1)
                expected[f"{at}.attn.{x}_norm.hook_normalized"] = (b, t, heads, d)
        for name in ("pre", "post", *["pre_linear"] * model.gated):
            expected[f"{at}.mlp.hook_{name}"] = (b, t, model.mlp_size)
    for norm in norms:
        expected |= {f"{norm}.hook_scale": (b, t, 1), f"{norm}.hook_normalized": (b, t, c)}
    assert {name: x.shape for name, x in trace.items()} == expected
    np.testing.assert_array_equal(forward(w, ids, model), trace["logits"].reshape(b * t, -1))
    for i in range(2):
        x, a = (trace[f"blocks.{i}.hook_{name}"] for name in ("resid_pre", "attn_out"))
        np.testing.assert_allclose(trace[f"blocks.{i}.hook_resid_mid"], x + a)
        if model.norm == "rms":
            scale, h = (trace[f"blocks.{i}.ln1.hook_{name}"] for name in ("scale", "normalized"))
            np.testing.assert_allclose(h, x / scale)
