"""Copies and pickles of models, and use by several threads and processes."""

import copy
import multiprocessing
import pickle
import pickletools
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest

from motegpt import GPT
from motegpt.model.spec import tensors
from tests.conftest import ENGINES_HERE, model_and_training, small_settings

WORDS = ["anna", "hanna", "nan", "hana", "ann"]
QUICK = {"steps": 3, "n": 4, "seed": 1}


@pytest.fixture(scope="module", params=ENGINES_HERE)
def model(request):
    return GPT.train(WORDS, engine=request.param, val_fraction=0.3, **QUICK, preset="microgpt")


def check_same(other, model):
    assert other.config == model.config
    assert other.tokenizer == model.tokenizer
    assert other.records == model.records
    assert other.generate(5, seed=1) == model.generate(5, seed=1)
    assert other.score(WORDS) == model.score(WORDS)
    for name, array in model.engine.export().parameters.items():
        np.testing.assert_array_equal(other.engine.export().parameters[name], array)


@pytest.mark.parametrize("copied", [
    copy.deepcopy, copy.copy, *(lambda model, n=n: pickle.loads(pickle.dumps(model, n)) for n in (2, 4, 5)),
])  # fmt: skip
def test_a_copy_equals_the_model(model, copied):
    other = copied(model)
    check_same(other, model)
    check_same(copied(other), model)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_copy_of_settings_is_its_fields(copied):
    """Another version may keep other things beside them."""
    section, _ = model_and_training(small_settings(), 6)
    assert tensors(section)
    other = copied(section)
    assert other == section
    assert vars(other).keys() == section.values().keys()


def test_a_copy_is_independent(model):
    other = copy.deepcopy(model)
    other.engine.load({name: array * 0 for name, array in other.engine.export().parameters.items()})
    assert other.generate(9, seed=1) != model.generate(9, seed=1)


def test_a_pickle_holds_no_documents_and_no_training_state(model):
    secret = "zzyzx" * 20
    trained = GPT.train(
        [secret, *WORDS], engine=model.config.engine, block_size=16, **QUICK, preset="microgpt"
    )
    data = pickle.dumps(trained)
    assert b"zzyzx" not in data
    words = {str(argument) for _, argument, _ in pickletools.genops(data)}
    assert "StepRecord" in words
    assert not words & {"Trainer", "Training", "DocumentPlan"}
    other = pickle.loads(data)
    assert other.generate(3, seed=1) == trained.generate(3, seed=1)


def test_a_copy_can_be_saved_but_not_resumed(model, tmp_path):
    copy.deepcopy(model).save(tmp_path / "run")
    assert GPT.load(tmp_path / "run").generate(5, seed=1) == model.generate(5, seed=1)
    assert not (tmp_path / "run" / "trainer.safetensors").exists()


class Named(GPT):
    """A subclass with an attribute."""

    name = "none"


def test_a_copy_keeps_the_class_and_attributes_of_a_subclass():
    named = Named.train(WORDS, preset="microgpt", engine="array", **QUICK)
    named.name = "mine"
    other = pickle.loads(pickle.dumps(named))
    assert (type(other), other.name) == (Named, "mine")
    assert other.generate(2, seed=1) == named.generate(2, seed=1)


def generate(model, seed):
    return model.generate(3, seed=seed)


@pytest.mark.slow
def test_in_other_processes():
    model = GPT.train(WORDS, **QUICK, preset="microgpt")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        texts = list(pool.map(generate, [model] * 4, range(4)))
    assert texts == [model.generate(3, seed=seed) for seed in range(4)]


@pytest.mark.slow
def test_concurrent_calls_return_the_same_as_sequential_calls(model):
    sequential = [model.generate(20, seed=seed) for seed in range(8)]
    scores, evaluation = model.score(WORDS), model.evaluate(WORDS)
    with ThreadPoolExecutor(8) as pool:
        generated = [pool.submit(model.generate, 20, seed=seed) for seed in range(8)]
        scored = [pool.submit(model.score, WORDS) for _ in range(4)]
        evaluated = [pool.submit(model.evaluate, WORDS) for _ in range(2)]
        copied = pool.submit(pickle.dumps, model)
        assert [one.result() for one in generated] == sequential
        assert all(one.result() == scores for one in scored)
        assert all(one.result() == evaluation for one in evaluated)
        assert pickle.loads(copied.result()).generate(20, seed=0) == sequential[0]


def test_one_thread_at_a_time_uses_the_engine(model, monkeypatch):
    """Concurrent calls would overwrite each other's cache in the engine."""
    active, counts = [], []
    nll = type(model.engine).nll

    def watched(engine, chunk):
        active.append(1)
        counts.append(len(active))
        threading.Event().wait(0.01)
        result = nll(engine, chunk)
        active.pop()
        return result

    monkeypatch.setattr(type(model.engine), "nll", watched)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(model.score, [WORDS] * 8))
    assert max(counts) == 1


def test_a_suspended_generator_does_not_block_other_threads(model):
    groups = model.samples(40, seed=1)
    first = [next(groups), next(groups)]
    other = threading.Thread(target=model.generate, args=(5,), daemon=True)
    other.start()
    other.join(timeout=30)
    assert not other.is_alive()
    assert model.generate(5, seed=2) == copy.deepcopy(model).generate(5, seed=2)
    assert [text for group in [*first, *groups] for text in group] == model.generate(40, seed=1)
