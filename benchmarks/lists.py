"""Held-out bits per token of lists: Kneser-Ney n-grams, the microgpt preset, and the default.

    benchmarks/lists.py FILE… [--seeds 3] [--seconds 1 10 60]

A fifth of each list, at most 3,000 entries, is the test part, less those with a character that the rest
lacks; it chooses nothing. The order of Kneser-Ney is the best on an eighth of the rest. Times are of whole
trainings, with their second model, by the clock and by this process (threads=1).
"""

from __future__ import annotations

import argparse
import gzip
import math
import random
import time
import warnings
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from motegpt import GPT
from motegpt.data.tokenizers import Tokenizer
from motegpt.model.spec import parameter_count
from motegpt.ngrams.kneser_ney import ORDERS, KneserNey, losses_by_order


def main() -> None:
    """Measure the lists that the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seconds", type=float, nargs="*", default=[1.0, 10.0, 60.0])
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings, for ablations")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    changes = dict(parse(one) for one in asked.set)
    heads = f"{'bits':>7} {'gpt':>7} {'±':>6} {'seconds':>8} {'cpu':>7} {'parameters':>11}"
    print(f"{'list':16} {'model':18} {heads}")
    for file in asked.files:
        training, test = split(lines_of(file))
        name = file.name.partition(".")[0]
        order, loss = kneser_ney(training, test)
        print(f"{name:16} {f'Kneser-Ney {order}':18} {loss / math.log(2):7.3f}", flush=True)
        rows: dict[str, dict[str, Any]] = {"microgpt": {"preset": "microgpt"}}
        for seconds in asked.seconds:
            rows[f"auto, {seconds:g} s"] = {"preset": "auto", "seconds": seconds, **changes}
        for label, settings in rows.items():
            seeds = range(1, asked.seeds + 1)
            print_row(name, label, [measure(training, test, {**settings, "seed": seed}) for seed in seeds])


def parse(assignment: str) -> tuple[str, Any]:
    """A setting and its value: numbers, true, false and none are recognized."""
    name, _, text = assignment.partition("=")
    words: dict[str, Any] = {"true": True, "false": False, "none": None}
    if text in words:
        return name, words[text]
    for kind in (int, float):
        try:
            return name, kind(text)
        except ValueError:
            continue
    return name, text


def lines_of(file: Path) -> list[str]:
    """The lines of a file, which may be compressed."""
    data = file.read_bytes()
    return (gzip.decompress(data) if file.suffix == ".gz" else data).decode().splitlines()


def split(lines: list[str]) -> tuple[list[str], list[str]]:
    """(training, test)"""
    random.Random(3).shuffle(lines)
    size = max(1, min(len(lines) // 5, 3000))
    alphabet = set("".join(lines[size:]))
    return lines[size:], [line for line in lines[:size] if set(line) <= alphabet]


def kneser_ney(training: list[str], test: list[str]) -> tuple[int, float]:
    """The order that is best on an eighth of the training part, and its loss on the test part in nats."""
    tokenizer = Tokenizer.of(training, "bos")
    shuffled = list(training)
    random.Random(7).shuffle(shuffled)
    size = min(len(shuffled) // 8, 2000)
    inner = [tokenizer.encode_documents(part) for part in (shuffled[size:], shuffled[:size])]
    losses = losses_by_order(inner[0], inner[1], tokenizer.vocab_size, ORDERS)
    order = min(losses, key=losses.__getitem__)
    model = KneserNey.count(tokenizer.encode_documents(training), order, tokenizer.vocab_size)
    return order, model.loss(tokenizer.encode_documents(test))


def measure(training: list[str], test: list[str], settings: dict[str, Any]) -> dict[str, float]:
    """One training, and its losses on the test part in bits per token."""
    wall, cpu = time.perf_counter(), time.process_time()
    model = GPT.train(training, threads=1, engine="native", **settings)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    losses = model.evaluate(test).losses
    bits = {name: loss / math.log(2) for name, loss in losses.items()}
    alone, size = bits.get("gpt", bits["model"]), parameter_count(model.config.model)
    return {"bits": bits["model"], "gpt": alone, "wall": wall, "cpu": cpu, "size": size}


def print_row(name: str, label: str, runs: list[dict[str, float]]) -> None:
    """The means of some runs, and the standard deviation of the loss."""
    bits, gpt, wall, cpu, size = (fmean(run[key] for run in runs) for key in runs[0])
    deviation = stdev(run["bits"] for run in runs) if len(runs) > 1 else 0.0
    times = f"{wall:8.2f} {cpu:7.2f} {size:11,.0f}"
    print(f"{name:16} {label:18} {bits:7.3f} {gpt:7.3f} {deviation:6.3f} {times}", flush=True)


if __name__ == "__main__":
    main()
