"""Dropout masks, and runs with dropout and epochs that are reshuffled."""

from __future__ import annotations

import numpy as np
import pytest

from motegpt import GPT
from motegpt.config.sections import DataConfig, TrainConfig
from motegpt.data.plan import DocumentPlan
from motegpt.model.dropout import mask_hash, mask_key, threshold
from motegpt.training.begin import begin
from motegpt.training.run_folder import RunFolder
from tests.conftest import ENGINES_HERE, random_sequences, small_engine, small_settings

NAMES = ["anna", "hanna", "nana", "ann", "han"]
SMALL = {"n_embd": 4, "n_head": 2, "block_size": 6, "steps": 9, "batch_size": 2, "log_every": 2, "n": 1}


def test_masks_of_arrays_are_those_of_ints():
    documents, indices = np.arange(3, dtype=np.uint64), np.arange(5, dtype=np.uint64)
    hashes = mask_hash(mask_key(7, 2, 1, documents)[:, None], indices)
    assert hashes.tolist() == [[mask_hash(mask_key(7, 2, 1, b), i) for i in range(5)] for b in range(3)]


def test_a_worked_example():
    """The numbers of cpp/tests/test_kernels.cpp."""
    key = mask_key(7, 2, 1, 3)
    assert (key, mask_hash(key, 5)) == (0x8E6A5EB5, 0xAEC45D68)


def test_a_threshold_has_32_bits():
    assert [threshold(p) for p in (0.0, 0.5, 1 - 2**-53)] == [0, 2**31, 2**32 - 1]


@pytest.mark.parametrize("probability", [0.1, 0.5])
def test_the_share_of_dropped_numbers_is_the_probability(probability):
    hashes = mask_hash(mask_key(1, 0, 0, 0), np.arange(100_000, dtype=np.uint64))
    assert abs((hashes < threshold(probability)).mean() - probability) < 0.005


def test_masks_differ_between_seeds_steps_sites_documents_and_indices():
    at = (1, 2, 3, 4, 5)
    hashes = {mask_hash(mask_key(*place[:4]), place[4]) for place in [at, *changed(at)]}
    assert len(hashes) == 6


def changed(place):
    """The place with one number larger, for each of them."""
    return [tuple(n + (i == one) for i, n in enumerate(place)) for one in range(len(place))]


@pytest.mark.parametrize("name", ENGINES_HERE)
def test_a_run_resumes_as_if_never_stopped(name, tmp_path):
    """Stopped in an epoch and at the end of one; the fourth epoch is the last."""
    chosen = {**SMALL, "dropout": 0.2, "reshuffle": True}
    whole = GPT.train(NAMES, engine=name, **chosen, preset="microgpt")
    trainer, *_ = begin(NAMES, chosen, preset="microgpt", engine=name, out=tmp_path / "run")
    list(trainer.run(until=4))
    trainer, *_ = begin(NAMES, {}, resumed=tmp_path / "run")
    list(trainer.run(until=5))
    resumed = GPT.train(NAMES, resume=tmp_path / "run")
    kept = [record for record in whole.records if record.step > 5]
    assert [(one.step, one.loss, one.tokens) for one in resumed.records] == [
        (one.step, one.loss, one.tokens) for one in kept
    ]
    for one, other in zip(
        *(model.engine.export().parameters.values() for model in (whole, resumed)), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_a_run_goes_from_engine_to_engine_with_its_masks():
    chosen = small_settings(dropout=0.3, batch_size=2)
    plan = DocumentPlan(random_sequences(5, 3, 6), 2, "documents", seed=4)
    expected = small_engine("scalar", chosen).train(plan, 0, 2 * len(ENGINES_HERE))
    engine = small_engine("scalar", chosen)
    for i, name in enumerate(ENGINES_HERE):
        state, engine = engine.export(), small_engine(name, chosen)
        engine.load(state)
        losses = engine.train(plan, 2 * i, 2)
        assert losses == pytest.approx(expected[2 * i : 2 * i + 2], abs=1e-12)


def test_old_runs_have_neither(tmp_path):
    GPT.train(NAMES, engine="array", **SMALL, preset="microgpt").save(tmp_path / "run")
    config = RunFolder(tmp_path / "run").config()
    data, train = config.data.values(), config.train.values()
    assert (data.pop("reshuffle"), train.pop("dropout")) == (False, 0.0)
    assert (DataConfig.of(data), TrainConfig.of(train)) == (config.data, config.train)
