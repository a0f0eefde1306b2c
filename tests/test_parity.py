"""Every engine against the scalar one, which is the definition; and what all of them promise."""

import random
import tracemalloc
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motegpt.config.fields import kinds
from motegpt.config.sections import ModelConfig
from motegpt.config.sections.model import NEED_A_NORM
from motegpt.data.batches import Batch, Chunk
from motegpt.data.plan import DocumentPlan, Plan
from motegpt.engines.array import model as network
from motegpt.engines.array import ops
from motegpt.engines.base import Snapshot
from motegpt.errors import SettingError
from motegpt.evaluation.gradcheck import H, finite_difference, vary_constants
from motegpt.model.dropout import masks_of
from motegpt.optim import OPTIMIZERS
from tests.conftest import (
    ARCHITECTURES,
    ENGINES_HERE,
    OF_OXIDIZED,
    VOCABULARY,
    WASM_HERE,
    random_batch,
    random_sequences,
    small_engine,
    small_settings,
)
from tests.tolerances import (
    DIFFERENCE,
    DIFFERENCE_CLOSE,
    GRADIENT,
    GRADIENT_FLOOR,
    LOGITS,
    LOSSES,
    PROBABILITY,
    relative_error,
)

EPSILON, NUDGES, DRAWS = (
    2.0**-52,
    8,
    16,
)  # of float64; roundings of each parameter that add up; how often tried
STEPS, CLOSE = (H, 1e-6, 1e-7), 1e-8  # of central differences
# Without norms, weights of 0.3 grow to scores of 9,000. Gradients of probabilities of 1e-9 then cancel in
# p · (dp - Σ p · dp): every engine but scalar, whose operations differ, is left with fewer digits.
WITHOUT_NORM = 0.1
MODEL = kinds(ModelConfig)
ENGINES_AND_WASM = [*ENGINES_HERE, *WASM_HERE]
OTHERS = [name for name in ENGINES_AND_WASM if name != "scalar"]


@st.composite
def problems(draw):
    """A random small model and a ragged batch for it."""
    n_head = draw(st.integers(1, 4))
    changes = {
        "n_layer": draw(st.integers(1, 3)),
        "n_head": n_head,
        "n_embd": n_head * draw(st.integers(1, 4)),
        "block_size": draw(st.integers(2, 6)),
        "tied": draw(st.booleans()),
        "n_kv_head": draw(st.sampled_from([None, *(n for n in range(1, n_head) if n_head % n == 0)])),
        "n_hidden": draw(st.sampled_from([None, 1, 5, 17])),
        "activation": draw(st.sampled_from(MODEL["activation"].choices)),
        "bias": draw(st.booleans()),
        "norm": (norm := draw(st.sampled_from(MODEL["norm"].choices))),
        **{name: norm != "none" and draw(st.booleans()) for name in NEED_A_NORM},
        "scaled_init": draw(st.booleans()),
        "embedding_norm": draw(st.booleans()),
        "position": draw(st.sampled_from(MODEL["position"].choices)),
        "rope_base": draw(st.sampled_from([1.5, 100.0, 10_000.0])),
        "qk_norm": draw(st.booleans()),
        "seed": draw(st.integers(0, 2**32)),
        "clip_node": draw(st.sampled_from([None, None, 10.0, 0.05, 0.002])),
        "loss_mean": draw(st.sampled_from(["documents", "tokens"])),
        "dropout": draw(st.sampled_from([0.0, 0.0, 0.1, 0.5, 0.9])),
    }
    if changes["clip_node"] is not None:
        changes |= OF_OXIDIZED
    if changes["position"] == "rope":
        changes["n_embd"] *= 2  # even heads
    if changes["norm"] == "none":
        changes["init_std"] = WITHOUT_NORM
    count = draw(st.integers(1, 5))
    return small_settings(**changes), random_batch(
        changes["seed"], count, changes["block_size"], changes["loss_mean"]
    )


def varied_engine(name, chosen):
    """An engine whose gains and biases are not those that it begins with."""
    engine = small_engine(name, chosen)
    engine.load(vary_constants(engine.export().parameters, engine.model, chosen["seed"]))
    return engine


@pytest.mark.parametrize("name", OTHERS)
@given(problem=problems())
@settings(max_examples=40, deadline=None)
def test_gradients_agree_with_the_scalar_engine(name, problem):
    assert_gradients_agree(name, *problem)


