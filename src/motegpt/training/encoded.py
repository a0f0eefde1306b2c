"""A corpus that is split and encoded: what trainings with the same data settings have in common."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from motegpt.data.cut import Cut, cut_of
from motegpt.data.plan import encode
from motegpt.data.repeats import all_equal
from motegpt.data.sequences import TokenSequences
from motegpt.data.split import split
from motegpt.data.tokenizers import Tokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from motegpt.config.sections import DataConfig
    from motegpt.config.sections.data import CutRule
    from motegpt.data.corpus import Corpus
    from motegpt.training.validation import ValidationSet


class Encoded:
    """Parts are computed when they are first used, and kept.

    tokenizer: fit to the corpus unless one is given; training, held_out: documents.
    """

    def __init__(
        self, corpus: Corpus, data: DataConfig, seed: int, tokenizer: Tokenizer | None = None
    ) -> None:
        """seed: of the training, for the split. DataError if there is too little to hold out."""
        self.corpus = corpus
        self.tokenizer = Tokenizer.fit(corpus.documents, data) if tokenizer is None else tokenizer
        self.training, self.held_out = split(corpus.documents, data, seed)
        self._validations: dict[int, ValidationSet] = {}
        self._samples: dict[int, ValidationSet] = {}
        self._cuts: dict[tuple[int, CutRule], Cut] = {}

    @cached_property
    def ids(self) -> TokenSequences:
        """Of the training documents, not truncated, or of the stream, as one sequence."""
        return encode(self.training, self.tokenizer)

    @cached_property
    def sequences(self) -> Sequence[Sequence[int]]:
        """Of the held-out documents, not truncated, or of the end of the stream; empty without any."""
        from motegpt.evaluation.nll import evaluation_sequences

        return evaluation_sequences(self.held_out, self.tokenizer) if self.held_out else ()

    def validation(self, block_size: int) -> ValidationSet:
        """The held-out documents for evaluations of a model with this block."""
        if block_size not in self._validations:
            self._validations[block_size] = self._evaluated(self.sequences, block_size)
        return self._validations[block_size]

    def training_sample(self, block_size: int) -> ValidationSet:
        """Of data that are ids: the training data, to evaluate as the held-out ones."""
        if block_size not in self._samples:
            self._samples[block_size] = self._evaluated(self.ids, block_size)
        return self._samples[block_size]

    def _evaluated(self, sequences: Sequence[Sequence[int]], block_size: int) -> ValidationSet:
        from motegpt.training.validation import ValidationSet

        return ValidationSet(sequences, block_size, self.tokenizer.vocab_size)

    @cached_property
    def identical(self) -> bool:
        """Whether all training documents are equal; False for a stream."""
        return not self.tokenizer.is_stream and all_equal(self.training)

    def cut(self, block_size: int, rule: CutRule) -> Cut | None:
        """The training documents that block_size truncates; None for a stream."""
        if self.tokenizer.is_stream:
            return None
        import numpy as np

        if (block_size, rule) not in self._cuts:
            specials = self.tokenizer.specials
            sizes = np.diff(self.ids.offsets) - specials
            self._cuts[block_size, rule] = cut_of(sizes, block_size, rule, specials)
        return self._cuts[block_size, rule]
