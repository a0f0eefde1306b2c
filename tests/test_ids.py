"""Sequences of token ids with a mask: the plan, every engine, a run from start to end."""

import pickle
import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays, scalar_dtypes

from motegpt import GPT, Data, DataError, PrefixError, SettingError, UsageError
from motegpt.config.presets import settings_of
from motegpt.config.sections import DataConfig, section_values
from motegpt.data.batches import Batch
from motegpt.data.ids.memory import digest_of, ids_in_memory
from motegpt.data.plan import DocumentPlan, WindowPlan
from motegpt.data.repeats import drop_repeats
from motegpt.data.tokenizers import IdTokenizer, Tokenizer
from motegpt.errors import RunFolderError
from motegpt.evaluation.gradcheck import check_gradients
from motegpt.evaluation.nll import mean_nll, means, token_nll
from motegpt.interchange.model import PortableModel
from motegpt.interchange.targets import export
from motegpt.training.build import prepare
from motegpt.training.run_folder import RunFolder
from tests.conftest import ENGINES_HERE, VOCABULARY, random_sequences, small_engine, small_settings
from tests.tolerances import LOSSES

SETTINGS = {"preset": "microgpt", "n_embd": 8, "n_head": 2, "block_size": 4, "engine": "array", "n": 2}
IDS = [[1, 2, 3], [3, 0, 1, 2], [2, 1], [0, 3, 3, 1, 2]]
MASK = [[0, 0, 1], [0, 1, 0, 1], [0, 1], [0, 0, 1, 1, 0]]
MEANS = ("documents", "tokens")


def plan_of(ids=IDS, mask=MASK, batch_size=3, loss_mean="documents", **more):
    documents = ids_in_memory(ids, mask)
    return DocumentPlan(documents.sequences, batch_size, loss_mean, **more)


def stream_of(mask, batch_size=3, loss_mean="tokens", block_size=3):
    stream = ids_in_memory(list(range(len(mask))), mask)
    return WindowPlan(stream.sequences.tokens, block_size, batch_size, loss_mean, 5, stream.mask)


def masked_batch(loss_mean="documents", change=0, masks=([1, 0], [1, 0, 1], [0, 1, 1, 0])):
    """A batch; change: added to targets that are masked and are no inputs, the last of two sequences."""
    ids = [[1, 2, 3 + change], [3, 0, 1, 2], [0, 3, 3, 1, 2 + change]]
    return Batch.of(ids, loss_mean, masks)


@pytest.mark.parametrize("mean", MEANS)
def test_weights_are_those_of_the_unmasked_targets(mean):
    batch = plan_of(loss_mean=mean).batch(0)
    expected = {
        "documents": [[0, 1 / 3], [1 / 6, 0, 1 / 6], [1 / 3]],
        "tokens": [[0, 1 / 4], [1 / 4, 0, 1 / 4], [1 / 4]],
    }[mean]
    assert batch.weights == [pytest.approx(row) for row in expected]
    assert sum(map(sum, batch.weights)) == pytest.approx(1)


@pytest.mark.parametrize("mean", MEANS)
@pytest.mark.parametrize("seed", [None, 3])
def test_a_chunk_has_the_weights_of_its_batches(mean, seed):
    plan = plan_of(loss_mean=mean, seed=seed)
    assert list(plan.chunk(1, 5).batches()) == [plan.batch(step) for step in range(1, 6)]
    stream = stream_of([0, 1, 0, 0, 0, 0, 1, 1, 0, 1], loss_mean=mean)
    assert list(stream.chunk(2, 9).batches()) == [stream.batch(step) for step in range(2, 11)]
    assert list(stream.chunk(2, 0).batches()) == []


