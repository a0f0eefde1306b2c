"""Compare tokenizers on a corpus: how long its documents become, and how well n-grams predict them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

from motegpt.config.sections.data import NEEDED_BY, TOKENIZERS_WITH
from motegpt.data.check import Tokens
from motegpt.data.tokenizers import TOKENIZERS, Tokenizer
from motegpt.evaluation.nll import evaluation_sequences
from motegpt.ngrams.kneser_ney import HELD_OUT, losses_by_order

if TYPE_CHECKING:
    from motegpt.config.sections import DataConfig
    from motegpt.data.documents import Documents

MOST_CHARACTERS = 100_000  # of the corpus that are compared
LEAST_DOCUMENTS, LEAST_CHARACTERS = 2 * HELD_OUT, 500
ORDERS = range(2, 7)


def compare_tokenizers(documents: Documents, data: DataConfig) -> list[Tokens]:
    """Each tokenizer that needs no setting of its own, and that of the settings; none for a tiny corpus.

    Measured on at most MOST_CHARACTERS characters. The bits are those of the best order of Kneser-Ney n-grams
    on every HELD_OUT-th document, or on the end of a stream.
    """
    training, held_out = _sides(documents, data.is_stream)
    if not held_out or sum(map(len, [*training, *held_out])) < LEAST_CHARACTERS:
        return []
    kinds = [
        kind
        for kind, tokenizer in TOKENIZERS.items()
        if kind == data.tokenizer or not (kind in NEEDED_BY or tokenizer.is_ids)
    ]
    return [_tokens(training, held_out, _with_tokenizer(data, kind)) for kind in kinds]


def _sides(documents: Documents, is_stream: bool) -> tuple[list[str], list[str]]:
    """A training and a held-out part of at most MOST_CHARACTERS characters together."""
    if is_stream:
        text = documents[0][:MOST_CHARACTERS]
        at = len(text) * (HELD_OUT - 1) // HELD_OUT
        return [text[:at]], [text[at:]]
    every = max(1, math.ceil(sum(documents.lengths) / MOST_CHARACTERS))
    longest = MOST_CHARACTERS // LEAST_DOCUMENTS
    found = list(dict.fromkeys(text[:longest] for text in islice(documents, 0, None, every)))
    if len(found) < LEAST_DOCUMENTS:
        return found, []
    return [one for i, one in enumerate(found) if i % HELD_OUT], found[::HELD_OUT]


def _with_tokenizer(data: DataConfig, kind: str) -> DataConfig:
    """The settings with another tokenizer, without those that it does not have."""
    off = {name: None for name, kinds in TOKENIZERS_WITH.items() if kind not in kinds}
    return data.replace(tokenizer=kind, **off)


def _tokens(training: Sequence[str], held_out: Sequence[str], data: DataConfig) -> Tokens:
    tokenizer = Tokenizer.fit([*training, *held_out], data)
    evaluated = evaluation_sequences(held_out, tokenizer)
    targets = sum(map(len, evaluated)) - len(evaluated)
    losses = losses_by_order(
        evaluation_sequences(training, tokenizer), evaluated, tokenizer.vocab_size, ORDERS
    )
    characters = sum(map(tokenizer.text_length, held_out))
    documents = len(held_out) if tokenizer.stop is not None else characters / 1000
    return Tokens(
        kind=data.tokenizer,
        vocab_size=tokenizer.vocab_size,
        per_document=(targets - len(held_out) * (tokenizer.stop is not None)) / documents,
        bits_per_character=min(losses.values()) / math.log(2) * targets / characters,
    )
