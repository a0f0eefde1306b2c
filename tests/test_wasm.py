"""The core as WebAssembly (src/motegpt/page/motegpt.wasm through js/core.js).

The suites test_parity and test_ngram_engines compare its training with that of other engines; here are
generation, generators, looking inside, memory and failures.
"""

import dataclasses
import json
import subprocess

import numpy as np
import pytest

from motegpt.config.presets import settings_of
from motegpt.config.sections import model_and_training
from motegpt.data.plan import DocumentPlan
from motegpt.data.reshuffle import epoch_orders
from motegpt.engines.array import model as network
from motegpt.engines.average import Averaged
from motegpt.evaluation.gradcheck import vary_constants
from motegpt.evaluation.inspect import trace
from motegpt.generation.filters import Filters
from motegpt.generation.request import Request
from motegpt.model.rng import GENERATORS, Stream, make_rng
from motegpt.model.schedule import learning_rate
from motegpt.model.spec import tensors
from motegpt.ngrams.average import Average
from motegpt.ngrams.kneser_ney import KneserNey
from motegpt.optim import OPTIMIZERS
from motegpt.optim.base import table_decay
from motegpt.sampling.generate import generate_by_token
from tests.conftest import VOCABULARY, random_sequences, small_engine, small_settings
from tests.page_node import JS, NODE, needs_node
from tests.test_ngram_engines import Problem
from tests.wasm import JavaScriptError, core, specification

pytestmark = needs_node

CLOSE = 1e-12  # absolute, of numbers around 1
MODELS = {
    "microgpt": small_settings("microgpt", n_layer=2),
    "oxidized": small_settings("oxidized", n_layer=2),
    "zeroclaw": small_settings("zeroclaw", n_layer=2),
    "RoPE and QK norm": small_settings(position="rope", qk_norm=True, n_layer=3, tied=True),
    "gpt2": small_settings("gpt2", n_layer=2),
    "llama": small_settings("llama", n_layer=2, n_head=4, n_kv_head=2),
    "no norm": small_settings(norm="none", bias=True, activation="gelu", position="none", n_kv_head=1),
    "a final norm alone": small_settings(norm="layer", norm_bias=True, final_norm=True, n_hidden=5),
}
IDS = [0, 3, 2, 5, 1]
EVERY_MODEL = pytest.mark.parametrize("model", MODELS)


def twins(chosen):
    """The two engines, with gains and biases that are not those that models begin with."""
    array, wasm = small_engine("array", chosen), small_engine("wasm", chosen)
    array.load(vary_constants(array.export().parameters, array.model, 1))
    wasm.load(array.export())
    return array, wasm


def close(got, expected):
    np.testing.assert_allclose(np.ravel(got), np.ravel(expected), rtol=0, atol=CLOSE)


def look(engine, mask=None, ids=IDS):
    return engine.remote.call("look", ids, mask or {})


def assert_trace(found, expected):
    """Everything that both have is equal; only the scales of norms, and QK norm, are not recorded."""
    missing = [name for name in expected if name not in found["activations"]]
    assert all(name == "logits" or "hook_scale" in name or "_norm.hook" in name for name in missing), missing
    for name, record in found["activations"].items():
        shape = [record[size] for size in ("heads", "rows", "columns") if size in record]
        flat = expected[name][0].reshape(expected[name].shape[1], -1)
        assert shape == list(expected[name].shape[1:] if "heads" in record else flat.shape)
        close(record["values"], expected[name])
    close(found["logits"], expected["logits"])


@EVERY_MODEL
def test_a_look_records_what_the_array_engine_computes(model):
    array, wasm = twins(MODELS[model])
    assert_trace(look(wasm), trace(array.export().parameters, array.model, IDS))
    assert_trace(look(wasm, ids=IDS[:1]), trace(array.export().parameters, array.model, IDS[:1]))


def test_a_look_at_an_ngram_embedding():
    problem = Problem()
    array, wasm = problem.engine("array"), problem.engine("wasm")
    ids = problem.sequences[0][:-1]
    found, expected = (
        look(wasm, ids=ids),
        trace(array.export().parameters, array.model, ids, problem.contexts),
    )
    assert np.abs(expected["hook_ngram_embed"]).max() > 0
    assert_trace(found, expected)


