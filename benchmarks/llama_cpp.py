"""The table of docs/interchange.md for llama.cpp: the largest error of every architecture that it has.

    python benchmarks/llama_cpp.py

An error is the largest difference of a log-probability of the next token, in nats, from motegpt's own in
double precision, after up to 40 random texts. Greedy texts are compared with llama.cpp's default settings. It
needs gguf and xllamacpp, which `make test-interchange` installs.
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

import numpy as np
import xllamacpp

sys.path.insert(0, str(Path(__file__).parents[1]))

from motegpt import GPT
from tests.exported import small_model
from tests.llama_cpp import LlamaCpp
from tests.test_llama_cpp import MODELS, log_softmax

COUNT, NEW = 40, 4  # sequences, greedy tokens


def texts(model: GPT) -> list[str]:
    """Random texts of the alphabet that leave room for new tokens."""
    rng, alphabet = random.Random(0), model.tokenizer.alphabet or "aehilmnoxz -éë"
    longest = model.config.model.block_size - NEW - 1
    return ["".join(rng.choices(alphabet, k=rng.randint(1, longest))) for _ in range(COUNT)]


def error(model: GPT, llama: LlamaCpp, text: str) -> float:
    """The largest difference of a log-probability after a text."""
    size, forced = model.tokenizer.vocab_size, model.tokenizer.encode("a")[0]
    got = llama.log_probabilities(text, size, forced)
    return float(np.abs(got - log_softmax(model.logits(text)[-1])).max())


def main() -> None:
    """Print the table."""
    print(f"xllamacpp {xllamacpp.__version__}\n")
    print("| model | single precision | default settings | greedy text |")
    print("|---|---|---|---|")
    for name, settings in MODELS.items():
        model = small_model(preset=name.partition(",")[0], **settings)
        chosen = [one for one in texts(model) if len(model.tokenizer.encode(one)) <= 11]
        with tempfile.TemporaryDirectory() as folder:
            model.export(Path(folder) / "model.gguf", to="gguf")
            precise, default = (
                LlamaCpp(Path(folder) / "model.gguf", is_single) for is_single in (True, False)
            )
            errors = [max(error(model, llama, text) for text in chosen) for llama in (precise, default)]
            same = sum(
                text + default.greedy(text, NEW)
                == model.generate(1, temperature=0, prefix=text, max_new_tokens=NEW)[0]
                for text in chosen
            )
        print(f"| {name} | {errors[0]:.0e} | {errors[1]:.0e} | {same} of {len(chosen)} |", flush=True)


if __name__ == "__main__":
    main()
