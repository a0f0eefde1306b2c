"""Speed of GPT.generate: tokens per second of many texts, and the time of a single text.

    python benchmarks/generating.py                          as installed
    python benchmarks/generating.py --levels avx512 avx2     instruction sets
    python benchmarks/generating.py --before OLD/src         interleaved with another version, in which the
                                                             compiled core lies beside its Python modules

Processor time of one thread, the least of all repeats, with models trained on the built-in names. A token is
a character or the end of a text. Both versions must generate the same texts.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from typing import Any

MODELS: dict[str, dict[str, Any]] = {
    "microgpt": {},
    "64x2": {"n_embd": 64, "n_layer": 2},
    "128x4": {"n_embd": 128, "n_layer": 4},
    "rope": {"position": "rope", "norm": "layer", "norm_gain": True, "activation": "gelu", "n_embd": 32},
    "average": {"kneser_ney": True},
}
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "prefix": {"prefix": "mar"},
    "top_k": {"top_k": 10, "top_p": 0.9},
    "unique": {"unique": True},
    "beyond": {"max_new_tokens": 40, "forbid": "aeiou", "min_new_tokens": 20},
}
SINGLE = 100  # single texts in a measurement
Row = tuple[str, float, float, str]  # name, million tokens/s, µs of a single text, digest of the texts


def seconds(action: Callable[[], object], repeats: int) -> float:
    """The least processor time of several calls."""
    times = []
    for _ in range(repeats):
        began = time.process_time()
        action()
        times.append(time.process_time() - began)
    return min(times)


def measure(level: str, dtype: str, name: str, kinds: list[str], n: int, repeats: int) -> list[Row]:
    """A row for each of the kinds."""
    from motegpt import GPT
    from motegpt.engines.native.engine import NativeEngine

    settings = {"preset": "microgpt", "engine": "native", "seed": 1, "dtype": dtype, **MODELS[name]}
    model = GPT.train(steps=1000, **settings)
    parameters, engine = model.engine.parameters(), model.engine
    model.engine = NativeEngine(engine.model, engine.settings, engine.contexts, level)
    model.engine.load(parameters)
    return [(kind, *_of_kind(model, KINDS[kind], n, repeats)) for kind in kinds]


def _of_kind(model: Any, given: dict[str, Any], n: int, repeats: int) -> tuple[float, float, str]:
    texts = model.generate(n, seed=1, **given)
    tokens = sum(len(text) - len(given.get("prefix", "")) + 1 for text in texts)
    many = seconds(lambda: model.generate(n, seed=1, **given), repeats)
    single = seconds(lambda: [model.generate(1, seed=i, **given) for i in range(SINGLE)], repeats) / SINGLE
    return tokens / many / 1e6, single * 1e6, hashlib.sha256("\n".join(texts).encode()).hexdigest()


def in_process(source: str | None, *arguments: Any) -> list[Row]:
    """The result of `measure`, in a process of its own. source: of another version."""
    packages = sysconfig.get_path("purelib")
    path = {} if source is None else {"PYTHONPATH": os.pathsep.join([source, packages])}
    words = [sys.executable, *([] if source is None else ["-S"]), __file__, "--one", json.dumps(arguments)]
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, **path}, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return [tuple(row) for row in json.loads(done.stdout)]


def best(rounds: list[list[Row]]) -> list[Row]:
    """Of each row the best of all rounds."""
    return [
        (same[0][0], max(row[1] for row in same), min(row[2] for row in same), same[0][3])
        for same in zip(*rounds, strict=True)
    ]


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--kinds", nargs="+", default=list(KINDS))
    parser.add_argument("--dtypes", nargs="+", default=["float32", "float64"])
    parser.add_argument("--levels", nargs="+", default=["avx512", "avx2"])
    parser.add_argument("-n", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=2, help="processes of each version, in turn")
    parser.add_argument("--before", metavar="SRC", help="another version")
    parser.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(*given.one)))
        return
    versions = [None] if given.before is None else [given.before, None]
    print(f"{'':35} M tokens/s                 µs of a single text")
    for name in given.models:
        for level in given.levels:
            for dtype in given.dtypes:
                arguments = (level, dtype, name, given.kinds, given.n, given.repeats)
                rounds = [
                    [in_process(version, *arguments) for version in versions] for _ in range(given.rounds)
                ]
                compare(f"{name:9} {level:8} {dtype}", [best(list(of)) for of in zip(*rounds, strict=True)])


def compare(title: str, versions: list[list[Row]]) -> None:
    """Print a line for each row of one or two versions."""
    for rows in zip(*versions, strict=True):
        speeds = " -> ".join(f"{row[1]:5.2f}" for row in rows)
        times = " -> ".join(f"{row[2]:6.1f}" for row in rows)
        ratio = f"({rows[-1][1] / rows[0][1]:.2f} x)" if len(rows) > 1 else ""
        differ = "" if len({row[3] for row in rows}) == 1 else "   other texts!"
        print(f"{title} {rows[0][0]:7} {speeds} {ratio:10} {times}{differ}", flush=True)


if __name__ == "__main__":
    main()