def test_a_mask_of_ones_is_no_mask():
    ones = [[1] * len(row) for row in IDS]
    assert plan_of(mask=ones).batch(0) == plan_of(mask=None).batch(0)
    masked, plain = plan_of(mask=ones).chunk(0, 4), plan_of(mask=None).chunk(0, 4)
    assert (masked.weights == plain.weights).all()
    stream = stream_of([1] * 10)
    plain = WindowPlan(stream.stream, 3, 3, "tokens", 5)
    assert list(stream.chunk(0, 9).batches()) == list(plain.chunk(0, 9).batches())


def test_the_mask_may_have_a_value_per_target():
    per_target = [row[1:] for row in MASK]
    assert ids_in_memory(IDS, per_target) == ids_in_memory(IDS, MASK)
    table = np.arange(8).reshape(2, 4)
    assert ids_in_memory(table, np.ones((2, 3), bool)).mask.tolist() == [0, 1, 1, 1, 0, 1, 1, 1]


def test_windows_without_an_unmasked_target_are_left_out():
    mask = [0] * 20 + [1] + [0] * 20
    plan = stream_of(mask)
    starts = {start for number in range(300) for start in [plan.span(number)[0]]}
    assert starts == {17, 18, 19}  # the target 20 is the first, second or third after the start
    with pytest.raises(DataError, match="unmasked target"):
        WindowPlan(memoryview(bytes(9)), 3, 1, "tokens", 5, memoryview(bytes(9)))


def test_a_sequence_whose_targets_are_cut_off_is_an_error():
    with pytest.raises(DataError, match=r"block_size: .*first 3 ids of one, \[0, 1, 2\]"):
        GPT.train(
            ids=[[0, 1, 2, 3], [1, 2, 3, 0]],
            mask=[[0, 0, 0, 1], [0, 1, 0, 0]],
            **SETTINGS | {"block_size": 2},
        )


@pytest.mark.parametrize("name", ENGINES_HERE)
@pytest.mark.parametrize("mean", MEANS)
def test_a_masked_target_has_no_influence(name, mean):
    engine = small_engine(name, small_settings(loss_mean=mean))
    loss, gradients = engine.gradients(masked_batch(mean))
    other_loss, others = engine.gradients(masked_batch(mean, change=1))
    assert loss == other_loss
    assert all((gradients[one] == others[one]).all() for one in gradients)
    counted = [[1, 1], [1, 0, 1], [0, 1, 1, 1]]
    losses = {engine.gradients(masked_batch(mean, change, counted))[0] for change in (0, 1)}
    assert len(losses) == 2


@pytest.mark.parametrize(("preset", "heaviest"), [("microgpt", 1), ("microgpt", 2.5), ("oxidized", 2.5)])
@pytest.mark.parametrize("name", [name for name in ENGINES_HERE if name != "scalar"])
@pytest.mark.parametrize("mean", MEANS)
def test_engines_train_alike_on_masked_data(name, mean, preset, heaviest):
    ids = random_sequences(7, 9, 6)
    mask = [[min((i + t) % 3, heaviest) for t in range(len(row))] for i, row in enumerate(ids)]
    mask = [row if sum(row[1:]) else [1] * len(row) for row in mask]
    settings = small_settings(preset, loss_mean=mean, steps=6)
    plan = plan_of(ids, mask, 4, mean, seed=1)
    expected = small_engine("scalar", settings, VOCABULARY).train(plan, 0, 6)
    assert small_engine(name, settings, VOCABULARY).train(plan, 0, 6) == pytest.approx(
        expected, rel=LOSSES["float64"]
    )


