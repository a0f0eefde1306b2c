"""Bits per character on held-out text, by tokenizer, at an equal budget.

    python benchmarks/tokens.py manual.txt --stream
    python benchmarks/tokens.py cities.txt --seconds 10 --tokenizers characters bpe:512 bpe:2000 words:2000

Trains with the default settings on all but a tenth, which is evaluated: the end of a text, or every tenth
different entry of a list. Characters that the rest does not have are dropped from it.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

from motegpt import GPT

TENTH = 10


def sides(text: str, is_stream: bool) -> tuple[list[str], list[str]]:
    """The training part and the held-out part."""
    if is_stream:
        at = len(text) * (TENTH - 1) // TENTH
        training, held_out = [text[:at]], [text[at:]]
    else:
        lines = list(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))
        training = [line for i, line in enumerate(lines) if i % TENTH]
        held_out = lines[::TENTH]
    known = set().union(*training)
    return training, ["".join(c for c in one if c in known) for one in held_out]


def main() -> None:
    """Print a line per tokenizer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--stream", action="store_true", help="the file is one text")
    parser.add_argument("--seconds", type=float, default=10.0, help="budget of each training")
    parser.add_argument(
        "--tokenizers",
        nargs="+",
        metavar="KIND:SIZE",
        default=["characters", "bpe:512", "bpe:2000", "words:2000"],
    )
    given = parser.parse_args()
    training, held_out = sides(given.file.read_text(encoding="utf-8"), given.stream)
    warnings.simplefilter("ignore")
    print("| tokenizer | ids | tokens | GPT | Kneser-Ney | both | seconds |\n|---|---|---|---|---|---|---|")
    for name in given.tokenizers:
        kind, _, size = name.partition(":")
        settings = {"tokenizer": kind, **({"max_vocab_size": int(size)} if size else {})}
        settings |= {"format": "stream"} if given.stream else {}
        start = time.perf_counter()
        model = GPT.train(training, seconds=given.seconds, seed=1, **settings)
        seconds = time.perf_counter() - start
        found = model.evaluate(held_out)
        bits = [
            found.bits_per_character(one) for one in ("gpt", "kneser-ney", "model") if one in found.losses
        ]
        shown = " | ".join(f"{one:.3f}" for one in bits)
        print(
            f"| {name} | {model.tokenizer.vocab_size:,} | {found.tokens:,} | {shown} | {seconds:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
