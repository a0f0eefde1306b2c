"""What only the native engine promises: levels, threads, recomputation, safety at its border, memory."""

import os
import subprocess
import sys
import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from motegpt.data.batches import Batch
from motegpt.data.plan import DocumentPlan
from motegpt.engines import why_unavailable
from motegpt.evaluation.gradcheck import vary_constants
from motegpt.generation.filters import Filters
from motegpt.generation.request import Request
from motegpt.model import spec
from motegpt.model.rng import Stream
from motegpt.model.spec import tensors
from motegpt.optim.adam import AdamScalars
from motegpt.sampling.generate import generate_by_token
from tests.conftest import random_batch, random_sequences, small_engine, small_settings
from tests.tolerances import GRADIENT, LOSSES, relative_error

pytestmark = pytest.mark.skipif(
    why_unavailable("native") is not None, reason="the core was not built: no compiler was found"
)

MEMORY_IS_OURS = sys.platform == "linux" and "asan" not in os.environ.get("LD_PRELOAD", "")
AWKWARD = [1, 7, 15, 16, 17, 31, 33, 65]


@pytest.fixture(scope="module")
def core():
    from motegpt.engines.native import _core

    return _core


def level_names():
    if why_unavailable("native"):
        return []
    from motegpt.engines.native import _core

    return _core.levels()


def native(settings, level=None, **changes):
    """A native engine at one processor level."""
    from motegpt.engines.native.engine import NativeEngine

    like = small_engine("array", settings)
    engine = NativeEngine(like.model, like.settings.replace(level=level, **changes))
    engine.load(like.export())
    return engine


ARCHITECTURES = [
    {"norm": "layer", "norm_gain": True, "norm_bias": True, "bias": True, "activation": "gelu_tanh",
     "final_norm": True},
    {"norm_gain": True, "activation": "swiglu", "n_kv_head": 2, "position": "rope", "final_norm": True,
     "n_hidden": 23},
    {"norm": "none", "bias": True, "activation": "gelu", "n_kv_head": 1, "position": "none", "qk_norm": True,
     "n_hidden": 5},
    {"norm": "layer", "norm_bias": True, "activation": "swiglu", "bias": True, "n_hidden": 64},
]  # fmt: skip


@pytest.mark.parametrize("level", level_names())
@pytest.mark.parametrize("width", [8, 24, 64])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("change", ARCHITECTURES, ids=str)
def test_every_level_agrees_on_every_architecture(level, width, dtype, change):
    """Gradients and decoded logits; of the heads of 2, 6 and 16 channels some share keys."""
    chosen = small_settings(n_embd=width, n_head=4, n_layer=2, block_size=6, **change)
    batch = random_batch(width, count=4)
    array = small_engine("array", chosen)
    array.load(vary_constants(array.export().parameters, array.model, 1))
    engine = native({**chosen, "dtype": dtype}, level)
    engine.load(array.export())
    expected, got = array.gradients(batch)[1], engine.gradients(batch)[1]
    largest = max(np.abs(gradient).max() for gradient in expected.values())
    for parameter, gradient in expected.items():
        assert np.abs(got[parameter] - gradient).max() <= GRADIENT[dtype] * largest, parameter
    row = [1, 2, 3, 0]
    (logits,) = array.logits(Batch.of([[*row, 0]], "documents"))
    decoder = engine.decoder(1)
    for at, token in enumerate(row):
        error = np.abs(decoder.feed([token])[0] - logits[at]).max()
        assert error <= 5 * GRADIENT[dtype] * np.abs(logits).max()


@pytest.mark.parametrize("level", level_names())
@pytest.mark.parametrize("width", AWKWARD)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_level_agrees_at_awkward_widths(level, width, dtype):
    chosen = small_settings(n_embd=width, n_head=1, n_layer=2)
    batch = random_batch(width, count=4)
    expected_loss, expected = small_engine("array", chosen).gradients(batch)
    loss, got = native({**chosen, "dtype": dtype}, level).gradients(batch)
    assert loss == pytest.approx(expected_loss, rel=1e-5 if dtype == "float32" else 1e-12)
    largest = max(np.abs(gradient).max() for gradient in expected.values())
    for parameter, gradient in expected.items():
        assert np.abs(got[parameter] - gradient).max() <= GRADIENT[dtype] * largest, parameter


