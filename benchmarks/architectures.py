"""Time of a training step of other architectures, relative to the one of the preset microgpt.

    python benchmarks/architectures.py

On one thread of the native engine, batch 16, in single precision: the best of several chunks in turn,
in processor time. SwiGLU has two thirds of the hidden units, and so as many operations.
"""

from __future__ import annotations

import random
import time
from typing import Any

from motegpt.config.presets import settings_of
from motegpt.config.sections import model_and_training
from motegpt.data.plan import DocumentPlan
from motegpt.engines import fresh_engine
from motegpt.engines.base import Engine

SIZES = ((16, 16), (64, 16), (64, 64), (128, 16), (128, 64))  # width, block
VOCABULARY, BATCH, REPEATS = 27, 16, 7
LAYER = {"norm": "layer", "norm_gain": True, "norm_bias": True}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "microgpt": {},
    "GELU": {"activation": "gelu"},
    "GELU with tanh": {"activation": "gelu_tanh"},
    "SwiGLU": {"activation": "swiglu"},
    "LayerNorm": {"norm": "layer"},
    "LayerNorm, gain, bias": LAYER,
    "biases": {"bias": True},
    "RoPE": {"position": "rope"},
    "GPT-2": {**LAYER, "bias": True, "activation": "gelu_tanh", "final_norm": True},
    "Llama": {"norm_gain": True, "activation": "swiglu", "final_norm": True, "position": "rope"},
    "two heads of keys": {"n_kv_head": 2},
}


def plan(block: int) -> DocumentPlan:
    """Random documents of all lengths."""
    numbers = random.Random(1)
    lengths = [numbers.randint(block // 4, block) for _ in range(400)]
    return DocumentPlan(
        [[numbers.randrange(VOCABULARY) for _ in range(n + 1)] for n in lengths], BATCH, "documents"
    )


def engine_of(changes: dict[str, Any], width: int, block: int) -> Engine:
    """An engine of microgpt with other sizes and changes."""
    sizes = {"n_embd": width, "block_size": block, "batch_size": BATCH, "dtype": "float32", "threads": 1}
    hidden = {"n_hidden": 8 * width // 3} if changes.get("activation") == "swiglu" else {}
    settings = {**settings_of("microgpt"), **sizes, **hidden, **changes}
    return fresh_engine("native", *model_and_training(settings, VOCABULARY))


def step_times(width: int, block: int) -> dict[str, float]:
    """Microseconds per step."""
    documents, count = plan(block), max(4, 4_000_000 // (width * width * block))
    engines = {name: engine_of(changes, width, block) for name, changes in ARCHITECTURES.items()}
    best = dict.fromkeys(engines, float("inf"))
    for _ in range(REPEATS):
        for name, engine in engines.items():
            before = time.process_time()
            engine.train(documents, 0, count)
            best[name] = min(best[name], (time.process_time() - before) / count * 1e6)
    return best


def main() -> None:
    """Print the times of every size."""
    for width, block in SIZES:
        times = step_times(width, block)
        base = times["microgpt"]
        print(f"width {width}, block {block}: {base:,.0f} µs per step")
        print("  " + ", ".join(f"{name} {one / base:.2f}" for name, one in times.items()))


if __name__ == "__main__":
    main()