@EVERY_MODEL
def test_the_lens_applies_the_head_to_every_layer(model):
    array, wasm = twins(MODELS[model])
    w, found = array.export().parameters, look(wasm)
    expected = trace(w, array.model, IDS)
    residuals = [expected["blocks.0.hook_resid_pre"]]
    residuals += [expected[f"blocks.{i}.hook_resid_post"] for i in range(array.model.n_layer)]
    close(found["lens"], [head_of(w, array.model, x[0]) for x in residuals])
    close(found["lens"][-found["logits"].size :], found["logits"])


def head_of(w, model, x):
    """The final norm, if there is one, and the head, in NumPy.   x (T, C) -> (T, V)"""
    if model.final_norm:
        centered = x - x.mean(-1, keepdims=True) if model.norm == "layer" else x
        x = centered / np.sqrt((centered**2).mean(-1, keepdims=True) + model.norm_eps)
        x = x * w.get("ln_f_gain", 1) + w.get("ln_f_bias", 0)
    return x @ w["wte" if model.tied else "lm_head"].T


def masked_logits(engine, mask):
    """The logits under a mask, in NumPy: the layers once more, with the mask where it acts."""
    w, model = dict(engine.export().parameters), engine.model
    flat = np.concatenate([w[one.name].ravel() for one in tensors(model)])
    for i, value in mask.get("weights", []):
        flat[i] = value
    for one in tensors(model):
        w[one.name], flat = flat[: one.size].reshape(one.shape), flat[one.size :]
    x = network.trace_of(w, np.array([IDS]), model)["blocks.0.hook_resid_pre"][0]
    off = {(i, part) for i in mask.get("layers", []) for part in ("attn", "mlp")}
    off |= {tuple(part) for part in mask.get("parts", [])}
    t, heads, d = len(IDS), model.n_head, model.head_size

    def norm(x):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + model.norm_eps)

    for i in range(model.n_layer):
        q, k, v = ((norm(x) @ w[f"layer{i}.attn_w{n}"].T).reshape(t, heads, d).swapaxes(0, 1) for n in "qkv")
        scores = np.where(np.tri(t), q @ k.swapaxes(1, 2) / np.sqrt(d), -np.inf)
        p = np.exp(scores - scores.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        for layer, head, row, column in mask.get("cells", []):
            p[head, row, column] *= layer != i
        z = p @ v
        for layer, head in mask.get("heads", []):
            z[head] *= layer != i
        x = x + (z.swapaxes(0, 1).reshape(t, -1) @ w[f"layer{i}.attn_wo"].T) * ((i, "attn") not in off)
        u = np.maximum(norm(x) @ w[f"layer{i}.mlp_fc1"].T, 0)
        g = u**2 if model.activation == "squared_relu" else u
        x = x + (g @ w[f"layer{i}.mlp_fc2"].T) * ((i, "mlp") not in off)
    return x @ w["wte" if model.tied else "lm_head"].T


MASKS = {
    "none": {},
    "a head": {"heads": [[0, 1]]},
    "heads of two layers": {"heads": [[0, 0], [1, 1]]},
    "a layer": {"layers": [1]},
    "attention": {"parts": [[0, "attn"]]},
    "an MLP": {"parts": [[1, "mlp"]]},
    "cells": {"cells": [[0, 0, 3, 1], [1, 1, 4, 4]]},
    "weights": {"weights": [[3, 2.5], [70, -1.0]]},
    "all at once": {"heads": [[1, 0]], "cells": [[0, 1, 2, 0]], "parts": [[0, "mlp"]], "weights": [[5, 1.0]]},
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("model", ["microgpt", "oxidized", "zeroclaw"])
def test_a_mask_changes_what_it_says(model, mask):
    array, wasm = twins(MODELS[model])
    plain, found = look(wasm)["logits"], look(wasm, MASKS[mask])["logits"]
    close(found, masked_logits(array, MASKS[mask]))
    assert (np.abs(found - plain).max() > 1e-4) == (mask != "none")
    close(look(wasm)["logits"], plain)  # it was for one look alone


def rng_values(rng):
    """The same numbers of a generator of Python and of JavaScript."""
    uniforms, items = [rng.uniform() for _ in range(5)], list(range(20))
    rng.shuffle(items)
    gaussian = [rng.gauss(0.5, 0.02) for _ in range(7)]
    return uniforms, items, gaussian, [rng.categorical([0.1, 0.0, 2.0, 0.7]) for _ in range(20)]


def remote_values(rng):
    return (
        [rng.call("uniform") for _ in range(5)],
        rng.call("shuffle", 20).tolist(),
        rng.call("gauss", 0.5, 0.02, 7).tolist(),
        [rng.call("categorical", [0.1, 0.0, 2.0, 0.7]) for _ in range(20)],
    )


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize("seed", [0, 42, 2**32 + 5])
def test_generators_give_the_numbers_of_python(name, seed):
    ours, remote = make_rng(name, seed), core().call("random", name, seed)
    for _ in range(3):
        *expected, one = rng_values(ours)
        *got, other = remote_values(remote)
        assert one == other
        for values, same in zip(expected, got, strict=True):
            assert same == pytest.approx(values, rel=1e-15, abs=1e-16)  # the last bit of sin, cos and log
    state = remote.call("state")
    again = core().call("random", name, 1)
    again.call("restore", {**state, "words": np.array(state["words"], np.uint64)})
    assert remote_values(again) == remote_values(remote)
    with pytest.raises(JavaScriptError, match="restore: expected a state of this generator"):
        again.call("restore", {"words": [1, 2]})


def test_streams_and_epochs_are_those_of_python():
    for seed, i in ((0, 0), (42, 7), (2**63, 1)):
        assert core().call("stream", seed, i) == Stream.of(seed, i).number
    expected = epoch_orders(3, 5, 1, 100)[0]
    assert core().call("epochOrder", 3, 5, 100).tolist() == list(expected)


@pytest.mark.parametrize("schedule", ["linear", "linear_to_zero", "cosine", "constant"])
@pytest.mark.parametrize("optimizer", [{"adam": "corrected"}, {"adam": "folded"}, {"optimizer": "sgd"}])
def test_rates_and_scalars_are_those_of_python(schedule, optimizer):
    decays = {"weight_decay": 0.1, "ngram_weight_decay": 0.1, "warmup_steps": 7, "steps": 60}
    train = model_and_training(small_settings(schedule=schedule, **decays, **optimizer), VOCABULARY)[1]
    given = dataclasses.asdict(train)
    steps = range(3, 53)
    close(core().call("rates", given, 3, 50), [learning_rate(train, step) for step in steps])
    close(core().call("tableDecay", given, 3, 50), [table_decay(train, step) for step in steps])
    expected = np.asarray(OPTIMIZERS[train.optimizer].chunk(train, 3, 50), np.float64)
    np.testing.assert_allclose(core().call("scalars", given, 3, 50), expected.ravel(), rtol=1e-14)


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"n_layer": 2, "seed": 7}], ids=str)
def test_a_thousand_steps_of_the_preset(changes, names_txt):
    """From weights by the generator of the module, which may differ in their last bit."""
    chosen = {**settings_of("microgpt"), "dtype": "float64", **changes}
    names = names_txt.read_text().split()[:1000]
    plan = DocumentPlan([[26, *(ord(c) - 97 for c in name), 26] for name in names], 1, "documents")
    python, wasm = (small_engine(name, chosen, 27) for name in ("array", "wasm"))
    if chosen["rng"] == "python" and not chosen["zero_init"]:
        rng, std = core().call("random", "python", chosen["seed"]), chosen["init_std"]
        wasm.remote.call("load", rng.call("gauss", 0, std, sum(one.size for one in tensors(wasm.model))))
    close(wasm.train(plan, 0, 1000), python.train(plan, 0, 1000))


