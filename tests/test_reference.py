"""The three reference systems: their losses and their samples."""

from typing import Any

import pytest

from motegpt.corpus import read_corpus
from motegpt.presets import settings_of
from motegpt.train import Trainer, prepare
from tests import independent
from tests.conftest import ENGINES_HERE

FAST = [name for name in ENGINES_HERE if name != "scalar"]


def trained(
    path, engine: str, preset: str, until: int | None = None, **changes: Any
) -> tuple[list[float], list, Trainer]:
    """The losses and the samples of a run of a preset."""
    trainer = prepare(read_corpus(path), {**settings_of(preset), **changes}, engine)
    chunks = list(trainer.run(until))
    losses = [loss for chunk in chunks for loss in chunk.losses]
    return losses, [chunk.samples for chunk in chunks if chunk.samples], trainer


def test_microgpt_scalar_reproduces_50_losses(names_txt, microgpt_reference):
    losses, _, _ = trained(names_txt, "scalar", "microgpt", until=50)
    assert losses == pytest.approx(microgpt_reference["losses"][:50], abs=1e-9)


@pytest.mark.parametrize("engine", FAST)
def test_microgpt_reproduces_1000_losses_and_20_samples(engine, names_txt, microgpt_reference):
    losses, samples, _ = trained(names_txt, engine, "microgpt", dtype="float64")
    assert losses == pytest.approx(microgpt_reference["losses"], abs=1e-9)
    assert samples == [microgpt_reference["samples"]]


@pytest.mark.parametrize("engine", FAST)
def test_zeroclaw_single_precision_reproduces_60_losses_and_the_first_samples(engine, zeroclaw_reference):
    losses, samples, _ = trained(None, engine, "zeroclaw", until=60, dtype="float32")
    assert losses == pytest.approx(zeroclaw_reference["losses_first_100_steps"][:60], abs=1e-3)
    assert samples[0] == zeroclaw_reference["printed_table"][0]["samples"]


@pytest.mark.parametrize("engine", FAST)
def test_zeroclaw_double_precision_reproduces_100_losses(engine, zeroclaw_reference):
    losses, _, _ = trained(None, engine, "zeroclaw", until=100, dtype="float64")
    assert losses == pytest.approx(zeroclaw_reference["losses_first_100_steps"], abs=3e-5)


@pytest.mark.parametrize("engine", [name for name in FAST if name != "torch"])  # its 5,000 steps take long
def test_zeroclaw_learns_its_names(engine):
    losses, samples, trainer = trained(None, engine, "zeroclaw")
    assert sum(losses[-98:]) / 98 < 1.1
    assert len(losses) == 5000
    assert len(samples) == len(range(0, 5000, 500)) + 1
    assert trainer.config.source.documents == 98


@pytest.mark.parametrize("engine", FAST)
def test_oxidized_is_deterministic_and_engines_agree(engine):
    scalar, _, _ = trained(None, "scalar", "oxidized", until=20, batch_size=2)
    once, _, _ = trained(None, engine, "oxidized", until=20, batch_size=2)
    again, _, _ = trained(None, engine, "oxidized", until=20, batch_size=2)
    other, _, _ = trained(None, engine, "oxidized", until=20, batch_size=2, seed=43)
    assert once == pytest.approx(scalar, abs=1e-9)
    assert once == again != other


def test_the_independent_microgpt_is_the_original(names_txt, microgpt_reference):
    documents = read_corpus(names_txt).documents
    assert independent.losses(documents, 1000, 8) == pytest.approx(microgpt_reference["losses"][:8], abs=1e-9)


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 7},
        {"n_layer": 3},
        {"n_embd": 12, "n_head": 3},
        {"n_head": 1, "block_size": 5},
        {"batch_size": 4},
    ],
    ids=str,
)
def test_microgpt_of_other_shapes_and_seeds(changes):
    expected = independent.losses(read_corpus(None).documents, 1000, 4, **changes)
    for engine in ENGINES_HERE:
        losses, _, _ = trained(None, engine, "microgpt", until=4, **changes)
        assert losses == pytest.approx(expected, abs=1e-9), engine
