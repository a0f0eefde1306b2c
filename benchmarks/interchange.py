"""The table of docs/interchange.md: the largest error of every architecture in every program.

    python benchmarks/interchange.py

An error is the largest difference of a logit from motegpt's own in double precision, over random sequences:
at once, and token by token with a cache. It needs torch and transformers; `make test-interchange` makes an
environment for each major of the latter, such as build/transformers5/bin/python.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from motegpt import GPT
from motegpt.interchange.layouts import layout_of
from tests.exported import ARCHITECTURES, small_model
from tests.test_transformers import (
    CACHE,
    difference,
    greedy,
    loaded,
    logits_of,
    sequences,
    torch,
    transformers,
)


def errors(model: GPT, folder: Path) -> list[float]:
    """In float64 and float32 at once, and in float64 with a cache."""
    found = []
    with torch.no_grad():
        for dtype, use_cache in ((torch.float64, False), (torch.float32, False), (torch.float64, True)):
            theirs, _ = loaded(folder, dtype=dtype)
            worst = 0.0
            for ids in sequences(model, count=20):
                x, logits, cache = torch.tensor([ids]), [], {}
                for part in np.split(np.arange(len(ids)), range(1, len(ids)) if use_cache else []):
                    out = theirs(x[:, part], use_cache=use_cache, **cache)
                    cache = {CACHE: out.past_key_values} if use_cache else {}
                    logits.append(out.logits[0])
                worst = max(worst, difference(torch.cat(logits), logits_of(model, ids)))
            found.append(worst)
    return found


def main() -> None:
    """Print the table."""
    print(f"transformers {transformers.__version__}, torch {torch.__version__}\n")
    print("| architecture | class | float64 | float32 | with a cache | greedy text |")
    print("|---|---|---|---|---|---|")
    for name, (_, settings) in ARCHITECTURES.items():
        model = small_model(**settings)
        with tempfile.TemporaryDirectory() as parent:
            folder = Path(parent) / "out"
            model.export(folder)
            numbers = " | ".join(f"{error:.0e}" for error in errors(model, folder))
            is_same = greedy(*loaded(folder), [""]) == model.generate(1, temperature=0)
        layout = layout_of(model.config.model)
        print(
            f"| {name} | {layout.architecture} | {numbers} | {'same' if is_same else 'ANOTHER'} |", flush=True
        )


if __name__ == "__main__":
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    main()
