"""The tables of docs/scale.md: memory and time of training steps, computed and measured.

    python benchmarks/scaling.py             # all tables, in about a minute
    python benchmarks/scaling.py --computed  # without the measured table
    python benchmarks/scaling.py --write     # also insert the tables into the page

One of layers, width, batch and block changes at a time. Each row is measured in a process of its own on one
thread of the native engine, in single precision: memory is the growth of the resident set, time is the best
of several steps.
"""

from __future__ import annotations

import argparse
import ctypes
import math
import multiprocessing
import random
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from motegpt.bench.measure import resident_bytes
from motegpt.cli.options import merge, read_toml
from motegpt.config.presets import settings_of
from motegpt.config.sections import ModelConfig, TrainConfig, model_and_training
from motegpt.data.plan import DocumentPlan
from motegpt.engines import fresh_engine, training_memory
from motegpt.engines.cost import Memory, all_reduce, communication, operations_per_token
from motegpt.model.spec import parameter_count

PAGE = Path(__file__).parents[1] / "docs" / "scale.md"
CONFIGS = {"names-200k": 27, "shakespeare": 65, "gpt2-small": 256}  # and their vocabulary sizes
BASE = {"n_layer": 4, "n_embd": 256, "n_head": 4, "batch_size": 4, "block_size": 128}
LADDERS = {
    "n_layer": (1, 2, 4, 8),
    "n_embd": (64, 128, 256, 512),
    "batch_size": (1, 2, 4, 8, 16),
    "block_size": (32, 64, 128, 256, 512),
}
NAMES = {"n_layer": "layers", "n_embd": "width", "batch_size": "batch", "block_size": "block"}
VOCABULARY, STEPS = 65, 7
LINKS = {"NVLink of an A100": 300e9, "InfiniBand HDR": 25e9, "10 Gbit Ethernet": 1.25e9}  # bytes/s one way
A100 = 163e12  # operations/s reached by Narayanan et al., 2021


def problem(settings: dict[str, Any]) -> tuple[ModelConfig, TrainConfig]:
    """The model and training settings of a row of the ladder, on one thread."""
    return model_and_training(
        {**settings_of("microgpt"), "dtype": "float32", "threads": 1, **settings}, VOCABULARY
    )