def assert_gradients_agree(name, chosen, batch):
    """Loss and gradients of a batch are the scalar engine's, to what rounding leaves; with dropout or not."""
    for step in (None, 3) if chosen["dropout"] else (None,):
        assert_gradients_of_step_agree(name, chosen, batch, step)


def assert_gradients_of_step_agree(name, chosen, batch, step):
    """The same with the masks of one step."""
    expected_loss, expected = varied_engine("scalar", chosen).gradients(batch, step)
    loss, got = varied_engine(name, chosen).gradients(batch, step)
    assert loss == pytest.approx(expected_loss, rel=1e-12)
    assert list(got) == list(expected)
    largest = max(np.abs(gradient).max() for gradient in expected.values())
    for parameter, gradient in expected.items():
        assert got[parameter].shape == gradient.shape
        scale = max(np.abs(gradient).max(), GRADIENT_FLOOR * largest)
        bound = GRADIENT["float64"] * scale + PROBABILITY
        error = np.abs(got[parameter] - gradient).max()
        assert error <= bound or error <= bound + rounding_left(chosen, batch, step, parameter), parameter


def rounding_left(chosen, batch, step, parameter):
    """What rounding may leave of a gradient: NUDGES times what the last bits of all parameters change in it.

    A norm of few channels that nearly cancel can amplify rounding a millionfold.
    """
    engine, chance = varied_engine("scalar", chosen), np.random.default_rng(0)
    _, gradients = engine.gradients(batch, step)
    values, changes = engine.export().parameters, []
    for _ in range(DRAWS):
        nudged = small_engine("scalar", chosen)
        nudged.load({name: w * (1 + EPSILON * chance.normal(size=w.shape)) for name, w in values.items()})
        _, others = nudged.gradients(batch, step)
        changes.append(np.abs(others[parameter] - gradients[parameter]).max())
    return NUDGES * max(changes)


def test_rounding_leaves_little_where_a_gradient_is_well_conditioned():
    chosen, batch = small_settings(), random_batch(1)
    _, gradients = small_engine("scalar", chosen).gradients(batch)
    for parameter, gradient in gradients.items():
        assert rounding_left(chosen, batch, None, parameter) < 1e-12 * np.abs(gradient).max()


def test_a_gradient_that_amplifies_rounding_agrees_to_what_is_left():
    chosen = small_settings(
        n_layer=2, n_head=1, n_embd=2, block_size=3, position="rope", rope_base=1.5, qk_norm=True,
        activation="squared_relu", dropout=0.5, seed=1,
    )  # fmt: skip
    batch = Batch([[1, 4, 0]], [[4, 0, 2]], [[1 / 3] * 3])
    for name in OTHERS:
        assert_gradients_agree(name, chosen, batch)


def crosses_a_corner(engine, w, parameter, place, batch, h, step=None):
    """Whether a number that an activation gets changes its sign between w - h and w + h."""
    if engine.model.activation not in ("relu", "squared_relu"):
        return False
    signs, masks = [], masks_of(engine.settings, step)
    for offset in (h, -h):
        moved, points = w[parameter].copy(), ops.Points()
        moved.flat[place] += offset
        ids = network.pad(batch.inputs)
        network.forward({**w, parameter: moved}, ids, engine.model, points=points, masks=masks)
        signs.append([points.values[f"blocks.{i}.mlp.hook_pre"] > 0 for i in range(engine.model.n_layer)])
    return any((one != other).any() for one, other in zip(*signs, strict=True))


def is_the_derivative(engine, w, parameter, place, batch, slope, scale, step=None):
    """Whether `slope` is what central differences find, with a smaller step where the loss bends too much.

    The corner of an activation that even the smallest step crosses is the one reason to be content with less.
    """
    for h in STEPS:
        if abs(slope - finite_difference(engine, w, parameter, place, batch, h, step)) <= DIFFERENCE * scale:
            return True
    closer = finite_difference(engine, w, parameter, place, batch, CLOSE, step)
    crossed = crosses_a_corner(engine, w, parameter, place, batch, STEPS[-1], step)
    return crossed and abs(slope - closer) <= DIFFERENCE_CLOSE * scale


def masked(batch, seed):
    """The batch with random weights, about half of them zero."""
    chance = random.Random(seed)
    weights = [[chance.choice([0.0, chance.random()]) for _ in row] for row in batch.weights]
    return Batch(batch.inputs, batch.targets, weights)


