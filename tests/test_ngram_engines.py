"""The n-gram embedding on every engine: gradients, updates of used rows, dropout, decoding, resuming."""

import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motegpt.config.sections import model_and_training
from motegpt.data.batches import Batch
from motegpt.data.plan import DocumentPlan
from motegpt.evaluation.gradcheck import finite_difference
from motegpt.model.dropout import mask_hash, mask_key, threshold
from motegpt.model.schedule import learning_rate
from motegpt.ngrams.contexts import Contexts
from motegpt.optim.base import TABLE_DECAY_EVERY, table_decay
from tests.conftest import ENGINES_HERE, VOCABULARY, WASM_HERE, engine_named, small_settings
from tests.tolerances import GRADIENT, GRADIENT_FLOOR, LOGITS, LOSSES, relative_error

OTHERS = [*(name for name in ENGINES_HERE if name != "scalar"), *WASM_HERE]


class Problem:
    """Sequences with many repeated contexts, settings that fit them, and engines whose tables are not 0."""

    def __init__(self, seed=1, orders=4, count=10, longest=6, size=3, min_count=2, **changes):
        chance = random.Random(seed)
        lengths = [longest, *(chance.randint(1, longest) for _ in range(count - 1))]
        self.sequences = [[chance.randrange(size) for _ in range(n + 1)] for n in lengths]
        for before, row in pairwise(self.sequences):
            if chance.random() < 0.5:
                row[: len(before)] = before[: len(row)]
        plan = DocumentPlan(self.sequences, 1, "documents")
        self.contexts = Contexts.of_plan(plan, orders, min_count)
        changes |= {"ngram_orders": orders, "ngram_rows": self.contexts.sizes}
        self.settings = small_settings(**{"batch_size": 3, "seed": seed, "block_size": longest, **changes})
        self.plan = DocumentPlan(self.sequences, self.settings["batch_size"], "documents")

    def engine(self, name, filled=True, **changes):
        model, train = model_and_training({**self.settings, **changes}, VOCABULARY)
        engine = engine_named(name, model, train, self.contexts)
        if filled:
            w, rng = engine.export().parameters, np.random.default_rng(0)
            tables = {n: rng.normal(0, 0.3, x.shape) for n, x in w.items() if n.startswith("ngram")}
            engine.load({**w, **tables})
        return engine

    @property
    def tables(self):
        return [f"ngram{order}" for order, _ in enumerate(self.contexts.sizes, 2)]

    @property
    def batch(self):
        return Batch.of(self.sequences, "documents")


@st.composite
def problems(draw):
    return Problem(
        seed=draw(st.integers(0, 2**32)),
        orders=draw(st.integers(2, 8)),
        count=draw(st.integers(1, 6)),
        longest=draw(st.integers(2, 8)),
        min_count=draw(st.integers(1, 3)),
        tied=draw(st.booleans()),
        embedding_norm=draw(st.booleans()),
        ngram_dropout=draw(st.sampled_from([0.0, 0.3, 0.9])),
    )


def assert_same_gradients(got, expected):
    largest = max(np.abs(gradient).max() for gradient in expected.values())
    assert list(got) == list(expected)
    for name, gradient in expected.items():
        scale = max(np.abs(gradient).max(), GRADIENT_FLOOR * largest)
        assert np.abs(got[name] - gradient).max() <= GRADIENT["float64"] * scale, name


