"""Engines for inference: parameters where they are, no gradients and slots until they are asked to train."""

import subprocess
import sys

import numpy as np
import pytest

from motegpt import GPT
from motegpt.data.batches import Batch
from motegpt.data.plan import DocumentPlan
from motegpt.engines import make_engine
from motegpt.model.rng import make_rng
from motegpt.model.spec import flat_view, initialize, named_views, parameter_count
from motegpt.training.tensor_files import read_tensors, tensor_bytes
from tests.conftest import model_and_training, small_settings

SEQUENCES = [[5, 1, 2, 3, 5], [5, 4, 5]]
ENGINES = ("scalar", "array", "native", "torch")


def model_of(**changes):
    return model_and_training(small_settings(**changes), 6)


def arrays_of(model, dtype="float64"):
    """Views of one flat array, as those of a file."""
    values = initialize(model, make_rng("python", 1))
    flat = np.concatenate([np.asarray(values[name], dtype) for name in values])
    flat.flags.writeable = False
    return named_views(flat, model)


def pair(name, model, train):
    """An engine for inference, and one for training, with equal parameters."""
    engines = [make_engine(name, model, train, inference=inference) for inference in (True, False)]
    for engine in engines:
        engine.load(arrays_of(model))
    return engines


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("changes", [{}, {"n_layer": 2, "tied": True, "position": "rope", "qk_norm": True}])
def test_it_computes_what_an_engine_for_training_does(name, changes):
    model, train = model_of(**changes)
    inferring, training = pair(name, model, train)
    batch = Batch.of(SEQUENCES, "tokens")
    for logits, expected in zip(inferring.logits(batch), training.logits(batch), strict=True):
        np.testing.assert_array_equal(logits, expected)
    decoders = [engine.decoder(2) for engine in (inferring, training)]
    for ids in ([5, 5], [1, 2]):
        np.testing.assert_array_equal(*(np.array(decoder.feed(ids)) for decoder in decoders))
    for name_, array in training.parameters().items():
        np.testing.assert_array_equal(inferring.parameters()[name_], array)


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("first", ["train", "gradients", "export", "load"])
def test_it_trains_when_it_is_asked_to(name, first):
    model, train = model_of(steps=4)
    arrays = arrays_of(model)
    before = {key: array.copy() for key, array in arrays.items()}
    inferring, training = (make_engine(name, model, train, inference=given) for given in (True, False))
    plan, batch = DocumentPlan(SEQUENCES, 2, "tokens"), Batch.of(SEQUENCES, "tokens")
    for engine in (inferring, training):
        engine.load(arrays)
        engine.logits(batch)
        decoder = engine.decoder(1)
        if first == "gradients":
            engine.gradients(batch)
        if first == "load":
            engine.load(engine.export())
        if first == "export":
            engine.export()
        engine.train(plan, 0, 3)
        decoder.feed([1])  # of the parameters before
    for part in ("parameters", "slots"):
        found, expected = (getattr(engine.export(), part) for engine in (inferring, training))
        for key in expected:
            for one, other in zip(*(np.atleast_1d(x[key]) if part == "parameters" else x[key].values()
                                    for x in (found, expected)), strict=True):  # fmt: skip
                np.testing.assert_array_equal(one, other)
    for key, array in arrays.items():
        np.testing.assert_array_equal(array, before[key])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_sequence_has_the_bits_of_many(dtype):
    """The native engine multiplies the vector of a single sequence by a kernel of its own."""
    settings = {"n_layer": 2, "n_embd": 24, "n_head": 4, "block_size": 12, "dtype": dtype}
    model, train = model_of(**settings)
    engine = make_engine("native", model, train, inference=True)
    engine.load(arrays_of(model, dtype))
    one, many = engine.decoder(1), engine.decoder(3)
    for token in (5, 1, 2, 4, 3):
        np.testing.assert_array_equal(one.feed([token])[0], many.feed([token, 0, 1])[0])