@pytest.mark.parametrize("mean", MEANS)
def test_a_mask_of_weights(mean):
    """The mean divides by the sum of the weights, of a sequence or of the batch."""
    weights = [[9, 0, 0.5], [9, 0.25, 0, 0.75], [9, 2]]
    batch = plan_of(IDS[:3], weights, loss_mean=mean).batch(0)
    expected = {
        "documents": [[0, 1 / 3], [1 / 12, 0, 1 / 4], [1 / 3]],
        "tokens": [[0, 1 / 7], [1 / 14, 0, 3 / 14], [4 / 7]],
    }[mean]
    assert batch.weights == [pytest.approx(row) for row in expected]
    tenfold = [[10 * weight for weight in row] for row in weights]
    assert plan_of(IDS[:3], tenfold, loss_mean=mean).batch(0).weights == [
        pytest.approx(row) for row in expected
    ]
    weights = [*weights, [9, 1, 1e-3, 1e9, 0]]
    plan = plan_of(mask=weights, loss_mean=mean, seed=3)
    stream = stream_of([0, 0.5, 0, 0, 0, 0, 3, 1e-9, 0, 1], loss_mean=mean)
    for one in (plan, stream):
        for step, found in enumerate(one.chunk(1, 7).batches(), 1):
            assert found.inputs == one.batch(step).inputs
            assert found.weights == [pytest.approx(row) for row in one.batch(step).weights]


@pytest.mark.parametrize("name", ENGINES_HERE)
def test_a_target_of_weight_2_counts_as_two(name):
    engine = small_engine(name, small_settings())
    once = Batch.of([[1, 2, 3], [3, 0, 1, 2]], "tokens", [[2, 2], [1, 0, 1]])
    twice = Batch.of([[1, 2, 3], [1, 2, 3], [3, 0, 1, 2]], "tokens", [[1, 1], [1, 1], [1, 0, 1]])
    (loss, gradients), (other_loss, others) = map(engine.gradients, (once, twice))
    assert loss == pytest.approx(other_loss)
    assert all(gradients[one] == pytest.approx(others[one]) for one in gradients)


@pytest.mark.parametrize("name", ENGINES_HERE)
def test_gradients_of_weighted_losses_are_finite_differences(name):
    engine = small_engine(name, small_settings())
    batch = Batch.of([[1, 2, 3], [3, 0, 1, 2]], "documents", [[0.1, 2], [3, 0, 0.5]])
    found = list(check_gradients(engine, engine.parameters(), batch, random.Random(1)))
    assert len(found) > 5
    assert all(one.passed for one in found), found


def test_n_grams_are_evaluated_on_the_same_targets():
    ids, weights = [[0, 1, 2, 0], [1, 1, 0, 2]], [[0, 1, 0, 2], [0, 0, 1, 0]]
    model = GPT.train(ids=ids * 9, **SETTINGS, kneser_ney=2, steps=1)
    by_target = [model.evaluate(ids=[row[i : i + 2]]).losses for row in ids for i in range(3)]  # bigrams
    flat = np.concatenate([row[1:] for row in weights])
    expected = np.average([losses["kneser-ney"] for losses in by_target], weights=flat)
    assert model.evaluate(ids=ids, mask=weights).losses["kneser-ney"] == pytest.approx(expected)


def test_of_weights_the_loss_is_weighted_and_the_accuracy_counted():
    engine = small_engine("array", small_settings(), vocab_size=4)
    weights = [[0, 0, 0.5], [0, 2, 0, 3], [0, 1], [0, 0, 4, 1, 0]]
    found = means(engine, ids_in_memory(IDS, weights).sequences)
    flat = np.concatenate([row[1:] for row in weights])
    nll = np.concatenate(token_nll(engine, ids_in_memory(IDS).sequences))
    assert found.loss == pytest.approx((nll * flat).sum() / flat.sum())
    assert found.accuracy == means(engine, ids_in_memory(IDS, flat_mask(weights)).sequences).accuracy


def flat_mask(weights):
    """1 for every weight other than 0."""
    return [[int(weight > 0) for weight in row] for row in weights]


def test_weights_of_0_and_1_are_a_mask():
    floats = [[float(one) for one in row] for row in MASK]
    assert ids_in_memory(IDS, floats).mask.format == "B"
    assert digest_of(ids_in_memory(IDS, floats)) == digest_of(ids_in_memory(IDS, MASK))
    halves = ids_in_memory(IDS, [[one / 2 for one in row] for row in MASK])
    assert halves != ids_in_memory(IDS, MASK)
    assert digest_of(halves) != digest_of(ids_in_memory(IDS, MASK))
    assert pickle.loads(pickle.dumps(halves.sequences)).mask == halves.mask


