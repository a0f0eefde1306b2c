"""Models in other processes, in caches and in several threads: the same texts, one at a time."""

import copy
import multiprocessing
import pickle
import pickletools
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest

from motegpt import GPT
from tests.conftest import ENGINES_HERE

WORDS = ["anna", "hanna", "nan", "hana", "ann"]
QUICK = {"steps": 3, "n": 4, "seed": 1}


@pytest.fixture(scope="module", params=ENGINES_HERE)
def model(request):
    return GPT.train(WORDS, engine=request.param, val_fraction=0.3, **QUICK)


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
def test_a_copy_is_the_model(model, copied):
    other = copied(model)
    check_same(other, model)
    check_same(copied(other), model)


def test_a_copy_goes_its_own_way(model):
    other = copy.deepcopy(model)
    other.engine.load({name: array * 0 for name, array in other.engine.export().parameters.items()})
    assert other.generate(9, seed=1) != model.generate(9, seed=1)


def test_a_pickle_holds_what_is_saved_and_no_documents(model):
    secret = "zzyzx" * 20
    trained = GPT.train([secret, *WORDS], engine=model.config.engine, block_size=16, **QUICK)
    data = pickle.dumps(trained)
    assert b"zzyzx" not in data
    words = {str(argument) for _, argument, _ in pickletools.genops(data)}
    assert "StepRecord" in words
    assert not words & {"Trainer", "Training", "DocumentPlan"}
    other = pickle.loads(data)
    assert other.generate(3, seed=1) == trained.generate(3, seed=1)


def test_a_copy_saves_as_a_loaded_model_does(model, tmp_path):
    copy.deepcopy(model).save(tmp_path / "run")
    check_same_texts = GPT.load(tmp_path / "run").generate(5, seed=1)
    assert check_same_texts == model.generate(5, seed=1)
    assert not (tmp_path / "run" / "trainer.safetensors").exists()


class Named(GPT):
    """A subclass with something of its own."""

    name = "none"


def test_a_subclass_keeps_what_is_its_own():
    named = Named.train(WORDS, engine="array", **QUICK)
    named.name = "mine"
    other = pickle.loads(pickle.dumps(named))
    assert (type(other), other.name) == (Named, "mine")
    assert other.generate(2, seed=1) == named.generate(2, seed=1)


def texts_of(model, seed):
    return model.generate(3, seed=seed)


@pytest.mark.slow
def test_in_other_processes():
    model = GPT.train(WORDS, **QUICK)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        drawn = list(pool.map(texts_of, [model] * 4, range(4)))
    assert drawn == [model.generate(3, seed=seed) for seed in range(4)]


@pytest.mark.slow
def test_several_threads_get_what_one_gets(model):
    alone = [model.generate(20, seed=seed) for seed in range(8)]
    scores, found = model.score(WORDS), model.evaluate(WORDS)
    with ThreadPoolExecutor(8) as pool:
        drawn = [pool.submit(model.generate, 20, seed=seed) for seed in range(8)]
        scored = [pool.submit(model.score, WORDS) for _ in range(4)]
        judged = [pool.submit(model.evaluate, WORDS) for _ in range(2)]
        copied = pool.submit(pickle.dumps, model)
        assert [one.result() for one in drawn] == alone
        assert all(one.result() == scores for one in scored)
        assert all(one.result() == found for one in judged)
        assert pickle.loads(copied.result()).generate(20, seed=0) == alone[0]


def test_one_thread_is_at_work_at_a_time(model, monkeypatch):
    """Two calls that meet in the engine would each see the other's."""
    working, most = [], []
    logits = type(model.engine).logits

    def watched(engine, batch):
        working.append(1)
        most.append(len(working))
        threading.Event().wait(0.01)
        found = logits(engine, batch)
        working.pop()
        return found

    monkeypatch.setattr(type(model.engine), "logits", watched)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(model.score, [WORDS] * 8))
    assert max(most) == 1


def test_groups_that_are_taken_half_way_hold_nobody_up(model):
    groups = model.samples(40, seed=1)
    first = [next(groups), next(groups)]
    other = threading.Thread(target=model.generate, args=(5,), daemon=True)
    other.start()
    other.join(timeout=30)
    assert not other.is_alive()
    assert model.generate(5, seed=2) == copy.deepcopy(model).generate(5, seed=2)
    assert [text for group in [*first, *groups] for text in group] == model.generate(40, seed=1)