@pytest.mark.parametrize("name", OTHERS)
@given(problem=problems())
@settings(max_examples=20, deadline=None)
def test_every_target_has_a_weight_of_its_own(name, problem):
    chosen, batch = problem
    assert_gradients_agree(name, chosen, masked(batch, chosen["seed"]))


@pytest.mark.parametrize("name", ENGINES_AND_WASM)
@pytest.mark.parametrize("clip_node", [None, 0.05])
def test_a_target_of_weight_zero_leaves_no_trace(name, clip_node):
    """The last targets of a sequence, and a whole sequence, masked or not there at all."""
    engine = small_engine(name, small_settings(n_layer=2, clip_node=clip_node))
    there = Batch([[1, 2, 3, 4], [5, 0]], [[2, 3, 4, 5], [0, 1]], [[0.25, 0.5, 0.0, 0.0], [0.0, 0.0]])
    absent = Batch([[1, 2]], [[2, 3]], [[0.25, 0.5]])
    (loss, gradients), (expected_loss, expected) = engine.gradients(there), engine.gradients(absent)
    assert loss == pytest.approx(expected_loss, rel=1e-14)
    for parameter in expected:
        assert relative_error(gradients[parameter], expected[parameter]) < 1e-14, parameter


class Listed(Plan):
    """A plan of given batches, round and round."""

    def __init__(self, batches):
        self.batches, self.batch_size = batches, len(batches[0].inputs)
        self.loss_mean = None

    def batch(self, step):
        return self.batches[step % len(self.batches)]

    def chunk(self, start, count):
        return Chunk.of([self.batch(step) for step in range(start, start + count)])

    memory = span = inputs = targets = targets_per_sequence = tokens = epoch = None


@pytest.mark.parametrize("name", OTHERS)
def test_trainings_with_masked_targets_agree(name):
    plan = Listed([masked(random_batch(seed), seed) for seed in range(5)])
    expected = small_engine("scalar", small_settings()).train(plan, 0, 20)
    assert small_engine(name, small_settings()).train(plan, 0, 20) == pytest.approx(
        expected, abs=LOSSES["float64"]
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ENGINES_AND_WASM)
@given(problem=problems(), where=st.integers(0, 10**6))
@settings(max_examples=8, deadline=None)
def test_gradients_agree_with_central_differences(name, problem, where):
    chosen, batch = problem
    engine = varied_engine(name, {**chosen, "clip_node": None})
    w, step = engine.export().parameters, where % 5 or None
    _, gradients = engine.gradients(batch, step)
    scale = max(1.0, *(np.abs(gradient).max() for gradient in gradients.values()))
    for parameter, gradient in gradients.items():
        place = where % gradient.size
        slope = gradient.flat[place]
        assert is_the_derivative(engine, w, parameter, place, batch, slope, scale, step), parameter


def test_only_a_corner_excuses_a_gradient_that_is_off():
    """One of 1e-5 used to pass anywhere. A hidden number moved onto its corner shows that one is seen."""
    engine, batch = small_engine("array", small_settings()), random_batch(1)
    w = engine.export().parameters
    place = ("layer0.mlp_fc1", 3, batch)

    def slope():
        return engine.gradients(batch)[1]["layer0.mlp_fc1"].flat[3]

    right = slope()
    assert is_the_derivative(engine, w, *place, right, 1.0)
    assert not is_the_derivative(engine, w, *place, right + 0.9 * DIFFERENCE_CLOSE, 1.0)

    trace = network.trace_of(w, network.pad(batch.inputs), engine.model)
    h_mlp, u = trace["blocks.0.ln2.hook_normalized"][0, 0], trace["blocks.0.mlp.hook_pre"][0, 0, 0]
    w["layer0.mlp_fc1"].flat[3] += STEPS[-1] / 2 - u / h_mlp[3]  # half the smallest step from the corner
    engine.load(w)
    right = slope()
    assert crosses_a_corner(engine, w, *place, STEPS[-1])
    assert not crosses_a_corner(engine, w, *place, CLOSE)
    assert is_the_derivative(engine, w, *place, right, 1.0)
    assert not is_the_derivative(engine, w, *place, right + 2 * DIFFERENCE_CLOSE, 1.0)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", OTHERS)