@pytest.mark.parametrize("name", OTHERS)
@given(problem=problems(), step=st.none() | st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_gradients_agree_with_the_scalar_engine(name, problem, step):
    """With and without the dropout of a step."""
    expected_loss, expected = problem.engine("scalar").gradients(problem.batch, step)
    loss, got = problem.engine(name).gradients(problem.batch, step)
    assert loss == pytest.approx(expected_loss, rel=1e-12)
    assert_same_gradients(got, expected)


@pytest.mark.parametrize("name", ENGINES_HERE)
@pytest.mark.parametrize("step", [None, 5])
def test_gradients_of_tables_agree_with_central_differences(name, step):
    """With a step, whose mask is the same however often it is computed, the drop is part of the function."""
    problem = Problem(seed=5, ngram_dropout=0.8)
    engine = problem.engine(name)
    w, (_, gradients) = engine.export().parameters, engine.gradients(problem.batch, step)

    dropped = False
    for table in problem.tables:
        used = np.abs(gradients[table]).sum(axis=1) > 0
        dropped |= not used.all()
        for place in (0, 3, int(used.argmax()) * 8 + 3, gradients[table].size - 1):
            slope = finite_difference(engine, w, table, place, problem.batch, step=step)
            assert gradients[table].flat[place] == pytest.approx(slope, abs=1e-8), table
    assert dropped == (step is not None)


def test_the_embedding_is_the_sum_of_the_definition():
    """x = wte + wpe + Σ_k ngram_k[row], by hand; dropped vectors by the hash, the others scaled."""
    problem = Problem(orders=3, n_layer=1, ngram_dropout=0.5, tied=True, embedding_norm=False)
    engine = problem.engine("array")
    w = engine.export().parameters
    tokens = problem.sequences[2][:-1]
    vectors = np.zeros((len(tokens), 8))
    for t in range(len(tokens)):
        for order, row in enumerate(problem.contexts.rows_at_end(tokens[: t + 1]), 2):
            key = mask_key(problem.settings["seed"], 7, order, 2)
            if mask_hash(key, t) >= threshold(0.5):
                vectors[t] += 2.0 * w[f"ngram{order}"][row]
    plain = problem.engine("array", filled=False)
    moved = {**w, **{n: np.zeros_like(x) for n, x in w.items() if n.startswith("ngram")}}
    position = np.zeros((6, 8))
    position[: len(tokens)] = vectors
    plain.load({**moved, "wpe": w["wpe"] + position})
    batch = Batch.of(problem.sequences, "documents")
    only = Batch(
        batch.inputs, batch.targets, [r if b == 2 else [0.0] * len(r) for b, r in enumerate(batch.weights)]
    )
    assert engine.gradients(only, 7)[0] == pytest.approx(plain.gradients(only)[0], rel=1e-12)


TRAININGS = {
    "adam": {},
    "decay": {"ngram_weight_decay": 2.0, "weight_decay": 0.1, "ngram_dropout": 0.3},
    "sgd": {"optimizer": "sgd", "lr": 0.1, "ngram_weight_decay": 0.5, "momentum": 0.8},
    "folded": {"adam": "folded", "ngram_dropout": 0.5, "tied": True},
    "clips": {
        "clip_value": 0.02, "clip_norm": 0.05, "schedule": "cosine", "warmup_steps": 5, "ngram_dropout": 0.5,
        "ngram_weight_decay": 1.0, "n_layer": 2, "loss_mean": "tokens",
    },
}  # fmt: skip


@pytest.mark.parametrize("training", TRAININGS)
@pytest.mark.parametrize("name", OTHERS)
def test_whole_trainings_agree(name, training):
    problem = Problem(steps=30, **TRAININGS[training])
    one, other = problem.engine("scalar", filled=False), problem.engine(name, filled=False)
    expected = one.train(problem.plan, 0, 30)
    assert other.train(problem.plan, 0, 30) == pytest.approx(expected, abs=LOSSES["float64"])
    for table, x in one.export().parameters.items():
        np.testing.assert_allclose(other.export().parameters[table], x, atol=1e-9)
    for slot, named in one.export().slots.items():
        for table, x in named.items():
            np.testing.assert_allclose(other.export().slots[slot][table], x, atol=1e-9)


@pytest.mark.parametrize("name", ENGINES_HERE)
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_rows_that_are_not_used_stay_as_they_are(name, optimizer):
    """Parameters and slots: momentum alone moves no row, and a vector that is dropped is not used."""
    problem = Problem(optimizer=optimizer, ngram_dropout=0.5, batch_size=2, count=8, ngram_weight_decay=0.1)
    engine = problem.engine(name)
    engine.train(problem.plan, 0, 4)
    for step in (4, 5, 6):
        before, (_, dw) = engine.export(), engine.gradients(problem.plan.batch(step), step)
        engine.train(problem.plan, step, 1)
        after = engine.export()
        for table in problem.tables:
            used = np.abs(dw[table]).sum(axis=1) > 0
            pairs = [(before.parameters, after.parameters)]
            pairs += [(before.slots[slot], after.slots[slot]) for slot in after.slots]
            for one, other in pairs:
                changed = (one[table] != other[table]).any(axis=1)
                np.testing.assert_array_equal(changed, used)


@pytest.mark.parametrize("name", ENGINES_HERE)
def test_all_rows_decay_together_at_some_steps(name):
    """With lr · decay multiplied over the steps since; between them no row decays."""
    problem = Problem(ngram_weight_decay=3.0, steps=40, schedule="linear")
    engine, plain = problem.engine(name), problem.engine(name, ngram_weight_decay=0.0)
    _, train = model_and_training(problem.settings, VOCABULARY)
    assert TABLE_DECAY_EVERY > 1
    for step in range(2 * TABLE_DECAY_EVERY):
        for one in (engine, plain):
            one.load(plain.export())
            one.train(problem.plan, step, 1)
        factor = 1.0
        if (step + 1) % TABLE_DECAY_EVERY == 0:
            for i in range(step + 1 - TABLE_DECAY_EVERY, step + 1):
                factor *= 1 - learning_rate(train, i) * 3.0
            assert factor < 1
        assert table_decay(train, step) == pytest.approx(factor, rel=1e-15)
        for tensor, x in plain.export().parameters.items():
            expected = x * factor if tensor.startswith("ngram") else x
            np.testing.assert_allclose(engine.export().parameters[tensor], expected, rtol=1e-12)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("name", ENGINES_HERE)
@given(cuts=st.lists(st.integers(0, 12), max_size=4), what=st.integers(0, 2**12))
@settings(max_examples=4, deadline=None)
def test_exporting_evaluating_and_decoding_in_between_changes_no_byte(name, optimizer, cuts, what):
    problem = Problem(steps=12, ngram_dropout=0.4, ngram_weight_decay=1.0, optimizer=optimizer)
    whole, engine = problem.engine(name), problem.engine(name)
    losses, found = whole.train(problem.plan, 0, 12), []
    chance, at = random.Random(what), 0
    for cut in [*sorted(cuts), 12]:
        found += engine.train(problem.plan, at, cut - at) if cut > at else []
        at = max(at, cut)
        match chance.randrange(4):
            case 0:
                engine.logits(problem.batch)
            case 1:
                engine.gradients(problem.batch, chance.choice([None, 3]))
            case 2:
                engine.decoder(2).feed([0, 1])
            case 3:
                snapshot = engine.export()
                engine = problem.engine(name, filled=False)
                engine.load(snapshot)
    assert found == losses
    for one, other in zip(
        (whole.export().parameters, *whole.export().slots.values()),
        (engine.export().parameters, *engine.export().slots.values()),
        strict=True,
    ):
        for tensor in one:
            np.testing.assert_array_equal(one[tensor], other[tensor])


@pytest.mark.parametrize("name", ENGINES_HERE)
def test_logits_and_decoders_agree_with_the_scalar_engine(name):
    """After a reset and a reorder too; nothing is dropped outside of training."""
    problem = Problem(ngram_dropout=0.9, longest=7, orders=5, count=20, min_count=1)
    assert len(problem.tables) == 4
    engine, one = problem.engine(name), problem.engine("scalar")
    expected = one.logits(problem.batch)
    for got, logits in zip(engine.logits(problem.batch), expected, strict=True):
        assert relative_error(got, logits) <= LOGITS["float64"]
    rows = [[0, 1, 2, 1, 0, 1, 2], [2, 2, 1, 2, 2, 1, 2], [1, 0, 0, 0, 1, 0, 0]]
    decoder, order = engine.decoder(3), [0, 1, 2]
    for _ in range(2):
        histories = [[], [], []]
        for at in range(7):
            if at in (3, 5):
                decoder.reorder([2, 0, 0])
                histories = [histories[2], histories[0], histories[0][:]]
                histories = [list(h) for h in histories]
            ids = [rows[i][at] for i in order]
            for history, token in zip(histories, ids, strict=True):
                history.append(token)
            logits = np.array(decoder.feed(ids))
            batch = Batch.of([[*history, 0] for history in histories], "documents")
            np.testing.assert_allclose(logits, [x[-1] for x in one.logits(batch)], rtol=1e-9, atol=1e-12)
        decoder.reset()


@pytest.mark.parametrize("name", ENGINES_HERE)
def test_padding_reads_nothing(name):
    """A sequence has the same gradient alone and beside a longer one."""
    problem = Problem(count=2)
    engine, weights = problem.engine(name), [[0.0] * 6, [0.5] * 2]
    short, long = problem.sequences[0][:3], problem.sequences[0]
    both = Batch([long[:-1], short[:-1]], [long[1:], short[1:]], weights)
    alone = Batch([short[:-1]], [short[1:]], weights[1:])
    (loss, got), (expected_loss, expected) = engine.gradients(both), engine.gradients(alone)
    assert loss == pytest.approx(expected_loss, rel=1e-13)
    for tensor, gradient in expected.items():
        np.testing.assert_allclose(got[tensor], gradient, atol=1e-14)


@pytest.mark.parametrize("name", ENGINES_HERE)
def test_without_frequent_contexts_the_model_is_the_plain_one(name):
    problem = Problem(min_count=10**6, steps=5)
    assert problem.contexts.sizes == ()
    plain = {n: value for n, value in problem.settings.items() if not n.startswith("ngram")}
    other = engine_named(name, *model_and_training(plain, VOCABULARY))
    engine = problem.engine(name)
    assert engine.train(problem.plan, 0, 5) == other.train(problem.plan, 0, 5)


def test_tables_do_not_advance_the_generator():
    problem = Problem()
    plain = {n: value for n, value in problem.settings.items() if not n.startswith("ngram")}
    expected = engine_named("array", *model_and_training(plain, VOCABULARY)).export().parameters
    got = problem.engine("array", filled=False).export().parameters
    assert list(got)[:2] == ["wte", "wpe"]
    assert list(got)[2:6] == ["ngram2", "ngram3", "ngram4", "lm_head"]
    for tensor, x in got.items():
        np.testing.assert_array_equal(x, expected.get(tensor, np.zeros_like(x)))


@pytest.mark.parametrize("name", [name for name in OTHERS if name == "torch"])
@pytest.mark.parametrize("accumulate", [2, 4])
def test_accumulated_gradients_have_the_same_masks_and_updates(name, accumulate):
    chosen = {"batch_size": 4, "count": 8, "ngram_dropout": 0.5, "ngram_weight_decay": 1.0, "steps": 20}
    problem = Problem(**chosen)
    whole, parts = problem.engine(name), problem.engine(name, accumulate=accumulate)
    assert parts.train(problem.plan, 0, 20) == pytest.approx(whole.train(problem.plan, 0, 20), rel=1e-9)
    for tensor, x in whole.export().parameters.items():
        np.testing.assert_allclose(parts.export().parameters[tensor], x, atol=1e-9)


def test_single_precision_is_close():
    problem = Problem(steps=10, ngram_dropout=0.3, ngram_weight_decay=1.0)
    expected = problem.engine("scalar").train(problem.plan, 0, 10)
    for name in OTHERS:
        got = problem.engine(name, dtype="float32").train(problem.plan, 0, 10)
        assert got == pytest.approx(expected, abs=LOSSES["float32"])
