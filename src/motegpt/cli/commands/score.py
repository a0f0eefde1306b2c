"""motegpt score"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

import click

from motegpt.cli.console import log, print_result
from motegpt.cli.options import json_option, model_options, run_argument
from motegpt.config.text import has_surrogate, shortened
from motegpt.errors import DataError, UsageError
from motegpt.views.text import one_line

if TYPE_CHECKING:
    from motegpt.evaluation.nll import Score

LINES_PER_BATCH = 1024


@click.command()
@run_argument
@click.argument("texts", nargs=-1, required=True)
@model_options
@json_option
def command(
    run: str, texts: tuple[str, ...], engine: str | None, checkpoint: str | None, as_json: bool
) -> None:
    """Score each of TEXTS under the model in the folder RUN; - reads lines from standard input.

    Prints the log-probability in nats, the bits per character and the text, separated by tabs. The end of
    a text counts as one character. A text with a character unknown to the model has probability zero:
    -inf, or null in JSON. For a model of ids, as in "3 1 2", the bits are per token; a
    mask that the model was trained with does not apply, and every id after the first counts.

    Example: motegpt score runs/names emma - < more.txt
    """
    from motegpt.api.gpt import GPT

    model = GPT.load(run, engine, checkpoint)
    lines = _lines(texts)
    while batch := list(islice(lines, LINES_PER_BATCH)):
        for score in model.score(batch):
            unknown = model.tokenizer.unknown(score.text)
            if unknown:
                shown = model.tokenizer.shown_unknown(unknown)
                log(f"{shortened(score.text)}: not in the vocabulary: {shown}")
            print_result(_as_json(score, unknown) if as_json else _as_line(score))


def _lines(texts: tuple[str, ...]) -> Iterator[str]:
    """The texts; each - is replaced by the lines of standard input."""
    for text in texts:
        if text != "-":
            if has_surrogate(text):  # a byte that is not UTF-8
                raise UsageError(f"score: expected texts in UTF-8, got {shortened(text)}")
            yield text
            continue
        if sys.stdin is None:
            raise UsageError("score: expected lines on standard input, got a closed one")
        for number, line in enumerate(sys.stdin.buffer, 1):
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                byte = f"byte 0x{line[error.start]:02x} in line {number}"
                raise DataError(f"standard input: expected UTF-8, got {byte}") from None


def _as_line(score: Score) -> str:
    return f"{score.log_probability:.4f}\t{score.bits:.4f}\t{one_line(score.text)}"


def _as_json(score: Score, unknown: str) -> str:
    possible = math.isfinite(score.log_probability)
    values = {
        "text": score.text,
        "log_probability": score.log_probability if possible else None,
        f"bits_per_{score.unit}": score.bits if possible else None,
        "tokens": score.tokens,
        **({"unknown": unknown} if unknown else {}),
    }
    return json.dumps(values)
