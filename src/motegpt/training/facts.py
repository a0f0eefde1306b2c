"""The facts of data that the automatic settings depend on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from motegpt.config.presets import CONSTANTS
from motegpt.config.sections import DataConfig, section_values
from motegpt.data.cut import sizes_of
from motegpt.data.plan import longest_sequence
from motegpt.data.tokenizers import Tokenizer

if TYPE_CHECKING:
    from motegpt.data.corpus import Corpus

SAMPLED = 1000  # documents whose words are counted
SOME = 200  # different documents, as far as they are counted
ORDER_FROM = 50_000  # documents from which the order of Kneser-Ney is chosen


class Tuning(NamedTuple):
    """How a trained model is trained on new data.

    epochs: passes over the data; rate: the learning rate, as a share of that of a new model; weight: of the
    n-grams of a small list, which is too little to fit it.
    """

    epochs: int
    rate: float
    weight: float


class Facts(NamedTuple):
    """What the choice depends on.

    documents: of a stream, 1; tokens: targets; longest: the smallest block_size that truncates none; is_ids:
    whether the data are ids, for which n-grams are not chosen;
    kneser_ney: the best order of n-grams; words: per document, on average over the first SAMPLED; distinct:
    different documents, counted up to SOME; tuning: of a model that is trained already.
    """

    documents: int
    tokens: int
    longest: int
    vocab_size: int
    kneser_ney: int
    is_stream: bool
    is_ids: bool = False
    words: float = 1.0
    distinct: int = SOME
    tuning: Tuning | None = None


def facts_of(
    corpus: Corpus, given: Mapping[str, Any], tokenizer: Tokenizer | None = None, tuning: Tuning | None = None
) -> Facts:
    """The facts of a corpus. given: settings; tokenizer, tuning: of a model that is trained already."""
    from statistics import fmean

    data = DataConfig.of(section_values({**CONSTANTS, **given}, "data"))
    is_stream = data.is_stream
    tokenizer = Tokenizer.fit(corpus.documents, data) if tokenizer is None else tokenizer
    sizes = sizes_of(corpus.documents, tokenizer)
    is_chosen = "kneser_ney" not in given and not data.is_ids
    order = _best_order(corpus, tokenizer) if is_chosen else given.get("kneser_ney")
    return Facts(
        documents=len(corpus.documents),
        tokens=int(sizes.sum()) + (-1 if is_stream else len(sizes) * (tokenizer.specials - 1)),
        longest=int(sizes.max()) + tokenizer.specials - longest_sequence(0, data.cut),
        vocab_size=tokenizer.vocab_size,
        kneser_ney=order or 0,
        is_stream=is_stream,
        is_ids=data.is_ids,
        words=1.0 if data.is_ids else fmean(len(text.split()) for text in islice(corpus.documents, SAMPLED)),
        distinct=_distinct(corpus.documents),
        tuning=tuning,
    )


def _distinct(documents: Iterable[str]) -> int:
    """How many of them are different, up to SOME."""
    found = set[str]()
    for document in documents:
        found.add(document)
        if len(found) == SOME:
            break
    return len(found)


def _best_order(corpus: Corpus, tokenizer: Tokenizer) -> int:
    """The order of Kneser-Ney n-grams with the lowest loss on a part of the data."""
    from motegpt.ngrams.kneser_ney import chosen_order
    from motegpt.training.averaging import whole_sequences

    sequences = whole_sequences(corpus.documents, tokenizer)
    every = -(-len(sequences) // ORDER_FROM)
    return chosen_order(sequences if every == 1 else list(sequences)[::every], tokenizer.vocab_size)
