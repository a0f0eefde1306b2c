"""Training steps of the C++ core at sizes of every kind: times, shares of the multiply-add peak, and ratios.

    python benchmarks/kernels.py                          # every size at the fastest level of this processor
    python benchmarks/kernels.py --level avx2 --only microgpt deep
    python benchmarks/kernels.py --against OTHER/python   # and those of the motegpt of another environment
    python benchmarks/kernels.py --torch                  # and those of a plain PyTorch loop

One thread, single precision, processor time: the best of many short runs. Each contender is a process of its
own, and they take turns, so that a busy machine slows all of them alike. The peak is that of multiply-adds in
registers, as of `motegpt bench`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from motegpt.bench.machine import multiply_add_peak
from motegpt.bench.work import WORKLOADS, Problem, Workload, operations, problem_of
from motegpt.data.corpus import read_corpus
from motegpt.engines.native import _core
from motegpt.engines.native.engine import NativeEngine
from motegpt.model.rng import make_rng
from motegpt.model.spec import initialize

RUN_SECONDS, SECONDS = 0.02, 1.5  # of one run, and of all runs of a contender at one size
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def _full(name: str, **settings: Any) -> Workload:
    return Workload(name, "microgpt", settings, full_length=True)


SIZES = {
    **WORKLOADS,
    **{f"names{n}": Workload(f"names, 16 docs, {n} wide", "microgpt", {"batch_size": 16, "n_embd": n})
       for n in (12, 20, 24, 48)},
    **{f"block{n}": _full(f"16 wide, 4 x {n}", batch_size=4, block_size=n) for n in (32, 64, 128, 256, 512)},
    "block128-32": _full("32 wide, 4 x 128", batch_size=4, block_size=128, n_embd=32),
    "block128-64": _full("64 wide, 4 x 128", batch_size=4, block_size=128, n_embd=64),
    "deep132": _full("4 layers, 132 wide, 12 x 64", **{**WORKLOADS["deep"].settings, "n_embd": 132}),
}  # fmt: skip
del SIZES["zeroclaw"]  # as microgpt


def steps_of(kind: str, level: str, problem: Problem) -> Callable[[int, int], object]:
    """A function steps(start, count) that trains: of the core, or of a plain PyTorch loop."""
    if kind == "torch":
        import torch
        from plain_torch import plain_loop

        torch.set_num_threads(1)
        return plain_loop(problem, "cpu", None)
    model, train = problem.model, problem.train
    engine = NativeEngine(model, train)
    engine.load(initialize(model, make_rng(train.rng, train.seed)))
    return lambda start, count: engine.train(problem.plan, start, count)


def serve(kind: str, level: str) -> None:
    """For each name of a size read: the operations of a step, then for each empty line seconds per step."""
    steps: Callable[[int, int], object] | None = None
    count = done = 0
    for line in sys.stdin:
        if steps is None or line.strip():
            problem = problem_of(
                SIZES[line.strip()], read_corpus(None), "float32", {"threads": 1, "level": level}
            )
            steps, count, done = steps_of(kind, level, problem), 1, 0
            while (seconds := _timed(steps, 0, count)) < RUN_SECONDS / 2:
                count *= 2
            count = max(1, round(count * RUN_SECONDS / seconds))
            print(json.dumps(operations(problem)), flush=True)
        else:
            print(json.dumps(_timed(steps, done, count) / count), flush=True)
            done += count


def _timed(action: Callable[..., object], *arguments: Any) -> float:
    began = time.process_time()
    action(*arguments)
    return time.process_time() - began


def _one_thread() -> dict[str, str]:
    return {**os.environ, **dict.fromkeys(THREADS, "1")}


class Contender:
    """A process that trains when asked."""

    def __init__(self, python: str, kind: str, level: str) -> None:
        command = [python, __file__, "--serve", kind, "--level", level]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=_one_thread()
        )

    def ask(self, line: str) -> float:
        """The answer to a line."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(line, file=self._process.stdin, flush=True)
        return float(self._process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def main() -> None:
    """Print a row per size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--level", default=_core.levels()[0], choices=_core.levels())
    parser.add_argument("--only", nargs="+", default=list(SIZES), choices=list(SIZES), metavar="SIZE")
    parser.add_argument("--against", metavar="PYTHON", help="interpreter of another environment with motegpt")
    parser.add_argument("--torch", action="store_true")
    parser.add_argument("--serve", choices=["native", "torch"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        return serve(arguments.serve, arguments.level)
    contenders = {"this": Contender(sys.executable, "native", arguments.level)}
    if arguments.against:
        contenders["other"] = Contender(arguments.against, "native", arguments.level)
    if arguments.torch:
        contenders["torch"] = Contender(sys.executable, "torch", arguments.level)
    highest = multiply_add_peak("float32", arguments.level)
    print(f"{arguments.level}, peak {highest / 1e9:.0f} · 10⁹ operations/s")
    print("| size | µs per step | of peak |" + "".join(f" {name} / this |" for name in list(contenders)[1:]))
    print("|---|" + "---|" * (len(contenders) + 1))
    for name in arguments.only:
        best = measured(contenders, name)
        counted, mine = best.pop("operations"), best.pop("this")
        ratios = "".join(f" {other / mine:.2f} |" for other in best.values())
        print(
            f"| {SIZES[name].name} | {mine * 1e6:,.2f} | {counted / mine / highest:.0%} |{ratios}", flush=True
        )
    for contender in contenders.values():
        contender.close()
    return None


def measured(contenders: dict[str, Contender], size: str) -> dict[str, float]:
    """The operations of a step at a size, and the best seconds per step of each contender."""
    best = dict.fromkeys(contenders, float("inf"))
    counted = {contender.ask(size) for contender in contenders.values()}.pop()
    began = time.monotonic()
    while time.monotonic() - began < SECONDS * len(contenders):
        for name, contender in contenders.items():
            best[name] = min(best[name], contender.ask(""))
    return {"operations": counted, **best}


if __name__ == "__main__":
    main()