REQUESTS = (
    {}, {"temperature": 0.0}, {"top_k": 2, "top_p": 0.9}, {"repetition_penalty": 1.5}, {"min_p": 0.05},
)  # fmt: skip
LIMITS = ({}, {"min_new_tokens": 3}, {"n_prefix_tokens": 1, "stop": (1, 2)}, {"masked": frozenset({3})})


@pytest.mark.parametrize("filters", REQUESTS, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_texts_are_those_of_python(filters, dtype):
    chosen = small_settings(n_layer=2, dtype=dtype, init_std=1.0)
    python, wasm = small_engine("array", chosen), small_engine("wasm", chosen)
    average = Average(KneserNey.count(random_sequences(1, 30, 8), 3, VOCABULARY), 0.4)
    on = {name: value for name, value in filters.items() if name != "temperature"}
    for limits in LIMITS:
        request = Request((5, 2), 15, 5, Filters(filters.get("temperature", 1.0), on), **limits)
        expected = generate_by_token(python, request, [Stream.of(5, i) for i in range(70)])
        assert wasm.generate(request, [Stream.of(5, i) for i in range(70)]) == expected
    expected = generate_by_token(Averaged(python, average), request, [Stream.of(5, i) for i in range(70)])
    assert wasm.generate(request, [Stream.of(5, i) for i in range(70)], average) == expected


def test_memory_does_not_grow_with_the_number_of_calls():
    wasm = small_engine("wasm", small_settings(dtype="float32", n_layer=2))
    plan = DocumentPlan(random_sequences(5, 8, 6), 2, "documents")
    request = Request((0,), 6, 5, Filters(1.0, {}))

    def use(start):
        for chunk in range(10):
            wasm.train(plan, start + chunk * 100, 100)
            look(wasm, MASKS["all at once"])
            wasm.generate(request, [Stream.of(5, i) for i in range(70)])
        return core().call("bytes")

    after_1000 = use(0)
    assert [use(1000 * n) for n in range(1, 10)] == [after_1000] * 9


def model_of(**changes):
    engine = small_engine("array", small_settings())
    given = specification(engine.model)
    return core().call("model", {**given, **changes}, {"dtype": "float32", "optimizer": "adam"})


def test_refusals_are_sentences_and_harm_nothing():
    shape = specification(small_engine("array", small_settings()).model)["shape"]
    for change, message in (
        ({"n_embd": 9}, "expected n_embd to be a multiple of n_head"),
        ({"activation": "elu"}, "`activation`: expected relu or squared_relu or gelu or .*, got elu"),
        ({"n_kv_head": 3}, "expected n_head to be a multiple of n_kv_head"),
        ({"norm_eps": None}, "expected norm_eps above 0"),
        ({"n_layer": 2}, "expected a tensor layer1"),
    ):
        with pytest.raises(JavaScriptError, match=message):
            model_of(shape={**shape, **change})
    with pytest.raises(JavaScriptError, match="`rng`: expected python or lcg"):
        core().call("random", "java", 1)
    wasm = small_engine("wasm", small_settings())
    for ids, mask, message in (
        ([], {}, "look: expected 1 … block_size = 6 tokens, got 0"),
        ([9], {}, "look: expected token ids in 0 … vocab_size - 1 = 5, got 9"),
        ([1], {"heads": [[0, 2]]}, r"look: `heads`: expected \[layer, head\], got \[0,2\]"),
        ([1], {"cells": [[0, 0, 1, 2]]}, "u in 0 … t"),
        ([1], {"nothing": []}, "expected a mask of heads, layers, parts, cells, weights, got nothing"),
    ):
        with pytest.raises(JavaScriptError, match=message):
            look(wasm, mask, ids)
    batch = {"tokens": np.array([0, 1], np.int32), "offsets": np.array([0, 2], np.int32)}
    with pytest.raises(JavaScriptError, match="train: expected 8 scalars, got 3"):
        wasm.remote.call("train", {**batch, "weights": np.ones(1)}, 1, 1, np.ones(3), {})
    with pytest.raises(JavaScriptError, match="train: expected finite weights, got NaN"):
        wasm.remote.call("train", {**batch, "weights": np.array([np.nan])}, 1, 1, np.ones(8), {})
    assert np.isfinite(look(wasm)["logits"]).all()


def test_out_of_memory_is_a_sentence_and_the_core_goes_on():
    """Beyond 2 GiB. The interrupted model refuses further calls, and another is made as before."""
    wasm = small_engine("wasm", small_settings(dtype="float32"))
    decoder_of_many = 50_000_000
    with pytest.raises(JavaScriptError, match="out of memory; try a smaller model or batch"):
        wasm.remote.call("decoder", decoder_of_many)
    with pytest.raises(JavaScriptError, match=r"got one that failed \(out of memory.*make a new one"):
        look(wasm)
    assert np.isfinite(look(small_engine("wasm", small_settings()))["logits"]).all()


def test_without_vectors_the_browser_is_named():
    """Bytes that do not compile, as those with vectors do not in an old browser."""
    script = f"""
        import {{ loadCore }} from {json.dumps(str(JS / "core.js"))};
        loadCore(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, 9])).catch((e) => console.log(e.message));
    """
    ended = subprocess.run([NODE, "--input-type=module", "-e", script], capture_output=True, text=True)
    assert ended.stdout.startswith("core: expected a browser with WebAssembly SIMD: Chrome 91")