def test_a_sequence_has_the_same_bits_on_any_number_of_threads():
    """Wide enough that threads share the rows of every matrix, whose number is no multiple of theirs."""
    pytest.importorskip("motegpt.engines.native._core")
    settings = small_settings(n_embd=500, n_head=4, block_size=4, dtype="float32", init_std=0.05, bias=True)
    found = []
    for threads in (1, 2, 3):
        model, train = model_and_training({**settings, "threads": threads}, 300)
        engine = make_engine("native", model, train, inference=True)
        engine.load(initialize(model, make_rng("python", 1)))
        decoder = engine.decoder(1)
        found.append([np.array(decoder.feed([token])).tolist() for token in (1, 299, 7)])
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("name", ["array", "native"])
def test_arrays_of_its_dtype_are_not_copied(name):
    model, train = model_of()
    engine, arrays = make_engine(name, model, train, inference=True), arrays_of(model)
    engine.load(arrays)
    for key, array in engine.parameters().items():
        assert np.shares_memory(array, arrays[key])
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    engine.load(arrays_of(model, "float32"))
    assert engine.parameters()["wte"].dtype == np.float64


@pytest.mark.parametrize("name", ["array", "native"])
def test_arrays_that_can_be_written_to_are_copied(name):
    model, train = model_of()
    arrays = named_views(np.concatenate([one.ravel() for one in arrays_of(model).values()]), model)
    engine = make_engine(name, model, train, inference=True)
    engine.load(arrays)
    before = engine.parameters()["wte"].copy()
    arrays["wte"][...] = 7
    assert (engine.parameters()["wte"] == before).all()


def test_flat_views():
    model, _ = model_of(n_layer=2)
    flat = np.arange(parameter_count(model), dtype=np.float32)
    views = named_views(flat, model)
    assert np.shares_memory(flat_view(views, model, "float32"), flat)
    assert (flat_view(views, model, "float32") == flat).all()
    assert flat_view(views, model, "float64") is None
    assert flat_view({**views, "wte": views["wte"].copy()}, model, "float32") is None
    assert flat_view({**views, "wte": views["wte"] * 1}, model, "float32") is None
    swapped = {**views, "layer0.attn_wq": views["layer1.attn_wq"], "layer1.attn_wq": views["layer0.attn_wq"]}
    assert flat_view(swapped, model, "float32") is None
    assert flat_view({name: view.tolist() for name, view in views.items()}, model, "float32") is None


def test_a_file_of_parameters_is_one_flat_array(tmp_path):
    model, _ = model_of(n_layer=2)
    arrays = arrays_of(model, "float32")
    (tmp_path / "x.safetensors").write_bytes(tensor_bytes(arrays, {}))
    shapes = {name: array.shape for name, array in arrays.items()}
    found, _ = read_tensors(tmp_path / "x.safetensors", shapes, lambda _: None)
    flat = flat_view(found, model, "float32")
    assert flat is not None
    assert all(np.shares_memory(flat, array) for array in found.values())


MEASURE = """
import sys, tracemalloc
from motegpt import GPT
GPT.load(sys.argv[1], sys.argv[2])
tracemalloc.start()
model = GPT.load(sys.argv[1], sys.argv[2])
model.engine.decoder(1).feed([1])
print(tracemalloc.get_traced_memory()[1])
"""


@pytest.mark.parametrize("ending", ["", ".motegpt"])
@pytest.mark.parametrize("engine", ["array", "native"])
def test_loading_takes_no_memory_for_gradients_and_slots(engine, ending, tmp_path):
    """The contents of the file, zeros that are never touched, and little else."""
    settings = {"n_embd": 256, "n_layer": 2, "block_size": 8, "dtype": "float32"}
    model = GPT.train(["anna", "bob"], preset="microgpt", steps=1, engine="array", **settings)
    run = tmp_path / f"run{ending}"
    model.save(run)
    words = [sys.executable, "-c", MEASURE, str(run), engine]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    size = 4 * parameter_count(model.config.model)
    assert int(done.stdout) < 2.6 * size + 2**20