def test_logits_agree(name, dtype):
    batch = random_batch(1, count=4)
    expected = small_engine("scalar", small_settings(n_layer=2)).logits(batch)
    got = small_engine(name, small_settings(n_layer=2, dtype=dtype)).logits(batch)
    for mine, theirs, inputs in zip(got, expected, batch.inputs, strict=True):
        assert mine.shape == (len(inputs), VOCABULARY)
        assert relative_error(mine, theirs) <= LOGITS[dtype]


@pytest.mark.parametrize("name", OTHERS)
def test_single_precision_gradients(name):
    batch = random_batch(1, count=4)
    _, expected = small_engine("scalar", small_settings(n_layer=2)).gradients(batch)
    _, got = small_engine(name, small_settings(n_layer=2, dtype="float32")).gradients(batch)
    for parameter, gradient in expected.items():
        assert relative_error(got[parameter], gradient) <= GRADIENT["float32"], parameter


TRAININGS = {
    "microgpt": small_settings("microgpt"),
    "zeroclaw": small_settings("zeroclaw"),
    "oxidized, batches": small_settings("oxidized", batch_size=3),
    "everything": small_settings(
        n_layer=2, weight_decay=0.1, clip_value=0.02, clip_norm=0.3, schedule="cosine", warmup_steps=5,
        lr_min=0.001, batch_size=2, loss_mean="tokens", tied=True,
    ),
    "dropout": small_settings(n_layer=2, dropout=0.2, batch_size=3),
    "RoPE": small_settings(position="rope", n_layer=2, batch_size=2),
    "RoPE and QK norm": small_settings(position="rope", qk_norm=True, n_layer=2, weight_decay=0.1),
    **{name: small_settings(**{"batch_size": 2, "lr": 0.01, **one}) for name, one in ARCHITECTURES.items()},
    "constant": small_settings(schedule="constant", adam="folded", clip_norm=0.1),
    "sgd": small_settings(optimizer="sgd", lr=0.1, batch_size=2),
    "sgd, everything": small_settings(
        optimizer="sgd", momentum=0.5, lr=0.5, n_layer=2, weight_decay=0.1, clip_value=0.02, clip_norm=0.3,
        schedule="cosine", warmup_steps=5, lr_min=0.001, batch_size=2, loss_mean="tokens", tied=True,
    ),
}  # fmt: skip


@cache
def whole_training(name, training, dtype="float64"):
    """The losses of 40 steps."""
    chosen = {**TRAININGS[training], "steps": 40, "dtype": dtype}
    plan = DocumentPlan(random_sequences(5, 8, 6), chosen["batch_size"], chosen.get("loss_mean", "documents"))
    return small_engine(name, chosen).train(plan, 0, 40)


@pytest.mark.slow
@pytest.mark.parametrize("training", TRAININGS)
@pytest.mark.parametrize("name", OTHERS)
def test_whole_trainings_agree(name, training):
    expected = whole_training("scalar", training)
    assert whole_training(name, training) == pytest.approx(expected, abs=LOSSES["float64"])
    single = whole_training(name, training, "float32")
    assert single[:10] == pytest.approx(expected[:10], abs=LOSSES["float32"])


@pytest.mark.parametrize("name", OTHERS)
def test_oxidized_agrees_while_both_clips_act(name):
    """20 steps with bounds so tight that the node clip and the value clip both change the result."""
    chosen = small_settings("oxidized", clip_node=0.05, clip_value=0.02, steps=20)
    plan = DocumentPlan(random_sequences(5, 8, 6), 1, "documents")
    expected = small_engine("scalar", chosen).train(plan, 0, 20)
    assert small_engine(name, chosen).train(plan, 0, 20) == pytest.approx(expected, abs=1e-9)
    for loosened in ({"clip_node": 10.0}, {"clip_value": 5.0}):
        other = small_engine(name, {**chosen, **loosened}).train(plan, 0, 20)
        assert max(abs(a - b) for a, b in zip(other, expected, strict=True)) > 1e-4, "the clip never acted"