def test_the_loss_and_the_accuracy_are_of_unmasked_targets():
    engine = small_engine("array", small_settings(), vocab_size=4)
    sequences = ids_in_memory(IDS, MASK).sequences
    nll = np.concatenate(token_nll(engine, sequences))
    counted = np.concatenate([np.array(row[1:], bool) for row in MASK])
    assert mean_nll(engine, sequences) == pytest.approx(nll[counted].mean())
    hits = np.concatenate(
        [
            logits.argmax(axis=1) == row[1:]
            for row, logits in zip(IDS, engine.logits(Batch.of(IDS, "tokens")), strict=True)
        ]
    )
    assert means(engine, sequences).accuracy == hits[counted].mean()
    plain = ids_in_memory(IDS).sequences
    assert means(engine, plain).accuracy == hits.mean()


def sums(modulus=5):
    """Every a b = c modulo a prime, and a mask of the answers."""
    a, b = np.divmod(np.arange(modulus**2), modulus)
    ids = np.stack([a, b, np.full(len(a), modulus), (a + b) % modulus], axis=1)
    return {"ids": ids, "mask": np.tile([0, 0, 1], (len(ids), 1)), "vocab_size": modulus + 1}


def test_a_run_in_memory(tmp_path):
    model = GPT.train(**sums(), **SETTINGS, steps=30, val_fraction=0.4, out=tmp_path / "run", log_every=10)
    record = model.records[-1]
    assert 0 <= record.accuracy <= 1
    assert record.val_accuracy is not None
    assert 0 <= record.val_accuracy <= 1
    assert model.config.model.vocab_size == 6
    assert model.tokenizer == IdTokenizer(6, "whole")
    assert model.generate(1, prefix="1 2 5", seed=1)[0].startswith("1 2 5 ")
    assert len(model.generate(1, seed=1)[0].split()) == 5  # as long as the block, with the last target
    (score,) = model.score(["1 2 5 3"])
    assert score.tokens == score.characters == 3
    assert score.log_probability < 0
    found = model.evaluate(**{name: value for name, value in sums().items() if name != "vocab_size"})
    assert found.tokens == 25
    assert found.documents == 25
    assert 0 <= found.accuracy <= 1
    loaded = GPT.load(tmp_path / "run")
    assert loaded.score(["1 2 5 3"]) == [score]
    assert loaded.evaluate(ids=sums()["ids"], mask=sums()["mask"]).losses == found.losses
    assert loaded.tokens("1 2") == ["1", "2"]
    assert loaded.attention("1 2 5").shape == (1, 2, 3, 3)
    assert sum(loaded.next("1 2 5").values()) == pytest.approx(1)


def test_a_resumed_run_is_the_one_that_never_stopped(tmp_path):
    chosen = {**SETTINGS, "val_fraction": 0.4, "log_every": 5, "batch_size": 4}
    whole = GPT.train(**sums(), **chosen, steps=20)
    training = GPT.training(**sums(), **chosen, steps=20, out=tmp_path / "run")
    for record in training:
        if record.step == 10:
            break
    changed = {**sums(), "mask": np.tile([0, 1, 1], (25, 1))}
    with pytest.raises(DataError, match="does not match"):
        GPT.train(resume=tmp_path / "run", **changed)
    with pytest.raises(DataError, match="in memory"):
        GPT.train(resume=tmp_path / "run")
    resumed = GPT.train(resume=tmp_path / "run", **sums())
    assert [one.loss for one in resumed.records] == [one.loss for one in whole.records[3:]]
    assert all((resumed.parameters[name] == whole.parameters[name]).all() for name in whole.parameters)


