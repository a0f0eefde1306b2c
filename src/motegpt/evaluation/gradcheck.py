"""Check gradients against central differences.

(loss(w + h) - loss(w - h)) / 2h differs from d loss / d w by O(h²). In double precision with h = 1e-5,
truncation and rounding leave an error of about 1e-9 of the largest gradient.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from motegpt.config.epochs import merge_settings
from motegpt.config.presets import settings_of
from motegpt.config.sections import model_and_training
from motegpt.data.batches import Batch
from motegpt.data.plan import DocumentPlan
from motegpt.engines import fresh_engine
from motegpt.model.spec import tensors
from motegpt.ngrams.contexts import Contexts

if TYPE_CHECKING:
    from motegpt.config.sections import ModelConfig
    from motegpt.engines.base import Arrays, Engine

H, NEAR_H = 1e-5, 1e-7  # NEAR_H: where a kink may be within H
TOLERANCE = 1e-6  # relative to the largest gradient
MIN_SCALE = 1e-3  # lower bound of the gradient that errors are relative to
CHECKS_PER_TENSOR = 6  # randomly chosen elements
VOCAB_SIZE = 7
MIN_BLOCK_SIZE = 4


@dataclass(frozen=True)
class GradientCheck:
    """The maximum error for one tensor, relative to the largest gradient of all tensors."""

    engine: str
    parameter: str
    error: float

    @property
    def passed(self) -> bool:
        return self.error <= TOLERANCE


def check_engine(
    name: str, preset: str, shape: dict[str, Any], seed: int, ngram_orders: int | None = None
) -> Iterator[GradientCheck]:
    """Check all tensors of one engine on a small random batch of ragged sequences.

    Uses the preset's architecture without clipping, as a clipped gradient is not the derivative, and without
    zero initialization, as a zero matrix blocks the gradients of others. shape: its sizes, dropout, and other
    settings of the model; ngram_orders: with an n-gram embedding of all contexts in the batch. See
    `vary_constants`.
    """
    settings = {**merge_settings(settings_of(preset), shape), "zero_init": False, "init_std": 0.3}
    settings |= {"dtype": "float64", "clip_node": None, "clip_value": None, "seed": seed}
    model, train = model_and_training({**settings, "ngram_orders": ngram_orders}, VOCAB_SIZE)
    rng, contexts = random.Random(seed), Contexts()
    batch = random_batch(rng, model.block_size)
    if ngram_orders is not None:
        rows = [[*inputs, 0] for inputs in batch.inputs]
        contexts = Contexts.of_plan(DocumentPlan(rows, 1, "documents"), ngram_orders, min_count=1)
    engine = fresh_engine(name, model.replace(ngram_rows=contexts.sizes), train, contexts)
    w = vary_constants(engine.export().parameters, engine.model, seed)
    yield from check_gradients(engine, w, batch, rng, step=0)


def vary_constants(w: Arrays, model: ModelConfig, seed: int) -> Arrays:
    """Parameters with normal numbers added to gains, biases and others that begin as constants.

    At gains of 1 and biases of 0, a gradient that left them out would be right.
    """
    normal = np.random.default_rng(seed).normal
    constants = [one for one in tensors(model) if one.init.std == 0.0]
    return {**w, **{one.name: w[one.name] + normal(0.0, model.init_std, one.shape) for one in constants}}


def check_gradients(
    engine: Engine, w: Arrays, batch: Batch, rng: random.Random, step: int | None = None
) -> Iterator[GradientCheck]:
    """Compare the engine's gradient at w with finite differences, for a few elements of each tensor.

    step: with the dropout of that step.
    """
    engine.load(w)
    _, gradients = engine.gradients(batch, step)
    largest = max(float(np.abs(gradient).max()) for gradient in gradients.values())
    for name, gradient in gradients.items():
        indices = [rng.randrange(gradient.size) for _ in range(CHECKS_PER_TENSOR)]
        expected = [(i, float(gradient.flat[i])) for i in indices]
        scale = max(largest, MIN_SCALE)
        errors = [_error(engine, w, name, i, value, scale, batch, step) for i, value in expected]
        yield GradientCheck(engine.name, name, max(errors))


def _error(
    engine: Engine,
    w: Arrays,
    name: str,
    i: int,
    gradient: float,
    scale: float,
    batch: Batch,
    step: int | None,
) -> float:
    """The relative error of one element: the lower of two with different h, if the first is too large.

    A kink of the activation between w - h and w + h makes the difference wrong, and is rarely as near as
    NEAR_H; a wrong gradient differs with both.
    """
    error = math.inf
    for h in (H, NEAR_H):
        found = abs(gradient - finite_difference(engine, w, name, i, batch, h, step)) / scale
        error = found if math.isnan(found) else min(error, found)
        if not error > TOLERANCE:
            break
    return error


def finite_difference(
    engine: Engine, w: Arrays, name: str, index: int, batch: Batch, h: float = H, step: int | None = None
) -> float:
    """(loss(w + h) - loss(w - h)) / 2h for an element; leaves the engine at w - h. step: as in `gradients`"""
    losses = []
    for offset in (h, -h):
        perturbed = w[name].copy()
        perturbed.flat[index] += offset
        engine.load({**w, name: perturbed})
        losses.append(engine.gradients(batch, step)[0])
    return (losses[0] - losses[1]) / (2.0 * h)


def random_batch(rng: random.Random, block_size: int) -> Batch:
    """Ragged random sequences, the first as long as the block."""
    lengths = (block_size, MIN_BLOCK_SIZE, 1, MIN_BLOCK_SIZE - 1)
    sequences = [[rng.randrange(VOCAB_SIZE) for _ in range(n + 1)] for n in lengths]
    return Batch.of(sequences, "documents")