@pytest.mark.parametrize("name", OTHERS)
def test_oxidizeds_own_bounds_act_on_confident_mistakes(name):
    """With weights large enough to be sure and wrong, ±10 changes the gradient, alike on every engine."""
    chosen = small_settings("oxidized", init_std=0.5, rng="python")
    batch = random_batch(3, count=1)
    expected_loss, expected = small_engine("scalar", chosen).gradients(batch)
    loss, got = small_engine(name, chosen).gradients(batch)
    _, unclipped = small_engine(name, {**chosen, "clip_node": 1e9}).gradients(batch)
    assert loss == pytest.approx(expected_loss, rel=1e-10)
    for parameter, gradient in expected.items():
        assert relative_error(got[parameter], gradient) <= 1e-9, parameter
    assert any(relative_error(unclipped[p], expected[p]) > 0.01 for p in expected), "the clip never acted"


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("preset", ["microgpt", "oxidized"])
def test_engines_agree_where_probabilities_underflow(name, preset):
    """Textbook or Oxidized-GPT's, no loss is infinite: one is taken from logits, one from p + 1e-8."""
    chosen = small_settings(preset, init_std=3.0)
    batch = random_batch(3, count=3)
    expected_loss, expected = small_engine("scalar", chosen).gradients(batch)
    loss, got = small_engine(name, chosen).gradients(batch)
    assert np.isfinite(loss)
    assert loss == pytest.approx(expected_loss, rel=1e-10)
    largest = max(GRADIENT_FLOOR, *(np.abs(gradient).max() for gradient in expected.values()))
    for parameter, gradient in expected.items():
        np.testing.assert_allclose(got[parameter], gradient, rtol=1e-7, atol=1e-9 * largest)


