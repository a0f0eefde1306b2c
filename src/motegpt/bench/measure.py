"""Timing: gradients are verified first; a figure is the median of several runs with its range."""

from __future__ import annotations

import json
import os
import shlex
import statistics
import subprocess  # noqa: TID251  # a command given by the user, or our own
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]

from motegpt.bench.work import WORKLOADS, Problem, operations, problem_of
from motegpt.data.corpus import read_corpus
from motegpt.data.plan import Batch
from motegpt.engines import fresh_engine
from motegpt.engines.base import Engine
from motegpt.errors import MotegptError, UsageError
from motegpt.generation.filters import Filters
from motegpt.generation.request import Request
from motegpt.model.rng import Stream
from motegpt.sampling.generate import generate_ids

RUN_SECONDS = 0.25  # duration of a run, long enough that the overhead of clock and call is negligible
# Bounds of rounding errors, relative to the largest element.
GRADIENT_TOLERANCE = {"float64": 1e-10, "float32": 1e-3, "float16": 0.02, "bfloat16": 0.1}
SCALAR_LIMIT = 1e7  # operations per step; above, the scalar engine is too slow as a reference


@dataclass(frozen=True)
class Figure:
    """Median and range of several runs."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Figure:
        """The figure of the values."""
        return cls(statistics.median(values), min(values), max(values))


def measure(
    work: str, engine: str, dtype: str, data: str | None, runs: int, settings: dict[str, Any] | None = None
) -> dict[str, Any]:
    """One row of the table, measured in a fresh process, so that memory is that of this row alone.

    settings: override the workload's. Returns {"error": …} if the engine cannot run the workload.
    """
    command = [sys.executable, "-P", "-m", "motegpt.bench.measure"]
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    # In its own session, so that neither Ctrl-C nor the end of a terminal reaches it.
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=variables,
        start_new_session=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        print(json.dumps((work, engine, dtype, data, runs, settings or {})), file=process.stdin, flush=True)
        output = process.stdout.read()
        if process.wait():
            raise MotegptError(f"bench: the process that measures ended with exit code {process.returncode}")
    row: dict[str, Any] = json.loads(output)
    return row


def serve() -> None:
    """Read the arguments of a row from standard input and print the row; exit when the input is closed."""
    request = sys.stdin.readline()

    def exit_with_parent() -> None:
        os.read(sys.stdin.fileno(), 1)
        os._exit(1)

    threading.Thread(target=exit_with_parent, daemon=True).start()
    print(json.dumps(_measure_here(*json.loads(request))))


def _measure_here(
    work: str, name: str, dtype: str, data: str | None, runs: int, settings: dict[str, Any]
) -> dict[str, Any]:
    try:
        problem = problem_of(WORKLOADS[work], read_corpus(data), dtype, settings)
        before = resident_bytes()
        engine = fresh_engine(name, problem.model, problem.train)
        difference = verify(engine, problem)
        engine = fresh_engine(name, problem.model, problem.train)
        step = Figure.of(time_steps(engine, problem, runs))
        memory = resident_bytes() - before
        speed = Figure.of(time_generation(engine, problem, runs))
    except MotegptError as error:
        return {"error": str(error)}
    return {
        "step_seconds": asdict(step),
        "documents": problem.plan.batch_size,
        "tokens": problem.tokens,
        "operations": operations(problem),
        "peak": engine.peak(),
        "generated_per_second": asdict(speed),
        "added_bytes": memory,
        "gradient_difference": difference,
    }


def verify(engine: Engine, problem: Problem) -> float:
    """The largest difference to the reference's first gradient, relative to its largest element.

    The reference is the array engine, and for the array engine the scalar engine, on one sequence as it is
    slow. Raises MotegptError if the difference exceeds rounding error.
    """
    reference, batch = "array", problem.plan.batch(0)
    if engine.name == "array":
        reference, batch = "scalar", Batch.of(problem.plan.sequences[:1], problem.train.loss_mean)
    if reference == "scalar" and operations(problem) > SCALAR_LIMIT:
        return float("nan")  # takes minutes; the tests compare the two on small models
    double = problem.train.replace(dtype="float64", autocast=None)
    _, expected = fresh_engine(reference, problem.model, double).gradients(batch)
    _, actual = engine.gradients(batch)
    scale = max(float(np.abs(gradient).max()) for gradient in expected.values())
    difference = max(float(np.abs(actual[name] - expected[name]).max()) for name in expected) / scale
    if not difference <= GRADIENT_TOLERANCE[problem.train.autocast or problem.train.dtype]:
        raise MotegptError(
            f"bench: {engine.name} differs from the gradient of the {reference} engine by {difference:.1e}; "
            "not timed"
        )
    return difference


def time_steps(engine: Engine, problem: Problem, runs: int) -> list[float]:
    """Seconds per step, one value per run."""
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        engine.train(problem.plan, done, count)
        done += count

    count = calls_per_run(advance)
    return [timed(advance, count) / count for _ in range(runs)]


def time_generation(engine: Engine, problem: Problem, runs: int) -> list[float]:
    """Tokens/s, end tokens included, while generating up to 10,000 texts; one value per run."""
    stop = problem.model.vocab_size - 1

    request = Request((stop,), problem.model.block_size, stop, Filters(temperature=1.0))

    def generate(rngs: list[Stream]) -> list[list[int]]:
        return generate_ids(engine, request, rngs)

    def streams(n: int) -> list[Stream]:
        return [Stream.of(1, i) for i in range(n)]

    count = min(10_000, calls_per_run(lambda n: generate(streams(n))))
    speeds = []
    for _ in range(runs):
        rngs = streams(count)
        began = time.perf_counter()
        texts = generate(rngs)
        seconds = time.perf_counter() - began
        speeds.append(sum(len(ids) + 1 for ids in texts) / seconds)
    return speeds


def calls_per_run(action: Callable[[int], object]) -> int:
    """Number of repetitions that take RUN_SECONDS, found by doubling, which also warms up."""
    count = 1
    while (seconds := timed(action, count)) < RUN_SECONDS / 2:
        count *= 2
    return max(1, round(count * RUN_SECONDS / seconds))


def timed(action: Callable[..., object], *arguments: Any) -> float:
    """Duration of an action in seconds."""
    began = time.perf_counter()
    action(*arguments)
    return time.perf_counter() - began


def resident_bytes() -> int:
    """The resident set of this process."""
    return int(psutil.Process().memory_info().rss)


def compare_commands(ours: str, theirs: str, runs: int) -> tuple[Figure, Figure, Figure]:
    """Seconds of two alternating commands, and the ratio theirs / ours of each pair."""
    pairs = [(_command_seconds(ours), _command_seconds(theirs)) for _ in range(runs + 1)][1:]
    mine, other = [a for a, _ in pairs], [b for _, b in pairs]
    return Figure.of(mine), Figure.of(other), Figure.of([b / a for a, b in pairs])


def _command_seconds(command: str) -> float:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"bench: cannot read the command {command!r} ({error})") from None
    if not words:
        raise UsageError("bench: expected a command, actual an empty one")

    def run() -> None:
        try:
            done = subprocess.run(words, capture_output=True, text=True, check=False)
        except OSError as error:
            raise MotegptError(f"bench: cannot run {command!r} ({error.strerror})") from None
        if done.returncode:
            last = (done.stderr.strip() or "no message").splitlines()[-1]
            raise MotegptError(f"bench: {command!r} ended with exit code {done.returncode}: {last}")

    return timed(run)


if __name__ == "__main__":
    serve()
