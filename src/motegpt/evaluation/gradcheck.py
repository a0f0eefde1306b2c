"""Every gradient before a judge that knows no calculus: central finite differences.

For a parameter w and a small h, (loss(w + h) - loss(w - h)) / 2h differs from d loss / d w by a term of
order h². In double precision with h = 1e-5 what is left is about 1e-9 of the largest gradient.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from motegpt.config.presets import settings_of
from motegpt.config.sections import model_and_training
from motegpt.data.plan import Batch
from motegpt.engines import fresh_engine

if TYPE_CHECKING:
    from motegpt.engines.base import Arrays, Engine

H = 1e-5
TOLERANCE = 1e-6  # of the largest gradient; truncation and rounding leave about 1e-9
SMALLEST = 1e-3  # a largest gradient below this is judged as if it were this
CHECKS_PER_TENSOR = 6  # numbers tried of each matrix
VOCABULARY = 7
LONGEST = 4  # of the sequences that do not fill the block


@dataclass(frozen=True)
class GradientCheck:
    """One matrix of one engine: the largest difference, relative to the largest gradient of all matrices."""

    engine: str
    parameter: str
    error: float

    @property
    def passed(self) -> bool:
        return self.error <= TOLERANCE


def check_engine(name: str, preset: str, shape: dict[str, int], seed: int) -> Iterator[GradientCheck]:
    """Judge every matrix of one engine on a small random problem with ragged sequences.

    The preset decides activation, head and norms. Its clips are off, as a clipped gradient is not the
    derivative, and every matrix starts at random, as a zero one would hide what depends on it.
    """
    settings = {**settings_of(preset), **shape, "zero_init": False, "init_std": 0.3}
    settings |= {"dtype": "float64", "clip_node": None, "clip_value": None, "seed": seed}
    engine = fresh_engine(name, *model_and_training(settings, VOCABULARY))
    chance = random.Random(seed)
    yield from check_gradients(
        engine, engine.export().parameters, random_batch(chance, engine.model.block_size), chance
    )


def check_gradients(
    engine: Engine, w: Arrays, batch: Batch, chance: random.Random
) -> Iterator[GradientCheck]:
    """Compare the engine's gradient at w with finite differences, at a few places of each matrix."""
    engine.load(w)
    _, gradients = engine.gradients(batch)
    largest = max(float(np.abs(gradient).max()) for gradient in gradients.values())
    for name, gradient in gradients.items():
        places = [chance.randrange(gradient.size) for _ in range(CHECKS_PER_TENSOR)]
        differences = [abs(gradient.flat[i] - finite_difference(engine, w, name, i, batch)) for i in places]
        yield GradientCheck(engine.name, name, float(max(differences)) / max(largest, SMALLEST))


def finite_difference(engine: Engine, w: Arrays, name: str, place: int, batch: Batch, h: float = H) -> float:
    """(loss(w + h) - loss(w - h)) / 2h for one number of one matrix; leaves the engine at w - h."""
    losses = []
    for step in (h, -h):
        moved = w[name].copy()
        moved.flat[place] += step
        engine.load({**w, name: moved})
        losses.append(engine.gradients(batch)[0])
    return (losses[0] - losses[1]) / (2.0 * h)


def random_batch(chance: random.Random, block_size: int) -> Batch:
    """Ragged random sequences, the first as long as the model can see."""
    lengths = (block_size, LONGEST, 1, LONGEST - 1)
    sequences = [[chance.randrange(VOCABULARY) for _ in range(n + 1)] for n in lengths]
    return Batch.of(sequences, "documents")
