"""Timing: gradients are verified first; a figure is the median of several runs with its range.

Each run is timed by the clock and in processor time: on a busy machine the two differ.
"""

from __future__ import annotations

import json
import os
import shlex
import statistics
import subprocess  # noqa: TID251  # a command given by the user, or our own
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import psutil  # type: ignore[import-untyped]

from motegpt.api.gpt import GPT
from motegpt.bench.generation import characters, model_of
from motegpt.bench.machine import levels, multiply_add_peak
from motegpt.bench.work import WORKLOADS, Problem, operations, problem_of
from motegpt.data.batches import Batch
from motegpt.data.corpus import read_corpus
from motegpt.engines import fresh_engine
from motegpt.engines.base import Engine
from motegpt.errors import MotegptError, UsageError

RUN_SECONDS = 0.25  # duration of a run, long enough that the overhead of clock and call is negligible
# Bounds of rounding errors, relative to the largest element.
GRADIENT_TOLERANCE = {"float64": 1e-10, "float32": 1e-3, "float16": 0.02, "bfloat16": 0.1}
SCALAR_LIMIT = 1e7  # operations per step; above, the scalar engine is too slow as a reference
MAX_SPREAD, MIN_PROCESSOR = 1.2, 0.95  # high / low, and processor time / time, of an idle machine
MAX_TEXTS = 10_000  # of a run


class Time(NamedTuple):
    """Seconds by the clock, and of processor time of all threads."""

    clock: float
    processor: float

    def __truediv__(self, count: int) -> Time:
        return Time(self.clock / count, self.processor / count)


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
    work: str,
    engine: str,
    dtype: str | None,
    data: str | None,
    runs: int,
    settings: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """One row of the table, measured in a fresh process, so that memory is that of this row alone.

    dtype: None for the workload's; settings: override the workload's. Returns {"error": …} if the engine
    cannot run the workload.
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
    work: str, name: str, dtype: str | None, data: str | None, runs: int, settings: dict[str, Any]
) -> dict[str, Any]:
    try:
        corpus, workload = read_corpus(data), WORKLOADS[work]
        problem = problem_of(workload, corpus, dtype, settings)
        before = resident_bytes()
        engine = fresh_engine(name, problem.model, problem.train)
        difference = verify(engine, problem)
        engine = fresh_engine(name, problem.model, problem.train)
        steps = time_steps(engine, problem, runs)
        memory = resident_bytes() - before
        generated = time_generation(model_of(workload, name, corpus, dtype, settings), runs)
    except MotegptError as error:
        return {"error": str(error)}
    device_peak = None if engine.uses_processor else engine.peak()
    return {
        "dtype": problem.train.dtype,
        "step_seconds": asdict(Figure.of([run.clock for run in steps])),
        "step_processor_seconds": asdict(Figure.of([run.processor for run in steps])),
        "documents": problem.plan.batch_size,
        "tokens": problem.tokens,
        "operations": operations(problem),
        "peak_share": peak_share(problem, steps, device_peak),
        **{name: asdict(figure) for name, figure in generated.items()},
        "added_bytes": memory,
        "gradient_difference": difference,
        "busy": why_busy(steps) if engine.uses_processor else None,
    }


def peak_share(problem: Problem, steps: Sequence[Time], device_peak: float | None) -> float | None:
    """The model's operations per second, as a share of the peak; None if the peak is not known.

    On processors: operations per second of processor time, over the multiply-adds of one core; so the share
    is that of the cores in use, on a busy machine too. device_peak: of another device, by the clock.
    """
    if device_peak is not None:
        return operations(problem) / statistics.median(run.clock for run in steps) / device_peak
    if not levels():
        return None
    seconds = statistics.median(run.processor for run in steps)
    level = problem.train.level or levels()[0]
    return operations(problem) / seconds / multiply_add_peak(problem.train.dtype, level)


def why_busy(runs: Sequence[Time]) -> str | None:
    """Why the times of runs are not those of an idle machine; None if they may be."""
    clock = [run.clock for run in runs]
    spread = max(clock) / min(clock)
    share = sum(run.processor for run in runs) / sum(clock)
    if share < MIN_PROCESSOR:
        return f"{share:.0%} of a core"
    return f"high / low is {spread:.2f}" if spread > MAX_SPREAD else None


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


def time_steps(engine: Engine, problem: Problem, runs: int) -> list[Time]:
    """Time per step, one value per run."""
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        engine.train(problem.plan, done, count)
        done += count

    count = calls_per_run(advance)
    return [timed(advance, count) / count for _ in range(runs)]


def time_generation(model: GPT, runs: int) -> dict[str, Figure]:
    """Tokens/s, end tokens included, of GPT.generate with many texts; and seconds per call for one text."""

    def one_by_one(count: int) -> None:
        for seed in range(count):
            model.generate(1, seed=seed)

    count = min(MAX_TEXTS, calls_per_run(lambda n: model.generate(n, seed=0)))
    texts = model.generate(count, seed=0)
    tokens = characters(texts) + len(texts)
    times = [timed(model.generate, count, seed=0) for _ in range(runs)]
    calls = calls_per_run(one_by_one)
    return {
        "generated_per_second": Figure.of([tokens / run.clock for run in times]),
        "generated_per_processor_second": Figure.of([tokens / run.processor for run in times]),
        "generate_one_seconds": Figure.of([timed(one_by_one, calls).clock / calls for _ in range(runs)]),
    }


def calls_per_run(action: Callable[[int], object]) -> int:
    """Number of repetitions that take RUN_SECONDS, found by doubling, which also warms up."""
    count = 1
    while (seconds := timed(action, count).clock) < RUN_SECONDS / 2:
        count *= 2
    return max(1, round(count * RUN_SECONDS / seconds))


def timed(action: Callable[..., object], *arguments: Any, **more: Any) -> Time:
    """Duration of an action."""
    began = time.perf_counter(), time.process_time()
    action(*arguments, **more)
    return Time(time.perf_counter() - began[0], time.process_time() - began[1])


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

    return timed(run).clock


if __name__ == "__main__":
    serve()