@pytest.mark.parametrize("name", ENGINES_AND_WASM)
class TestEveryEngine:
    def test_the_future_does_not_move_the_past(self, name):
        engine = small_engine(name, small_settings(n_layer=2))
        one = engine.logits(Batch.of([[0, 1, 2, 3, 4, 5]], "documents"))[0]
        other = engine.logits(Batch.of([[0, 1, 2, 5, 5, 5]], "documents"))[0]
        np.testing.assert_allclose(one[:3], other[:3], rtol=1e-12)
        assert np.abs(one[3:] - other[3:]).max() > 1e-3

    def test_a_permuted_batch_permutes_the_logits_and_keeps_the_gradient(self, name):
        engine = small_engine(name, small_settings())
        sequences = random_sequences(1, 4, 6)
        there, back = Batch.of(sequences, "documents"), Batch.of(sequences[::-1], "documents")
        for one, other in zip(engine.logits(there), engine.logits(back)[::-1], strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12)
        (loss, gradients), (same_loss, same) = engine.gradients(there), engine.gradients(back)
        assert loss == pytest.approx(same_loss, rel=1e-12)
        for parameter in gradients:
            assert relative_error(gradients[parameter], same[parameter]) < 1e-12

    @pytest.mark.parametrize("architecture", [{"n_layer": 2}, *ARCHITECTURES.values()], ids=str)
    def test_cached_equals_uncached(self, name, architecture):
        engine = varied_engine(name, small_settings(**architecture))
        sequences = [[1, 2, 3, 4, 5, 0], [5, 5, 1, 0, 2, 3]]
        whole = engine.logits(Batch.of([[*row, 0] for row in sequences], "documents"))
        decoder = engine.decoder(2)
        for _ in range(DRAWS):
            for at, ids in enumerate(zip(*sequences, strict=True)):
                logits = np.array(decoder.feed(ids))
                np.testing.assert_allclose(logits, [whole[0][at], whole[1][at]], rtol=1e-10)
            decoder.reset()

    def test_the_cache_is_as_long_as_the_block(self, name):
        decoder = small_engine(name, small_settings(block_size=2)).decoder(1)
        decoder.feed([0])
        decoder.feed([0])
        with pytest.raises(ValueError, match="block_size = 2"):
            decoder.feed([0])

    @pytest.mark.parametrize("dropout", [0.0, 0.2])
    def test_a_chunk_is_its_steps(self, name, dropout):
        plan = DocumentPlan(random_sequences(5, 8, 6), 2, "documents")
        whole, parts = (small_engine(name, small_settings(dropout=dropout)) for _ in range(2))
        assert whole.train(plan, 0, 6) == [loss for s in range(6) for loss in parts.train(plan, s, 1)]

    @pytest.mark.parametrize("optimizer", OPTIMIZERS)
    def test_export_and_load_continue_bit_for_bit(self, name, optimizer):
        plan = DocumentPlan(random_sequences(5, 8, 6), 2, "documents")
        chosen = small_settings(optimizer=optimizer, dropout=0.2)
        whole, first, second = (small_engine(name, chosen) for _ in range(3))
        losses = whole.train(plan, 0, 9)
        assert first.train(plan, 0, 4) == losses[:4]
        second.load(first.export())
        assert second.train(plan, 4, 5) == losses[4:]
        for one, other in zip(
            whole.export().parameters.values(), second.export().parameters.values(), strict=True
        ):
            np.testing.assert_array_equal(one, other)

    def test_export_is_a_copy(self, name):
        engine = small_engine(name, small_settings())
        exported = engine.export()
        exported.parameters["wte"][:] = 7.0
        exported.slots["m"]["wte"][:] = 7.0
        assert engine.export().parameters["wte"].max() < 7.0
        assert engine.export().slots["m"]["wte"].max() == 0.0

    def test_gradients_leave_no_trace(self, name):
        engine = small_engine(name, small_settings())
        batch = random_batch(1)
        loss, once = engine.gradients(batch)
        again_loss, again = engine.gradients(batch)
        assert loss == again_loss
        np.testing.assert_array_equal(once["wte"], again["wte"])

    def test_dropout_is_for_training_alone(self, name):
        """Without a step there is none; steps, seeds and documents of a batch have masks of their own."""
        batch = Batch.of([[1, 2, 3, 4, 5, 0]] * 2, "documents")
        plain, dropped = (small_engine(name, small_settings(dropout=p)) for p in (0.0, 0.5))
        other = small_engine(name, small_settings(dropout=0.5, seed=7))
        other.load(dropped.export().parameters)
        for one, two in zip(plain.logits(batch), dropped.logits(batch), strict=True):
            np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(plain.decoder(1).feed([2]), dropped.decoder(1).feed([2]))
        assert plain.gradients(batch, 3)[0] == plain.gradients(batch)[0] == dropped.gradients(batch)[0]
        one = Batch.of([[1, 2, 3, 4, 5, 0]], "documents")
        losses = [dropped.gradients(batch, step)[0] for step in (0, 1)]
        losses += [engine.gradients(one, 0)[0] for engine in (dropped, other, plain)]
        assert len({round(loss, 9) for loss in losses}) == 5
        assert losses[0] == dropped.gradients(batch, 0)[0]

    def test_dropped_numbers_have_no_gradient(self, name):
        """All of the embedding is dropped, so that the logits and the gradients of tokens are zero."""
        engine = small_engine(name, small_settings(dropout=1 - 2**-40))
        loss, gradients = engine.gradients(random_batch(1), 0)
        assert loss == pytest.approx(np.log(VOCABULARY))
        assert not gradients["wte"].any()
        assert not gradients["layer0.attn_wo"].any()

    def test_foreign_parameters_are_refused(self, name):
        engine = small_engine(name, small_settings())
        w, slots = (exported := engine.export()).parameters, exported.slots
        with pytest.raises(ValueError, match="wpe"):
            engine.load({k: v for k, v in w.items() if k != "wpe"})
        with pytest.raises(ValueError, match="wte"):
            engine.load({**w, "wte": w["wte"][1:]})
        with pytest.raises(ValueError, match="extra"):
            engine.load(Snapshot(w, {**slots, "m": {**slots["m"], "extra": w["wte"]}}))
        with pytest.raises(ValueError, match="adam expected slots m, v, got velocity"):
            engine.load(Snapshot(w, {"velocity": slots["m"]}))


@pytest.mark.slow
def test_the_memory_of_the_scalar_engine_does_not_grow_from_step_to_step():
    chosen = small_settings()
    tracemalloc.start()
    try:
        engine, plan = small_engine("scalar", chosen), DocumentPlan(random_sequences(5, 8, 6), 2, "documents")
        held = []
        for start in range(0, 80, 10):
            engine.train(plan, start, 10)
            held.append(tracemalloc.get_traced_memory()[0])
        growths = [after - before for before, after in pairwise(held)]
        assert min(growths) < 20_000, held  # a graph is 900,000 bytes; free lists and caches take some
    finally:
        tracemalloc.stop()


def test_the_scalar_engine_says_which_precision_it_has():
    with pytest.raises(SettingError, match="expected float64, got float32"):
        small_engine("scalar", small_settings(dtype="float32"))