@pytest.mark.parametrize("level", level_names())
def test_every_level_trains_and_draws_alike(level):
    chosen = small_settings(n_embd=24, n_head=3)
    plan = DocumentPlan(random_sequences(2, 9, 6), 2, "documents")
    expected = small_engine("array", chosen).train(plan, 0, 30)
    engine = native(chosen, level)
    assert engine.train(plan, 0, 30) == pytest.approx(expected, abs=LOSSES["float64"])
    rngs = [Stream.of(5, i) for i in range(70)]
    request = Request((0, 1), 5, 5, Filters(temperature=0.8))
    drawn = engine.generate(request, rngs)
    again = [Stream.of(5, i) for i in range(70)]
    assert drawn == generate_by_token(small_like(engine), request, again)
    assert [rng.number for rng in rngs] == [rng.number for rng in again]


def small_like(engine):
    """An array engine with the parameters of another."""
    from motegpt.engines.array.engine import ArrayEngine

    array = ArrayEngine(engine.model, engine.settings)
    array.load(engine.export().parameters)
    return array


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("n", [1, 2, 63, 64, 65, 200])
def test_whole_texts_are_those_drawn_token_by_token(dtype, temperature, n):
    engine = native(small_settings(dtype=dtype, n_layer=2))
    request = Request((3,), 6, 5, Filters(temperature))
    drawn = engine.generate(request, [Stream.of(1, i) for i in range(n)])
    assert drawn == generate_by_token(engine, request, [Stream.of(1, i) for i in range(n)])