def test_a_stream_of_ids_is_learned_in_windows():
    stream = [i % 5 for i in range(200)]
    model = GPT.train(ids=stream, **SETTINGS, steps=40, val_fraction=0.2, batch_size=4, lr=0.02)
    assert model.config.data.format == "id_stream"
    assert model.config.data.framing == "none"
    assert model.records[-1].val_accuracy > 0.9
    assert model.evaluate(["0 1 2 3 4 0"]).tokens == 5


def test_a_held_out_end_without_an_unmasked_target_is_an_error():
    stream = list(range(4)) * 10
    with pytest.raises(DataError, match=r"mask: .* in the validation data"):
        GPT.train(ids=stream, mask=[1] * 30 + [0] * 10, val_fraction=0.25, **SETTINGS)


def test_the_ids_of_a_stream_are_not_known_texts():
    """They would be one text as long as the stream."""
    stream = Data(ids=list(range(4)) * 10)
    trainer = prepare(stream, {**settings_of("microgpt"), "novel": True}, "array")
    assert trainer.known is None


def test_fine_tuning_on_other_sequences():
    base = GPT.train(**sums(), **SETTINGS, steps=5)
    data = {"ids": [[0, 1, 5, 1], [2, 2, 5, 4]], "mask": [[0, 0, 1]] * 2}
    tuned = base.fine_tune(**data, preset="microgpt", steps=5)
    assert tuned.tokenizer == base.tokenizer
    with pytest.raises(DataError, match="below the model's vocab_size = 6, got 6"):
        base.fine_tune(ids=[[0, 6]], preset="microgpt", steps=1)
    with pytest.raises(DataError, match="expected token ids"):
        base.fine_tune(["0 1", "1 0"], preset="microgpt", steps=1)
    with pytest.raises(DataError, match="expected text"):
        GPT.train(["ab", "ba"], **SETTINGS, steps=1).fine_tune(ids=[[0, 1]], preset="microgpt", steps=1)


def test_automatic_settings():
    model = GPT.train(**sums(7), steps=5, engine="array")
    assert model.average is None
    assert model.config.model.ngram_orders is None
    assert model.config.model.block_size == 3
    assert not model.config.sample.novel


@pytest.mark.parametrize("order", [{}, {"deduplicate": True}])
def test_equal_sequences_are_held_out_together(order):
    ids = [[i % 4, 1, 2] for i in range(40)]
    training = GPT.training(ids=ids, **SETTINGS, val_fraction=0.5, **order)
    training_ids = {tuple(row) for row in training._trainer.plan.sequences}
    held_out = {tuple(row) for row in training._trainer.validation.data.sequences}
    assert training_ids.isdisjoint(held_out)
    assert len(training_ids | held_out) == 4


REFUSED = {
    "tokenizer": ({"tokenizer": "bpe"}, SettingError, "tokens already"),
    "normalize": ({"normalize": "nfc"}, DataError, "not text"),
    "kneser_ney": ({"kneser_ney": 3}, SettingError, "with a mask"),
    "allow": ({"allow": "12"}, SettingError, "not characters"),
    "prefix": ({"prefix": "1 a"}, PrefixError, "ids below 6"),
    "vocab_size": ({"vocab_size": 3}, DataError, "below 3, got 5 in position 2 of sequence 0"),
    "docs": ({"docs": ["ab"]}, UsageError, "got both"),
}


