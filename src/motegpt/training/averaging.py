"""The n-grams that the GPT of a run is averaged with, and their weight."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from motegpt.config.text import shortened
from motegpt.evaluation.nll import never_target
from motegpt.ngrams.average import MIN_FITTED, Average, constant_weight
from motegpt.ngrams.kneser_ney import KneserNey

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from motegpt.data.tokenizers import Tokenizer
    from motegpt.engines.base import Engine
    from motegpt.training.validation import Validation

MAX_COUNT = 2**40  # occurrences of an n-gram


@dataclass
class Averaging:
    """weight: as set, or None to fit it; saved: the weight in the run folder; fitted: the step of the best
    parameters, and the weight fitted to them.
    """

    n_grams: KneserNey
    weight: float | None = None
    saved: float | None = None
    fitted: tuple[int, float] | None = None

    def average(self, validation: Validation | None, best_engine: Callable[[], Engine]) -> Average:
        """The average with the best parameters; without enough validation data, with a constant weight."""
        if self.weight is not None:
            return Average(self.n_grams, self.weight)
        if validation is None or validation.best is None or validation.data.sampled_targets < MIN_FITTED:
            return Average(self.n_grams, constant_weight(self.n_grams))
        step = validation.best.step
        if self.fitted is None or self.fitted[0] != step:
            self.fitted = step, validation.fitted_weight(best_engine(), self.n_grams)
        return Average(self.n_grams, self.fitted[1])


def count_n_grams(documents: Sequence[str], tokenizer: Tokenizer, order: int) -> KneserNey:
    """The n-grams of whole documents, or of the stream that they are: of training data, or of everything."""
    sequences, is_stream = whole_sequences(documents, tokenizer), tokenizer.bos is None
    return KneserNey.count(sequences, order, tokenizer.vocab_size, never_target(tokenizer), is_stream)


def whole_sequences(documents: Sequence[str], tokenizer: Tokenizer) -> Sequence[Sequence[int]]:
    """The ids of each document, or of the stream that they are, to count n-grams in."""
    is_stream = tokenizer.bos is None
    return [tokenizer.encode_stream(documents)] if is_stream else tokenizer.encode_documents(documents)


def arrays_of(n_grams: KneserNey) -> dict[str, NDArray[Any]]:
    """The contents of a file: the longest n-grams and their counts, from which all others follow."""
    counts = n_grams.counts.astype(np.min_scalar_type(n_grams.counts.max()))
    return {"grams": np.ascontiguousarray(n_grams.grams), "counts": counts}


def restored(arrays: dict[str, NDArray[Any]], weight: object, tokenizer: Tokenizer, order: int) -> Average:
    """The average in a file; ValueError if it is not one of n-grams of this order and these token ids."""
    grams, counts = arrays["grams"], arrays["counts"]
    if not isinstance(weight, float) or not 0 <= weight <= 1:
        raise ValueError(f"weight: expected a number from 0 to 1, got {shortened(weight)}")
    if grams.shape != (len(counts), order) or counts.ndim != 1 or not len(counts):
        raise ValueError(
            f"grams, counts: expected shapes (n, {order}) and (n,), got {grams.shape} and {counts.shape}"
        )
    if not 1 <= counts.min() <= counts.max() <= MAX_COUNT:
        raise ValueError(f"counts: expected 1 to {MAX_COUNT:,}, got {counts.min()} to {counts.max()}")
    vocab_size, never = tokenizer.vocab_size, never_target(tokenizer)
    if grams.max() > vocab_size + 1 or grams[:, -1].max() >= vocab_size or (grams[:, -1] == never).any():
        raise ValueError(f"grams: expected ids of {vocab_size} tokens, got others")
    grams = grams.astype(np.min_scalar_type(vocab_size + 1))  # wider ones would make keys of floats
    return Average(KneserNey(grams, counts, vocab_size, never), weight)