def test_one_token_after_a_prompt_that_fills_the_block():
    engine = native(small_settings(block_size=3))
    rngs = [Stream.of(1, i) for i in range(20)]
    request = Request((0, 1, 2), 1, 5, Filters(1.0))
    assert {len(ids) for ids in engine.generate(request, rngs)} <= {0, 1}


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("shape", [{}, {"n_embd": 64, "n_head": 4, "batch_size": 7, "n_layer": 2}], ids=str)
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_the_same_thread_count_gives_the_same_bits(threads, shape, dropout):
    chosen = small_settings(
        **{"batch_size": 3, "block_size": 40, "dtype": "float32", "dropout": dropout, **shape}
    )
    plan = DocumentPlan(random_sequences(2, 9, 40), chosen["batch_size"], "documents")
    once, again, other = (native(chosen, threads=count) for count in (threads, threads, 1))
    losses = once.train(plan, 0, 12)
    assert losses == again.train(plan, 0, 5) + again.train(plan, 5, 7)
    assert losses == pytest.approx(other.train(plan, 0, 12), abs=1e-3)
    for one, two in zip(once.export().parameters.values(), again.export().parameters.values(), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("step", [None, 4])
@pytest.mark.parametrize("change", [{}, *ARCHITECTURES], ids=str)
def test_checkpointed_activations_change_no_bit(dtype, threads, step, change):
    """With and without dropout."""
    chosen = small_settings(
        n_layer=5, n_embd=32, n_head=4, block_size=40, batch_size=3, dtype=dtype, dropout=0.2, **change
    )
    batch = Batch.of(random_sequences(4, 3, 40), "documents")
    (loss, kept), (same_loss, recomputed) = (
        native(chosen, threads=threads, checkpoint_activations=again).gradients(batch, step)
        for again in (False, True)
    )
    assert loss == same_loss
    for parameter in kept:
        np.testing.assert_array_equal(kept[parameter], recomputed[parameter])


MEASURE = """
import sys
from motegpt.bench.measure import resident_bytes
from motegpt.data.plan import DocumentPlan
from tests.conftest import random_sequences, small_engine, small_settings
import numpy as np
def grown(**changes):
    chosen = small_settings(**{"dtype": "float32", **changes})
    plan = DocumentPlan(random_sequences(1, 8, chosen["block_size"]), chosen["batch_size"], "documents")
    before = resident_bytes()
    engine = small_engine("native", chosen)
    engine.train(plan, 0, 2)
    return resident_bytes() - before
"""


def measured(program: str) -> list[int]:
    """The numbers a program prints."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE + program], capture_output=True, text=True, check=True
    )
    return [int(word) for word in done.stdout.split()]


@pytest.mark.slow
@pytest.mark.skipif(not MEMORY_IS_OURS, reason="needs /proc, and memory that no sanitizer pads")
def test_a_microgpt_training_adds_less_than_5_mb():
    (added,) = measured("print(grown(n_embd=16, n_head=4, block_size=16))")
    assert added < 5_000_000


@pytest.mark.slow
@pytest.mark.skipif(not MEMORY_IS_OURS, reason="needs /proc, and memory that no sanitizer pads")
def test_checkpointed_activations_grow_by_the_inputs_of_layers_alone():
    """From 4 to 24 layers; parameters, slots and gradients grow either way and are taken off."""
    shape = "n_embd=32, n_head=2, block_size=256, batch_size=8, threads=1"
    (kept, recomputed) = measured(
        f"print(grown({shape}, n_layer=24) - grown({shape}, n_layer=4))"
        f"\nprint(grown({shape}, n_layer=24, checkpoint_activations=True)"
        f" - grown({shape}, n_layer=4, checkpoint_activations=True))"
    )
    inputs = 20 * 8 * 256 * 32 * 4
    assert recomputed < kept / 3
    assert recomputed < 4 * inputs


@pytest.mark.slow
@pytest.mark.skipif(not MEMORY_IS_OURS, reason="needs /proc, and memory that no sanitizer pads")
def test_two_million_steps_do_not_grow():
    """By a quarter of a byte per step."""
    program = """
chosen = small_settings(dtype="float32", n_embd=4, n_head=1, block_size=2, steps=2_000_000, n_layer=1)
plan = DocumentPlan(random_sequences(1, 8, 2), 1, "documents")
engine = small_engine("native", chosen)
for start in range(0, 2_000_000, 20_000):
    losses = engine.train(plan, start, 20_000)
    if start == 200_000:
        before = resident_bytes()
assert np.isfinite(losses).all()
print(resident_bytes() - before)
"""
    (grown,) = measured(program)
    assert grown < 450_000


def test_two_threads_of_a_process_train_at_the_same_time():
    chosen = small_settings(n_embd=32, n_head=2, batch_size=4, dtype="float32")
    plan = DocumentPlan(random_sequences(2, 9, 6), 4, "documents")
    alone = native(chosen).train(plan, 0, 3000)
    results = {}

    def work(name):
        results[name] = native(chosen).train(plan, 0, 3000)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(results.values()) == [alone] * 3


def test_one_model_is_used_by_one_thread_at_a_time():
    chosen = small_settings(n_embd=64, n_head=2, batch_size=8, block_size=30)
    engine, plan = native(chosen), DocumentPlan(random_sequences(2, 9, 30), 8, "documents")
    seen = []

    def intrude():
        while thread.is_alive():
            try:
                engine.export()
            except RuntimeError as error:
                seen.append(str(error))

    thread = threading.Thread(target=engine.train, args=(plan, 0, 300))
    thread.start()
    intrude()
    thread.join()
    assert seen
    assert "in use by another thread" in seen[0]


SHAPE = {
    "vocab_size": 5, "block_size": 4, "n_layer": 1, "n_embd": 8, "n_head": 2, "tied": False,
    "embedding_norm": True, "activation": "relu", "norm": "rms", "norm_eps": 1e-5, "init_std": 0.1,
    "zero_init": False, "ngram_rows": (), "position": "learned", "rope_base": 100.0, "qk_norm": False,
    "bias": False, "norm_gain": False, "norm_bias": False, "final_norm": False, "scaled_init": False,
    "kv_heads": 2, "kv_size": 8, "mlp_size": 32, "gated": False,
}  # fmt: skip
SIZE = (5 + 4 + 5) * 8 + 12 * 64
TOKENS = np.array([0, 1, 2, 3, 4], np.int32)


def flat(**changes):
    return np.zeros(**{"shape": SIZE, "dtype": np.float64, **changes})


def slots(**changes):
    return flat(shape=(2, SIZE), **changes)


def specification(core, change=lambda listed: listed, **changes):
    """What is asked of the core, unchecked by any settings; change: of the list of tensors."""
    model = SimpleNamespace(**{**SHAPE, **changes})
    return core.Specification(model, change(list(tensors(model))))


def small_core(core, **changes):
    given = {"dtype": "float64", "optimizer": "adam", "scalars": AdamScalars._fields, **changes}
    return core.Model(specification(core), **given)


def small_decoder(core, n=2):
    return core.Decoder(specification(core), flat(), n, dtype="float64")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"n_embd": 0}, "n_embd of at least 1"),
        ({"n_layer": -1}, "n_layer of at least 1"),
        ({"n_head": 3}, "multiple of n_head"),
        ({"kv_heads": 3}, "multiple of n_kv_head"),
        ({"kv_heads": 0}, "n_kv_head of at least 1"),
        ({"mlp_size": 0}, "n_hidden of at least 1"),
        ({"activation": "elu"}, "activation"),
        ({"norm_eps": float("nan")}, "norm_eps"),
        ({"n_embd": 6, "position": "rope"}, "even n_embd / n_head"),
        ({"rope_base": 1.0, "position": "rope"}, "rope_base above 1"),
        ({"n_embd": 2**20}, "at most 2147483647 parameters"),
    ],
    ids=str,
)
def test_no_such_model(core, monkeypatch, change, said):
    monkeypatch.setattr(spec, "LARGEST_MODEL", 2**62)  # what the core itself checks
    with pytest.raises(ValueError, match=said):
        specification(core, **change)


def test_a_model_without_a_setting_raises(core):
    model = SimpleNamespace(vocab_size=5)
    with pytest.raises(AttributeError, match="block_size"):
        core.Specification(model, [])


@pytest.mark.parametrize("change", [{"activation": "elu"}, {"norm": "batch"}, {"position": "alibi"}], ids=str)
def test_no_such_choice(core, change):
    model = SimpleNamespace(**{**SHAPE, **change})
    (name,) = change
    with pytest.raises(ValueError, match=f"expected {name} .*, got {change[name]}"):
        core.Specification(model, [])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dtype": "float16"}, "dtype"),
        ({"level": "mmx"}, "level"),
        ({"threads": -1}, "threads"),
        ({"scalars": AdamScalars._fields[1:]}, "the scalars beta1, one_minus_beta1"),
        ({"scalars": ("momentum", *AdamScalars._fields[1:])}, "the scalars beta1"),
        ({"scalars": ("eps", *AdamScalars._fields[1:])}, "the scalars beta1"),
    ],
)
def test_no_such_core(core, change, said):
    with pytest.raises(ValueError, match=said):
        small_core(core, **change)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda listed: listed[1:], "expected a tensor wte"),
        (lambda listed: listed[:-1], "expected a tensor layer0.mlp_fc2"),
        (lambda listed: [replace(listed[0], shape=(8, 5)), *listed[1:]], r"shape \(5, 8\), got \(8, 5\)"),
        (lambda listed: [replace(listed[0], shape=(40,)), *listed[1:]], r"shape \(5, 8\), got \(40\)"),
        (lambda listed: [replace(listed[0], shape=(2**62, 2**62)), *listed[1:]], "parameters"),
        (lambda listed: [replace(listed[0], shape=(-5, -8)), *listed[1:]], "sizes of at least 1"),
        (lambda listed: [*listed, replace(listed[0], name="gain")], "does not compute with gain; .*array"),
        (lambda listed: [*listed, listed[0]], "two tensors wte"),
        (lambda listed: [*listed[:-1], replace(listed[-1], products=0)], "mlp_fc2 to be a factor"),
        (lambda listed: [*listed[:2], replace(listed[2], products=0), *listed[3:]], "lm_head to be a factor"),
        (lambda listed: [*listed[:3], listed[4], listed[3], *listed[5:]], "attn_wk to follow layer0.attn_wq"),
    ],
)  # fmt: skip
def test_no_such_tensors(core, change, said):
    with pytest.raises(ValueError, match=said):
        specification(core, change)


@pytest.mark.parametrize("change", [{"n_layer": "1"}, {"n_layer": 2**40}, {"norm_eps": None}], ids=str)
def test_settings_of_another_type(core, change):
    with pytest.raises(TypeError, match=next(iter(change))):
        core.Specification(SimpleNamespace(**{**SHAPE, **change}), ())


@pytest.mark.parametrize(
    ("arrays", "error", "said"),
    [
        ((flat(shape=3), slots()), ValueError, "parameters: expected shape"),
        ((flat(), flat(shape=(1, SIZE))), ValueError, r"slots: expected shape \(2, "),
        ((flat(), slots(dtype=np.float32)), TypeError, "slots: expected dtype float64"),
        ((flat(shape=2 * SIZE)[::2], slots()), ValueError, "C-contiguous"),
        ((None, slots()), TypeError, "incompatible"),
        (([0.0] * SIZE, slots()), TypeError, "incompatible"),
    ],
    ids=range(6),
)
def test_wrong_parameters_raise(core, arrays, error, said):
    with pytest.raises(error, match=said):
        small_core(core).load(*arrays)


def steps(tokens=TOKENS, starts=((0, 3),), lengths=((3, 2),), weights=(0.5, 0.5, 0.5), scalars=1):
    return (
        tokens,
        np.array(starts, np.int64),
        np.array(lengths, np.int64),
        np.array(weights, np.float64),
        np.ones((scalars, 8)),
    )


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"starts": ((0, 4),)}, IndexError, "within the 5 tokens, got one of 2 from 4"),
        ({"starts": ((0, -1),)}, IndexError, "within the 5 tokens, got one of 2 from -1"),
        ({"starts": ((0, 2**62),)}, IndexError, "within the 5 tokens"),
        ({"tokens": TOKENS[:1]}, IndexError, "within the 1 tokens, got one of 3 from 0"),
        ({"starts": ((0,),)}, ValueError, "lengths: expected shape"),
        ({"lengths": ((2,),)}, ValueError, "lengths: expected shape"),
        ({"starts": (0, 3)}, ValueError, "starts: expected shape"),
        ({"weights": (0.5, 0.5)}, ValueError, r"weights: expected shape \(3\), got \(2\)"),
        ({"weights": (0.5,) * 4}, ValueError, r"weights: expected shape \(3\), got \(4\)"),
        ({"weights": 0.5}, ValueError, "weights: expected shape"),
        ({"weights": (0.5, np.nan, 0.5)}, ValueError, "expected finite weights, got nan"),
        ({"weights": (0.5, 0.5, -np.inf)}, ValueError, "expected finite weights, got -inf"),
        ({"starts": ((),), "lengths": ((),), "weights": ()}, ValueError, "at least one sequence"),
        ({"scalars": 2}, ValueError, "scalars"),
        ({"tokens": np.array([0, 1, 2, 3, 5], np.int32)}, ValueError, "token ids in 0 … .* = 4, got 5"),
        ({"tokens": np.array([0, 1, 2, 3, -1], np.int32)}, ValueError, "token ids in 0 … .* = 4, got -1"),
        ({"tokens": np.array([0, 1, 2, 3, 2**32 - 1], np.uint32)}, ValueError, "token ids"),
        ({"tokens": TOKENS.astype(np.int64)}, TypeError, "uint8, uint16, uint32 or int32"),
        ({"tokens": np.zeros((1, 5), np.int32)}, ValueError, "tokens: expected shape"),
        ({"lengths": ((3, 1),)}, ValueError, "2 … block_size"),
        ({"lengths": ((3, -1),)}, ValueError, "2 … block_size"),
        ({"tokens": np.zeros(9, np.int32), "lengths": ((3, 6),)}, ValueError, "2 … block_size"),
        ({"tokens": np.zeros(9, np.int32), "lengths": ((3, 2**62),)}, ValueError, "2 … block_size"),
    ],
    ids=str,
)
def test_wrong_steps_raise_and_do_not_crash(core, change, error, said):
    model = small_core(core)
    with pytest.raises(error, match=said):
        model.train(*steps(**change))
    assert model.train(*steps()).shape == (1,)


def test_scalars_are_matched_by_name(core):
    """Columns in another order are the same training."""
    values = AdamScalars(0.9, 0.1, 0.99, 0.01, 0.999, 0.02, 1.5, 1e-8)

    def trained(names):
        model = small_core(core, scalars=names)
        model.load(np.linspace(-1, 1, SIZE), slots())
        model.train(*steps()[:-1], np.array([[getattr(values, name) for name in names]]))
        return model.store()[0]

    assert np.array_equal(trained(AdamScalars._fields), trained(AdamScalars._fields[::-1]))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32"])
def test_tokens_may_be_narrow(core, dtype):
    def trained(tokens):
        model = small_core(core)
        model.load(np.linspace(-1, 1, SIZE), slots())
        return model.train(*steps(tokens))

    assert trained(TOKENS.astype(dtype)) == trained(TOKENS)


def test_wrong_feeding_raises(core):
    with pytest.raises(ValueError, match="at least 1 sequence"):
        small_decoder(core, 0)
    decoder = small_decoder(core)
    for ids, error in (
        (np.array([0, 5], np.int32), ValueError),
        (np.array([0, -1], np.int32), ValueError),
        (np.array([0], np.int32), ValueError),
        (np.array([0, 1], np.int64), TypeError),
    ):
        with pytest.raises(error):
            decoder.feed(ids)
    for sources, error in (
        (np.array([0, 2], np.int32), ValueError),
        (np.array([0, -1], np.int32), ValueError),
        (np.array([0], np.int32), ValueError),
        (np.array([0, 1], np.int64), TypeError),
    ):
        with pytest.raises(error, match="reorder"):
            decoder.reorder(sources)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"prompt": np.zeros(0, np.int32)}, "prompt"),
        ({"prompt": np.full(2, 5, np.int32)}, "token ids"),
        ({"stop": np.full(2, 5, np.int32)}, "token ids"),
        ({"end": 5}, "end"),
        ({"end": -2}, "end"),
        ({"temperature": float("nan")}, "temperature"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"min_new_tokens": 4}, "min_new_tokens"),
        ({"n_prefix_tokens": 2}, "n_prefix_tokens"),
        ({"masked": np.zeros(4, np.uint8)}, "masked"),
        ({"repetition_penalty": 0.0}, "repetition_penalty"),
        ({"top_k": -1}, "top_k"),
        ({"top_p": 0.0}, "top_p"),
        ({"min_p": 1.5}, "min_p"),
        ({"max_new_tokens": 2**50}, "smaller max_new_tokens"),
    ],
    ids=str,
)
def test_wrong_requests_raise(core, wrong, said):
    decoder = small_decoder(core)
    right = {"prompt": np.zeros(1, np.int32), "end": 4, "temperature": 1.0, "max_new_tokens": 3}
    states = np.zeros(2, np.uint64)
    assert len(decoder.generate(states=states, **right)[1]) == 2
    with pytest.raises(ValueError, match=said):
        decoder.generate(states=states, **{**right, **wrong})


def test_what_it_was_given_may_be_freed(core):
    given = list(steps(TOKENS.copy()))
    model = small_core(core)
    losses = model.train(*given)
    for array in given:
        array[...] = 99
    del given, array
    parameters, slots = model.store()
    del model
    assert np.isfinite(losses).all()
    assert np.isfinite([parameters.sum(), slots.sum()]).all()


def test_training_does_not_slow_down_on_vanished_gradients():
    """Adam's averages of a gradient that became zero end at zero, not among the slow subnormal numbers."""
    chosen = small_settings(dtype="float32", steps=10**6)
    engine = native(chosen)
    engine.train(DocumentPlan(random_sequences(1, 1, 2), 1, "documents"), 0, 6000)
    for slot in engine.export().slots.values():
        tiny = [np.abs(a[a != 0]).min() for a in slot.values() if (a != 0).any()]
        assert min(tiny) >= np.finfo(np.float32).tiny


def test_relative_error_sees_a_corrupted_value():
    assert relative_error([1.0, 2.0], [1.0, 2.1]) > 0.04


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_trains_too():
    """The threads of the parent do not exist in the child; it makes its own."""
    program = """
chosen = small_settings(n_embd=64, n_head=4, batch_size=8, block_size=40, dtype="float32", threads=2)
plan = DocumentPlan(random_sequences(2, 9, 40), 8, "documents")
engine = small_engine("native", chosen)
engine.train(plan, 0, 3)
child = __import__("os").fork()
losses = engine.train(plan, 3, 3)
if child == 0:
    __import__("os")._exit(int(not np.isfinite(losses).all()))
print(__import__("os").waitpid(child, 0)[1])
"""
    assert measured(program) == [0]