@pytest.mark.parametrize(("changes", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_what_ids_cannot_have_is_refused(changes, error, message):
    with pytest.raises(error, match=message):
        GPT.train(**{**sums(), **SETTINGS, **changes}, steps=1)


WRONG = {
    "floats": ([[0.5, 1.0]], None, "integers"),
    "strings": (["ab", "cd"], None, "integers"),
    "ragged objects": ([[1, [2]], [1, 2]], None, "integers"),
    "deep": (np.zeros((2, 2, 2), int), None, "axes"),
    "nothing": ([], None, "none"),
    "a number": (3, None, "array"),
    "negative": ([[0, -1, 2]], None, "at least 0, got -1 in position 1 of sequence 0"),
    "huge": ([[0, 2**40]], None, "below"),
    "whole floats": (np.ones((2, 2)), None, r"float64 values; convert whole numbers with astype\(int\)"),
    "no order": ({1, 2, 3}, None, "a set is ambiguous"),
    "keys": ({3: [1, 2]}, None, "a dict is ambiguous"),
    "a mask inside": (np.ma.array([[1, 2]], mask=[[0, 1]]), None, "a MaskedArray is ambiguous"),
    "iterators": ([iter([1, 2])], None, "object values"),
    "one id": ([[0, 1], [2]], None, "at least 2 ids in every sequence, .* got 1 in sequence 1"),
    "all masked": ([[0, 1], [1, 2]], [[1, 1], [0, 0]], "got none in sequence 1"),
    "shape of the mask": ([[0, 1, 2], [1, 2, 0]], [[1, 1, 1], [1]], "3 or 2 in sequence 1, got 1"),
    "count of the mask": ([[0, 1], [1, 2]], [[1, 1]], "expected 2 sequences"),
    "negative weight": ([[0, 1]], [[0, -1]], "weights of 1e-09 to 1e.09, got -1 in position 1 of sequence 0"),
    "NaN": ([[0, 1], [1, 0]], [[1, 1], [0, np.nan]], "got nan in position 1 of sequence 1"),
    "infinity": ([[0, 1]], [[0, np.inf]], "got inf"),
    "infinity in half precision": ([[0, 1]], np.array([[0, np.inf]], np.float16), "got inf"),
    "tiny weight": ([[0, 1]], [[0, 1e-300]], "got 1e-300"),
    "mixed types": (
        [np.array([1, 2], np.uint64), [0, -1]],
        None,
        "at least 0, got -1 in position 1 of sequence 1",
    ),
    "huge of mixed types": ([np.array([1, 2**64 - 1], np.uint64), [0, 1]], None, "below"),
    "no ids beside ids": ([[], [0, 1]], None, "at least 2 ids in every sequence, .* got 0 in sequence 0"),
    "text as a mask": ([[0, 1]], [["0", "1"]], "of numbers, got .*U1"),
}


@pytest.mark.parametrize(("ids", "mask", "message"), WRONG.values(), ids=WRONG)
def test_wrong_ids_are_one_line(ids, mask, message):
    with pytest.raises(DataError, match=message) as caught:
        ids_in_memory(ids, mask)
    assert "\n" not in str(caught.value)


SCALARS = st.one_of(
    st.integers(), st.floats(), st.booleans(), st.none(), st.text(max_size=3), st.binary(max_size=3),
    st.complex_numbers(), st.builds(np.int8), st.builds(np.uint64, st.integers(0, 2**64 - 1)),
)  # fmt: skip
NESTED = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner))
ARRAYS = arrays(st.one_of(scalar_dtypes(), st.just(np.dtype(object))), array_shapes(min_dims=0, max_side=4))
ROWS = st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=3), min_size=1, max_size=2)  # often right


@settings(max_examples=300, deadline=None)
@given(ROWS | NESTED | ARRAYS | st.lists(ARRAYS), ROWS | NESTED | ARRAYS | st.none(), SCALARS | st.none())
def test_whatever_is_given_is_ids_or_one_line(ids, mask, vocab_size):
    for own_mask, size in ((None, None), (mask, None), (None, vocab_size)):
        try:
            found = ids_in_memory(ids, own_mask, size)
        except DataError as error:
            is_right = "\n" not in str(error)
        else:
            tokens = found.sequences.tokens.tolist()
            is_right = 0 <= min(tokens) <= max(tokens) < found.vocab_size
            assert found.sequences.counted().all()
        assert is_right


