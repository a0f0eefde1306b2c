"""Check gradients against central differences.

(loss(w + h) - loss(w - h)) / 2h differs from d loss / d w by O(h²). In double precision with h = 1e-5,
truncation and rounding leave an error of about 1e-9 of the largest gradient.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from motegpt.config.presets import settings_of
from motegpt.config.sections import model_and_training
from motegpt.data.plan import Batch
from motegpt.engines import fresh_engine

if TYPE_CHECKING:
    from motegpt.engines.base import Arrays, Engine

H = 1e-5
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


def check_engine(name: str, preset: str, shape: dict[str, Any], seed: int) -> Iterator[GradientCheck]:
    """Check all tensors of one engine on a small random batch of ragged sequences.

    Uses the preset's architecture without clipping, as a clipped gradient is not the derivative, and without
    zero initialization, as a zero matrix blocks the gradients of others. shape: its sizes, and dropout.
    """
    settings = {**settings_of(preset), **shape, "zero_init": False, "init_std": 0.3}
    settings |= {"dtype": "float64", "clip_node": None, "clip_value": None, "seed": seed}
    engine = fresh_engine(name, *model_and_training(settings, VOCAB_SIZE))
    rng = random.Random(seed)
    batch = random_batch(rng, engine.model.block_size)
    yield from check_gradients(engine, engine.export().parameters, batch, rng, step=0)


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
        errors = [
            abs(gradient.flat[i] - finite_difference(engine, w, name, i, batch, step=step)) for i in indices
        ]
        yield GradientCheck(engine.name, name, float(max(errors)) / max(largest, MIN_SCALE))


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