def measured(settings: dict[str, Any]) -> tuple[float, float]:
    """Seconds per step and growth in bytes, measured in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measured_here, (settings,))


def _measured_here(settings: dict[str, Any]) -> tuple[float, float]:
    model, train = problem(settings)
    rng = random.Random(0)
    tokens = [[rng.randrange(VOCABULARY) for _ in range(model.block_size + 1)] for _ in range(64)]
    plan = DocumentPlan(tokens, train.batch_size, train.loss_mean)
    before = resident_bytes()
    engine = fresh_engine("native", model, train)
    seconds = []
    for step in range(STEPS):
        began = time.perf_counter()
        engine.train(plan, step, 1)
        seconds.append(time.perf_counter() - began)
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # return freed memory to the system
    return min(seconds[1:]), resident_bytes() - before


def exponent(xs: list[float], ys: list[float]) -> float:
    """The exponent p of y = c · x^p, by least squares on a log-log scale."""
    a, b = [math.log(x) for x in xs], [math.log(y) for y in ys]
    x, y = sum(a) / len(a), sum(b) / len(b)
    return sum((p - x) * (q - y) for p, q in zip(a, b, strict=True)) / sum((p - x) ** 2 for p in a)


def ladder_tables() -> Iterator[str]:
    """Computed and measured costs of each shape, and the exponents with which they grow."""
    yield "| changed | operations per step | ms per step | 10⁹ operations/s | MB computed | MB measured |"
    yield "|---|---|---|---|---|---|"
    growth = []
    for name, values in LADDERS.items():
        counts, times = [], []
        for value in values:
            settings = {**BASE, name: value}
            model, train = problem(settings)
            count = operations_per_token(model, model.block_size) * train.batch_size * model.block_size
            expected = training_memory("native", model, train, model.block_size).total
            seconds, grown = measured(settings)
            counts.append(count)
            times.append(seconds)
            yield (
                f"| {NAMES[name]} {value} | {count / 1e9:.3g} · 10⁹ | {seconds * 1e3:.3g} "
                f"| {count / seconds / 1e9:.0f} | {expected / 1e6:.1f} | {grown / 1e6:.1f} |"
            )
        xs = [float(value) for value in values]
        growth.append((NAMES[name], exponent(xs, counts), exponent(xs, times)))
    yield ""
    yield "| grows with | operations, computed | time, measured |"
    yield "|---|---|---|"
    for name, computed, timed in growth:
        yield f"| {name} | {computed:.2f} | {timed:.2f} |"


def config_tables() -> Iterator[str]:
    """The cost of the trainings of the configurations that motegpt ships: memory on torch, operations."""
    yield "| | names-200k | shakespeare | gpt2-small |"
    yield "|---|---|---|---|"
    rows: dict[str, list[str]] = {}
    for name, vocabulary in CONFIGS.items():
        for label, value in config_facts(name, vocabulary):
            rows.setdefault(label, []).append(value)
    for label, values in rows.items():
        yield f"| {label} | {' | '.join(values)} |"


def config_facts(name: str, vocabulary: int) -> Iterator[tuple[str, str]]:
    """Label and value of each cell in a column of that table."""
    file = read_toml(name)
    model, train = model_and_training(merge(file.pop("preset"), file), vocabulary)
    T = model.block_size

    def needed(ranks: int = 1, **changes: Any) -> Memory:
        return training_memory("torch", model, train.replace(**changes), T, ranks)

    def activations(**changes: Any) -> str:
        return f"{needed(**changes).activations / 1e6:,.0f}"

    def sent(shard: bool) -> str:
        return f"{communication(model, train.replace(shard=shard), ranks=8) / 1e6:,.1f}"

    tokens, per_token = train.batch_size * T, operations_per_token(model, T)
    parts = 40 if name == "gpt2-small" else 1
    yield "parameters", f"{parameter_count(model):,}"
    yield "parameters, gradients and optimizer, MB", _state(needed())
    yield "the same on each of 8 ranks, sharded, MB", _state(needed(8, shard=True))
    yield "activations of a step, MB", activations()
    yield "with `checkpoint_activations`", activations(checkpoint_activations=True)
    in_parts = f", in {parts} parts" if parts > 1 else ""
    yield "in 16 bits", activations(autocast="bfloat16", accumulate=parts) + in_parts
    yield "operations per token", f"{per_token:.3g}"
    yield "share of attention", f"{6 * model.n_layer * model.n_embd * T / per_token:.0%}"
    yield "operations per step", f"{per_token * tokens:.3g}"
    yield "operations of the whole run", f"{per_token * tokens * train.steps:.3g}"
    yield "sent per step by each of 8 ranks, MB", sent(shard=False)
    yield "sharded", sent(shard=True)


def _state(needed: Memory) -> str:
    return f"{(needed.total - needed.activations) / 1e6:,.0f}"


def link_tables() -> Iterator[str]:
    """Where communication of A100s takes as long as computation: tokens per rank, and widths."""
    yield "| link, one way | bytes/s | replicated | sharded | tensor: width | pipeline: layers · width |"
    yield "|---|---|---|---|---|---|"
    for name, speed in LINKS.items():
        yield (
            f"| {name} | {speed:.3g} | {break_even(A100, speed, 8):,.0f} tokens "
            f"| {1.5 * break_even(A100, speed, 8):,.0f} tokens | {tensor_width(A100, speed, 8):,.0f} "
            f"| {pipeline_size(A100, speed, 8):,.0f} |"
        )


def break_even(operations: float, link: float, ranks: int) -> float:
    """Tokens per rank and step whose 6 P operations take as long as summing P gradients of 4 bytes."""
    return 4 * all_reduce(1, ranks) / link / (6 / operations)


def tensor_width(operations: float, link: float, ranks: int) -> float:
    """C where 6 · 12 C² / ranks operations per token and layer take as long as 4 sums of C 2-byte numbers."""
    return 4 * 2 * all_reduce(1, ranks) / link / (6 * 12 / ranks / operations)


def pipeline_size(operations: float, link: float, stages: int) -> float:
    """L · C where 6 · 12 C² · L / stages operations per token take as long as C 2-byte numbers both ways."""
    return 2 * 2 / link / (6 * 12 / stages / operations)


def placed(page: str, name: str, lines: list[str]) -> str:
    """The page with the lines between the two comments of a table replaced."""
    head, _, rest = page.partition(f"<!-- {name} -->\n")
    _, end, tail = rest.partition("<!-- end -->\n")
    return f"{head}<!-- {name} -->\n" + "\n".join(lines) + f"\n{end}{tail}"


def main() -> None:
    """Print the tables, and with --write insert them into the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--computed", action="store_true", help="without the measured table")
    parser.add_argument("--write", action="store_true", help="insert the tables into docs/scale.md")
    arguments = parser.parse_args()
    for name, table in (COMPUTED if arguments.computed else COMPUTED | MEASURED).items():
        lines = list(table())
        print("\n".join(lines), flush=True)
        print()
        if arguments.write:
            PAGE.write_text(placed(PAGE.read_text(encoding="utf-8"), name, lines), encoding="utf-8")


COMPUTED = {"configs": config_tables, "links": link_tables}
MEASURED = {"ladder": ladder_tables}

if __name__ == "__main__":
    main()