class Column:
    """As a column of a table: a sequence that becomes an array of objects."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        array = np.empty(len(self.values), object)
        array[:] = self.values
        return array


SAME = [[1, 2, 3], [3, 0, 1]]
FORMS = {
    "big-endian": np.array(SAME, ">u2"),
    "Fortran order": np.asfortranarray(SAME),
    "strides": np.repeat(SAME, 2, axis=1)[:, ::2],
    "objects": np.array(SAME, object),
    "a column": Column(SAME),
    "a column of arrays": Column([*map(np.array, SAME)]),
    "a generator": (row for row in SAME),
    "tuples": tuple(map(tuple, SAME)),
    "bytes": np.frombuffer(b"\1\2\3\3\0\1", np.uint8).reshape(2, 3),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", ["float16", "float32", ">f8", object])
def test_types_of_the_same_weights(dtype):
    weights = [[0, 0.5, 1], [0, 0, 1024]]
    assert ids_in_memory(SAME, np.array(weights, dtype)) == ids_in_memory(SAME, weights)


@pytest.mark.parametrize("ids", FORMS.values(), ids=FORMS)
def test_forms_of_the_same_ids(ids):
    assert ids_in_memory(ids) == ids_in_memory(SAME)


def test_tensors_and_memory_maps(tmp_path):
    np.save(tmp_path / "a.npy", np.array(SAME, np.uint16))
    assert ids_in_memory(np.load(tmp_path / "a.npy", mmap_mode="r")) == ids_in_memory(SAME)
    torch = pytest.importorskip("torch")
    assert ids_in_memory(torch.tensor(SAME), torch.tensor([[True] * 3] * 2)) == ids_in_memory(
        SAME, [[1] * 3] * 2
    )
    assert ids_in_memory([*map(torch.tensor, SAME)]) == ids_in_memory(SAME)
    with pytest.raises(DataError, match="requires grad"):
        ids_in_memory(torch.ones(2, 3, requires_grad=True))


def test_a_model_of_texts_is_not_evaluated_on_ids():
    model = GPT.train(["ab", "ba"], **SETTINGS, steps=1)
    with pytest.raises(DataError, match="expected texts"):
        model.evaluate(ids=[[0, 1]])


@pytest.mark.parametrize("docs", [[[1, 2], [2, 1]], np.array([[1, 2]]), [np.array([1, 2])]], ids=str)
def test_ids_that_are_given_as_documents_are_told_where_they_belong(docs):
    with pytest.raises(DataError, match="pass token ids as ids="):
        GPT.train(docs, **SETTINGS)


def test_a_mask_needs_ids():
    with pytest.raises(UsageError, match="mask: expected ids"):
        GPT.train(["ab"], mask=[[1]], **SETTINGS)


def test_the_tokenizer_writes_ids_as_numbers():
    tokenizer = IdTokenizer(20, "whole")
    assert Tokenizer.from_values(tokenizer.values()) == tokenizer
    assert tokenizer.decode(tokenizer.encode(" 3  17\n4 ")) == "3 17 4"
    for text in ("20", "-1", "1.0", "a", "٣", "9" * 5000):
        with pytest.raises(PrefixError):
            tokenizer.encode(text)
    for values in (
        {"size": 1},
        {"size": 2**30},
        {"size": "3"},
        {"size": 3, "framing": "rows"},
        {"size": 3, "first": 3},
    ):
        with pytest.raises(RunFolderError):
            Tokenizer.from_values({"kind": "ids", "framing": "whole", **values})


def test_samples_without_a_prefix_begin_as_most_of_the_data(tmp_path):
    """With a start token of the data, if they have one; never with padding, which begins no sequence."""
    ids = [[3, 1, 2], [3, 2, 1], [1, 2, 2]]
    model = GPT.train(ids=ids, **SETTINGS, steps=1, out=tmp_path / "run")
    assert all(text.startswith("3 ") for text in model.generate(9))
    assert model.generate(3, seed=1) == model.generate(3, seed=1, prefix="3")
    assert GPT.load(tmp_path / "run").tokenizer == model.tokenizer == IdTokenizer(4, "whole", 3)
    assert model.next("").keys() == model.next("3").keys()
    assert GPT.train(ids=[2, 1, 2, 0] * 9, **SETTINGS, steps=1).tokenizer.first == 2


def test_a_prefix_does_not_straddle_tokens():
    model = GPT.train(ids=[[i, (i + 1) % 20, (i + 2) % 20] for i in range(20)], **SETTINGS, steps=3)
    texts = model.generate(20, prefix="3 1", seed=1, max_new_tokens=1)
    assert all(text.split()[:2] == ["3", "1"] for text in texts)
    stopped = model.generate(20, prefix="3 1", stop="7", seed=1)
    assert all("7" not in text.split()[2:] for text in stopped)


def test_the_card_of_an_average_is_per_token(tmp_path):
    np.save(tmp_path / "a.npy", [[i % 4, (i + 1) % 4, i // 4 % 4] for i in range(40)])
    chosen = {**SETTINGS, "kneser_ney": 2, "val_fraction": 0.2, "steps": 2}
    GPT.train(tmp_path / "a.npy", **chosen, out=tmp_path / "run")
    remarks = export(PortableModel.of_run(RunFolder(tmp_path / "run")), "hf", tmp_path / "hf")
    card = (tmp_path / "hf" / "README.md").read_text()
    assert "bits per token." in remarks[-1]
    assert "| bits per token |" in card
    assert "per character" not in card


@pytest.mark.parametrize("data", [sums(), {"ids": [0, 1, 2] * 9}], ids=["sequences", "stream"])
def test_other_programs(data, tmp_path):
    model = GPT.train(**data, **SETTINGS | {"preset": "gpt2", "n_layer": 1}, steps=1, out=tmp_path / "run")
    portable = PortableModel.of_run(RunFolder(tmp_path / "run"))
    with pytest.raises(UsageError, match="got ids"):
        export(portable, "gguf", tmp_path / "gguf")
    export(portable, "hf", tmp_path / "hf")
    assert '["0 1"]' in (tmp_path / "hf" / "README.md").read_text()
    back = GPT.from_hf(tmp_path / "hf")
    assert back.tokenizer == model.tokenizer
    assert back.config.data.format == model.config.data.format
    assert back.score(["0 1 2"])[0].log_probability == pytest.approx(
        model.score(["0 1 2"])[0].log_probability
    )


def test_the_sequences_of_the_plan_are_slices_of_the_ids():
    plan = plan_of()
    offsets = [0, *np.cumsum([len(row) for row in IDS]).tolist()]
    assert [plan.memory[a:b].tolist() for a, b in pairwise(offsets)] == IDS


def test_truncated_sequences_count_their_mask_once():
    whole = ids_in_memory(IDS, MASK).sequences
    plan = DocumentPlan(whole.truncate(3), 2, "tokens")
    assert plan.flat.counted_before is whole.counted_before


def test_sequences_with_different_masks_are_no_repeats():
    documents = ids_in_memory([[1, 2, 3]] * 4, [[0, 0, 1], [0, 1, 1], [0, 0, 1], [1, 0, 1]])
    assert drop_repeats(documents).mask.tolist() == [0, 0, 1, 0, 1, 1]
    assert len(drop_repeats(ids_in_memory([[1, 2], [1, 2], [2, 1]]))) == 2


def data_config(**changes):
    """As of a training."""
    return DataConfig.of({**section_values(settings_of("microgpt"), "data"), **changes})


def test_a_file_is_read_once(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[1, 2, 3], [3, 0, 1]]))
    data = Data(tmp_path / "a.npy")
    assert data.corpus(data_config(**data.found)) is data.corpus(data_config())


def test_data_with_a_split_of_their_own_are_encoded_once_for_all_seeds(tmp_path):
    np.savez(tmp_path / "a.npz", ids=np.array([[1, 2, 3], [3, 0, 1]]), split=np.array([0, 1]))
    data = Data(tmp_path / "a.npz")
    config = data_config(**data.found)
    assert data.encoded(config, 1) is data.encoded(config, 2)
