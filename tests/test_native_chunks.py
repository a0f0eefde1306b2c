"""However a training is cut into chunks, and whatever is asked of the core in between: the same bytes.

And the same training as the array engine's, to what rounding leaves. Over random shapes on either side of
every vector width, at every processor level, in both precisions, with one thread and with two to share steps.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motegpt.data.batches import Batch
from motegpt.data.plan import DocumentPlan
from motegpt.engines import why_unavailable
from motegpt.optim import OPTIMIZERS
from tests.conftest import OF_OXIDIZED, random_sequences, small_engine, small_settings
from tests.test_native import level_names, native

pytestmark = pytest.mark.skipif(
    why_unavailable("native") is not None, reason="the core was not built: no compiler was found"
)

STEPS = 8
SHARED = {"n_layer": 2, "block_size": 40, "batch_size": 8}  # enough work for a second thread
AMPLIFIED = 100  # another order of sums moves a loss by so many times what an ulp of every weight moves it
LOSS_ULPS = 8  # what rounds off a loss itself, a sum of a hundred terms
INITIAL = [0.08, 0.3]  # init_std. Far above, 1 - p of a certain model has no digits left, in either engine


@dataclass(frozen=True)
class Problem:
    """Settings, a level and a number of threads; cuts: where chunks end; between: what is done there."""

    chosen: dict[str, Any]
    level: str
    threads: int
    cuts: frozenset[int]
    between: tuple[str, ...]

    @property
    def plan(self) -> DocumentPlan:
        """Sequences of growing length, so that memory is carved anew on the way."""
        sequences = random_sequences(
            self.chosen["seed"], STEPS * self.chosen["batch_size"], self.chosen["block_size"]
        )
        sequences.sort(key=len)
        return DocumentPlan(sequences, self.chosen["batch_size"], self.chosen["loss_mean"])

    def engine(self, **changes: Any):
        return native({**self.chosen, **changes}, self.level, threads=self.threads)


@st.composite
def problems(draw, initial):
    width = draw(st.sampled_from([1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 23, 24, 25, 31, 32, 33, 48, 65]))
    threads = draw(st.sampled_from([1, 2]))
    if threads == 2:
        width = max(width, 15)
    chosen = {
        "n_layer": draw(st.integers(1, 2)),
        "n_embd": width,
        "n_head": draw(st.sampled_from([h for h in (1, 2, 3, 4, 8, width) if width % h == 0])),
        "block_size": draw(st.integers(2, 18)),
        "batch_size": draw(st.sampled_from([1, 1, 2, 3])),
        **(SHARED if threads == 2 else {}),
        "tied": draw(st.booleans()),
        "embedding_norm": draw(st.booleans()),
        "activation": draw(st.sampled_from(["relu", "squared_relu"])),
        "position": draw(st.sampled_from(["learned", "rope"])),
        "qk_norm": draw(st.booleans()),
        "loss_mean": draw(st.sampled_from(["documents", "tokens"])),
        "seed": draw(st.integers(0, 2**32)),
        "dtype": draw(st.sampled_from(["float32", "float64"])),
        "init_std": draw(st.sampled_from(initial)),
        "clip_norm": draw(st.sampled_from([0.01, 0.1, None])),
        "clip_value": draw(st.sampled_from([None, None, 0.02])),
        "clip_node": draw(st.sampled_from([None, None, 0.05])),
        "weight_decay": draw(st.sampled_from([0.0, 0.1])),
        "dropout": draw(st.sampled_from([0.0, 0.0, 0.2])),
        "optimizer": draw(st.sampled_from(list(OPTIMIZERS))),
        "checkpoint_activations": draw(st.booleans()),
        "steps": STEPS,
        "eps": 1e-3,  # large, lest a gradient that is nothing but rounding decide a step
    }
    if chosen["n_embd"] // chosen["n_head"] % 2:
        chosen["position"] = "learned"
    if chosen["clip_node"] is not None:
        chosen |= OF_OXIDIZED
    cuts = draw(st.sets(st.integers(1, STEPS - 1), min_size=STEPS // 2))
    return Problem(
        small_settings(**chosen),
        draw(st.sampled_from(level_names())),
        threads,
        frozenset(cuts),
        tuple(draw(st.lists(st.sampled_from(sorted(BETWEEN)), min_size=len(cuts), max_size=2 * len(cuts)))),
    )


def a_batch(problem):
    """Sequences as long as the model can see."""
    return Batch.of(random_sequences(9, 3, problem.chosen["block_size"]), problem.chosen["loss_mean"])


def draw_tokens(engine, problem):
    decoder = engine.decoder(3)
    decoder.feed([0, 1, 2])
    decoder.feed([2, 1, 0])


def ruin_and_load(engine, problem):
    """Numbers that are not finite everywhere, then all as it was."""
    before = engine.export()
    engine.load({name: np.full_like(w, np.nan) for name, w in before.parameters.items()})
    engine.train(problem.plan, 0, 2)
    engine.load(before)


BETWEEN = {
    "nothing": lambda engine, problem: None,
    "logits": lambda engine, problem: engine.logits(a_batch(problem)),
    "gradients": lambda engine, problem: engine.gradients(a_batch(problem), step=2),
    "export and load": lambda engine, problem: engine.load(engine.export()),
    "draw": draw_tokens,
    "ruin and load": ruin_and_load,
}


def outcome(engine, losses):
    """All that can be seen of a training, as text and bytes, in which one nan is like another."""
    seen = engine.export()
    parts = enumerate((seen.parameters, *seen.slots.values()))
    return repr(losses), {f"{i} {name}": a.tobytes() for i, part in parts for name, a in part.items()}


def trained_in_chunks(problem):
    engine, losses, between = problem.engine(), [], list(problem.between)
    ends = sorted({*problem.cuts, STEPS})
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        losses += engine.train(problem.plan, start, end - start)
        for _ in range(2):
            if between:
                BETWEEN[between.pop()](engine, problem)
    return outcome(engine, losses)


@pytest.mark.slow
@given(problem=problems([*INITIAL, 1.0]))
@settings(max_examples=150, deadline=None)
def test_chunks_and_what_is_asked_in_between_change_no_byte(problem):
    whole = problem.engine()
    expected = outcome(whole, whole.train(problem.plan, 0, STEPS))
    assert trained_in_chunks(problem) == expected


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("level", level_names())
@pytest.mark.parametrize("width", [1, 3, 5, 9, 17, 33])
def test_a_step_at_a_time_is_all_steps_at_once(level, width, dtype):
    """Where memory is carved anew for longer and longer documents without becoming larger."""
    chosen = small_settings(
        n_embd=width, n_head=1, block_size=20, dtype=dtype, clip_norm=0.1, activation="relu"
    )
    plan = DocumentPlan([random_sequences(n, 1, n)[0] for n in range(1, 20)], 1, "documents")
    whole, step_by_step = (native(chosen, level, threads=1) for _ in range(2))
    expected = outcome(whole, whole.train(plan, 0, 40))
    losses = [loss for step in range(40) for loss in step_by_step.train(plan, step, 1)]
    assert outcome(step_by_step, losses) == expected


def nudged(w, seed):
    """Every weight moved by one unit in its last place, up or down."""
    chance = np.random.default_rng(seed)

    def moved(array):
        return np.nextafter(array, chance.choice([-np.inf, np.inf], array.shape).astype(array.dtype))

    return {name: moved(array) for name, array in w.items()}


def losses_of_the_array_engine(problem, nudge=None):
    engine = small_engine("array", problem.chosen)
    if nudge is not None:
        engine.load(nudged(engine.export().parameters, nudge))
    return np.array(engine.train(problem.plan, 0, STEPS))


@given(problem=problems(INITIAL))
@settings(max_examples=30, deadline=None)
def test_it_is_the_training_of_the_array_engine_to_what_rounding_leaves(problem):
    """A flat bound would be too strict for large weights, whose trainings part, and too lax for others."""
    expected = losses_of_the_array_engine(problem)
    nearby = [losses_of_the_array_engine(problem, nudge) for nudge in range(2)]
    rounding = LOSS_ULPS * np.finfo(problem.chosen["dtype"]).eps * np.abs(expected).max()
    moved = max(rounding, np.abs(np.array(nearby) - expected).max())
    got = np.array(problem.engine().train(problem.plan, 0, STEPS))
    assert np.isfinite(moved)
    assert np.abs(got - expected).max() <= AMPLIFIED * moved, (expected, nearby, got)
