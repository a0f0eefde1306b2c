"""Time to load a run of 12 layers, 768 wide, its peak memory, and the time per token of one sequence.

    python benchmarks/loading.py --repeats 3 --vocab 27 50257 --engines native torch

Engines take turns, each time in a process of its own. The bound is the time in which one thread reads as many
bytes as the parameters have, by a sum. Times are the least of all repeats; peaks are of resident memory, the
pages of a mapped file included, above that of a process that has imported the same libraries.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np

from motegpt import GPT
from motegpt.config.presets import settings_of
from motegpt.config.sections import DataConfig, ModelConfig, SampleConfig, TrainConfig, section_values
from motegpt.data.source import Source
from motegpt.data.tokenizers import Tokenizer
from motegpt.engines import engine_class
from motegpt.model.spec import parameter_count, tensors
from motegpt.training.run_folder import RunFolder
from motegpt.training.state import RunConfig

SHAPE = {"n_layer": 12, "n_embd": 768, "n_head": 12, "block_size": 1024}
FIRST_CHARACTER = 0x4E00  # ideographs and syllables follow: enough characters for any vocabulary here
WARM_UP = 4  # tokens


def make_run(path: Path, vocab_size: int) -> None:
    """A run with random parameters, of the preset microgpt but for its size."""
    settings = {**settings_of("microgpt"), **SHAPE, "dtype": "float32", "steps": 1}
    data, train, sample = (
        section.of(section_values(settings, name))
        for name, section in (("data", DataConfig), ("train", TrainConfig), ("sample", SampleConfig))
    )
    letters = (chr(code) for code in range(FIRST_CHARACTER, 0x110000) if not 0xD800 <= code < 0xF900)
    tokenizer = Tokenizer.fit(["".join(islice(letters, vocab_size - 1))], data)
    model = ModelConfig.of({**section_values(settings, "model"), "vocab_size": tokenizer.vocab_size})
    source = Source(kind="memory", path=None, sha256="0" * 64, documents=1)
    config = RunConfig(engine="native", model=model, data=data, train=train, sample=sample, source=source)
    rng = np.random.default_rng(1)
    parameters = {one.name: rng.normal(0, 0.02, one.shape).astype(np.float32) for one in tensors(model)}
    RunFolder.create(path, config, tokenizer).save_parameters(parameters, tokenizer)


def peak() -> float:
    """Peak resident memory of this process, in MB (Linux)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1000


def measure(run: str, engine: str, tokens: int) -> dict[str, float]:
    """Seconds to load, MB at the peak of loading and of generating, and ms per token."""
    engine_class(engine)
    import safetensors.numpy  # noqa: F401  # not a part of loading

    before = peak()
    start = time.perf_counter()
    model = GPT.load(run, engine)
    loaded = time.perf_counter() - start
    found = {"load_s": loaded, "load_MB": peak() - before}
    decoder, times = model.engine.decoder(1), []
    for token in range(tokens + WARM_UP):
        start = time.perf_counter()
        decoder.feed([token % model.tokenizer.vocab_size])
        times.append(time.perf_counter() - start)
    ms = np.array(times[WARM_UP:]) * 1e3
    return {**found, "ms": float(ms.min()), "median_ms": float(np.median(ms)), "peak_MB": peak() - before}


def bound(parameters: int) -> float:
    """ms in which one thread sums as many bytes as the parameters have."""
    numbers = np.ones(parameters, np.float32)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        numbers.sum()
        times.append(time.perf_counter() - start)
    return min(times) * 1e3


def main() -> None:
    """Print a table for each vocabulary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--vocab", type=int, nargs="+", default=[27, 50257])
    parser.add_argument("--engines", nargs="+", default=["native", "torch"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--one", nargs=2, metavar=("RUN", "ENGINE"), help="measure one engine, in JSON")
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(*given.one, given.tokens)))
        return
    for vocab_size in given.vocab:
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder) / "run"
            make_run(run, vocab_size)
            compare(str(run), given)


def compare(run: str, given: argparse.Namespace) -> None:
    """Print a line for each engine, which take turns."""
    model = RunFolder(run).config().model
    size = parameter_count(model)
    print(f"vocabulary {model.vocab_size}: {size:,} parameters, {4 * size / 1e6:,.0f} MB")
    found: dict[str, list[dict[str, float]]] = {engine: [] for engine in given.engines}
    bounds = []
    for _ in range(given.repeats):
        bounds.append(bound(size))
        for engine, results in found.items():
            words = [sys.executable, __file__, "--tokens", str(given.tokens), "--one", run, engine]
            done = subprocess.run(words, capture_output=True, text=True, check=True)
            results.append(json.loads(done.stdout))
    print(f"  memory, read once: {min(bounds):6.1f} ms ({4 * size / min(bounds) / 1e6:.1f} GB/s)")
    for engine, results in found.items():
        least = {key: min(result[key] for result in results) for key in results[0]}
        print(
            f"  {engine:>8}: loads in {least['load_s']:6.3f} s, {least['load_MB']:7,.0f} MB; a token takes "
            f"{least['ms']:6.1f} ms (median {least['median_ms']:.1f}), {least['peak_MB']:7,.0f} MB"
        )


if __name__ == "__main__":
    main()
