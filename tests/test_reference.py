"""The three reference systems: their losses and their samples."""

from typing import Any

import pytest

from motegpt.config.presets import settings_of
from motegpt.data.corpus import read_corpus
from motegpt.engines import default_engine, make_engine
from motegpt.engines.scalar.model import FUSED, empty_cache, forward_token
from motegpt.generation.filters import Filters, sample_token
from motegpt.training.build import prepare
from motegpt.training.loop import Trainer
from tests import independent
from tests.conftest import ENGINES_HERE, reference_run

DEFAULT = default_engine()
FAST = [name for name in ENGINES_HERE if name != "scalar"]
SLOW = ("scalar", "torch")
A_RUN_OF_EACH = [pytest.param(e, marks=pytest.mark.slow) if e in SLOW else e for e in ENGINES_HERE]


def trained(
    path, engine: str, preset: str, until: int | None = None, **changes: Any
) -> tuple[list[float], list, Trainer]:
    """The losses and the samples of a run of a preset."""
    trainer = prepare(read_corpus(path), {**settings_of(preset), **changes}, engine)
    chunks = list(trainer.run(until))
    losses = [loss for chunk in chunks for loss in chunk.losses]
    return losses, [chunk.samples for chunk in chunks if chunk.samples], trainer


@pytest.mark.slow
def test_microgpt_scalar_reproduces_50_losses(names_txt, microgpt_reference):
    losses, _, _ = trained(names_txt, "scalar", "microgpt", until=50)
    assert losses == pytest.approx(microgpt_reference["losses"][:50], abs=1e-9)


@pytest.mark.parametrize("engine", A_RUN_OF_EACH[1:])
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


@pytest.mark.slow
@pytest.mark.parametrize("engine", [name for name in FAST if name != "torch"])  # its 5,000 steps take long
def test_zeroclaw_learns_its_names(engine):
    losses, samples, trainer = trained(None, engine, "zeroclaw")
    assert sum(losses[-98:]) / 98 < 1.1
    assert len(losses) == 5000
    assert len(samples) == len(range(0, 5000, 500)) + 1
    assert trainer.config.source.documents == 98


OXIDIZED_PRINTED = """\
step    1 / 1000 | loss 3.3057
step  100 / 1000 | loss 1.9333
step  200 / 1000 | loss 2.3840
step  300 / 1000 | loss 3.1924
step  400 / 1000 | loss 2.0515
step  500 / 1000 | loss 2.1795
step  600 / 1000 | loss 2.8178
step  700 / 1000 | loss 2.8253
step  800 / 1000 | loss 2.6771
step  900 / 1000 | loss 2.9577
step 1000 / 1000 | loss 2.7220
"""


@pytest.mark.parametrize("engine", A_RUN_OF_EACH)
def test_oxidized_prints_what_its_document_prints(engine, names_txt, motegpt):
    """All lines; of the scalar engine, which is slow, the first three."""
    steps, lines = (200, 3) if engine == "scalar" else (1000, 11)
    ended = motegpt("train", names_txt, "--preset", "oxidized", "--engine", engine, "--until", str(steps))
    assert "".join(OXIDIZED_PRINTED.splitlines(keepends=True)[:lines]) in ended.out


@pytest.mark.parametrize("engine", A_RUN_OF_EACH[1:])
def test_oxidized_reproduces_1000_losses(engine, names_txt):
    losses, _, _ = trained(names_txt, engine, "oxidized", dtype="float64")
    assert losses == pytest.approx(reference_run("oxidized")["losses"], abs=1e-6)


def test_oxidized_reproduces_20_samples_where_the_cache_is_dropped_as_its_program_does(names_txt):
    """After positions 0, 4, 8 and 12 later tokens see only what came after; `motegpt` keeps its cache."""
    _, _, trainer = trained(names_txt, DEFAULT, "oxidized", until=999)
    trainer.engine.train(trainer.plan, 999, 1)  # the last step, without the samples that follow it
    scalar = make_engine("scalar", trainer.config.model, trainer.config.train)
    scalar.load(trainer.engine.export().parameters)

    def sample():
        cache, ids = empty_cache(scalar.model), [trainer.tokenizer.bos]
        for at in range(scalar.model.block_size):
            logits = [node.data for node in forward_token(ids[-1], at, scalar.w, cache, scalar.model, FUSED)]
            ids.append(sample_token(logits, Filters(trainer.config.sample.temperature), trainer.rng))
            if ids[-1] == trainer.tokenizer.stop:
                return trainer.tokenizer.decode(ids[1:-1])
            if at % 4 == 0:
                cache = empty_cache(scalar.model)
        return trainer.tokenizer.decode(ids[1:])

    assert [sample() for _ in range(20)] == reference_run("oxidized")["samples"]


@pytest.mark.slow
def test_the_independent_microgpt_is_the_original(names_txt, microgpt_reference):
    documents = read_corpus(names_txt).documents
    assert independent.losses(documents, 1000, 8) == pytest.approx(microgpt_reference["losses"][:8], abs=1e-9)


@pytest.mark.slow
def test_the_independent_oxidized_is_the_original(names_txt):
    documents = read_corpus(names_txt).documents
    expected = reference_run("oxidized")["losses"][:8]
    assert independent.oxidized_losses(documents, 1000, 8) == pytest.approx(expected, abs=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 7},
        {"n_layer": 2},
        {"n_embd": 12, "n_head": 3},
        {"n_head": 1, "block_size": 5},
        {"batch_size": 2},
    ],
    ids=str,
)
def test_microgpt_of_other_shapes_and_seeds(changes):
    """Losses of the first weights, after a step, and after one with averages of two gradients."""
    expected = independent.losses(read_corpus(None).documents, 1000, 3, **changes)
    for engine in ENGINES_HERE:
        losses, _, _ = trained(None, engine, "microgpt", until=3, **changes)
        assert losses == pytest.approx(expected, abs=1e-9), engine


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 2**63 + 7},
        {"n_layer": 2},
        {"n_embd": 12, "n_head": 3},
        {"n_head": 1, "block_size": 5},
        {"clip_node": 0.02, "clip_value": 0.003, "n_head": 2},
    ],
    ids=str,
)
def test_oxidized_of_other_shapes_and_seeds(changes):
    expected = independent.oxidized_losses(read_corpus(None).documents, 1000, 3, **changes)
    for engine in ENGINES_HERE:
        losses, _, _ = trained(None, engine, "oxidized", until=3, dtype="float64", **changes)
        assert losses == pytest.approx(expected, abs=1e-9), engine
