"""Speed of many short trainings and evaluations, of the preset microgpt in float32 with 1,000 steps.

    python benchmarks/many.py              the built-in names, and the 32,033 public ones
    python benchmarks/many.py --data FILE  other names in place of the public ones
    python benchmarks/many.py --quick      a tenth of the repetitions

Milliseconds are processor time, minima of several repetitions. Trainings per minute are 60 s divided by the
processor time of one, and with two threads by the elapsed time, which needs two idle processors. It runs with
versions of motegpt without train_many too, where threads call GPT.train.
"""

from __future__ import annotations

import argparse
import gzip
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import motegpt
from motegpt import GPT
from motegpt.evaluation.nll import mean_nll

SETTINGS: dict[str, Any] = {"preset": "microgpt", "dtype": "float32"}
PUBLIC = Path(__file__).parents[1] / "tests" / "reference" / "names.txt.gz"


def ms(work: Callable[[], object], repetitions: int, clock: Callable[[], float] = time.process_time) -> float:
    """The lowest time of one call, in milliseconds."""
    times = []
    for _ in range(max(2, repetitions)):
        began = clock()
        work()
        times.append(clock() - began)
    return 1e3 * min(times)


def train_all(data: Any, count: int, threads: int, **more: Any) -> None:
    """Train `count` models that differ in the seed."""
    settings = [{**SETTINGS, **more, "seed": seed} for seed in range(count)]
    if hasattr(motegpt, "train_many"):
        rows: Iterable[Any] = motegpt.train_many(settings, data, threads=threads)
        assert all(row["status"] == "ok" for row in rows)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda one: GPT.train(data, threads=1, **one), settings))


def report_trainings(name: str, data: Any, repetitions: int, **more: Any) -> None:
    """A line of one training alone, and of many with one thread and with two."""
    alone = ms(lambda: GPT.train(data, threads=1, **SETTINGS, **more), repetitions)
    shared = motegpt.Data(data) if hasattr(motegpt, "Data") else data
    count = 20
    each = ms(lambda: train_all(shared, count, 1, **more), repetitions // 4) / count
    both = ms(lambda: train_all(shared, count, 2, **more), repetitions // 2, time.perf_counter) / count
    print(
        f"{name:34} {alone:7.2f} ms alone {each:7.2f} ms of many, "
        f"{60e3 / each:7,.0f} and {60e3 / both:7,.0f} trainings/min in 1 and 2 threads"
    )


def report_evaluations(repetitions: int) -> None:
    """Losses of 20 names, in the forms that the API has."""
    model = GPT.train(threads=1, **SETTINGS)
    texts = ["anna", "ben", "carla", "david", "emma", "finn", "greta", "hanna", "ivan", "julia"] * 2
    sequences = model.tokenizer.encode_documents(texts)
    works: list[tuple[str, Callable[[], object]]] = [
        ("mean loss", lambda: mean_nll(model.engine, sequences)),
        ("GPT.score", lambda: model.score(texts)),
        ("GPT.logits, one name", lambda: model.logits("anna")),
    ]
    for name, work in works:
        print(f"{name:34} {ms(work, 20 * repetitions):7.3f} ms")


def main() -> None:
    """Run all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, help="a file of names")
    parser.add_argument("--quick", action="store_true", help="a tenth of the repetitions")
    arguments = parser.parse_args()
    repetitions = 3 if arguments.quick else 30
    with tempfile.TemporaryDirectory() as folder:
        names = arguments.data
        if names is None:
            names = Path(folder) / "names.txt"
            names.write_bytes(gzip.decompress(PUBLIC.read_bytes()))
        report_trainings("built-in names", None, repetitions)
        report_trainings("built-in names, 20 evaluations", None, repetitions, val_fraction=0.2, eval_every=50)
        report_trainings("file of names", names, repetitions)
    report_evaluations(repetitions)


if __name__ == "__main__":
    main()
