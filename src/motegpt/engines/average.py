"""An engine averaged with Kneser-Ney n-grams, for generation and evaluation: log p in place of logits.

As the GPT, the n-grams see no token before the block or the context window.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from motegpt.engines.base import Decoder
from motegpt.engines.losses import Losses, losses_by_logits
from motegpt.ngrams.kneser_ney import grams_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from motegpt.config.sections import ModelConfig
    from motegpt.data.batches import Batch, Chunk
    from motegpt.engines.base import Engine
    from motegpt.generation.request import Request
    from motegpt.generation.rows import Rows
    from motegpt.model.rng import Stream
    from motegpt.ngrams.average import Average


class Averaged:
    """A LanguageModel of an engine and n-grams."""

    def __init__(self, engine: Engine, average: Average) -> None:
        self.engine, self.average = engine, average

    @property
    def model(self) -> ModelConfig:
        """The architecture of the GPT."""
        return self.engine.model

    def why_not(self, *, request: Request | None = None) -> str | None:
        """See Engine.why_not."""
        return self.engine.why_not(request=request)

    def logits(self, batch: Batch) -> list[NDArray[np.floating[Any]]]:
        """log p (n_b, V) after each token of each sequence."""
        found = self.engine.logits(batch)
        ends = np.cumsum([len(row) for row in batch.inputs])
        padded = [[*row, 0] for row in batch.inputs]
        n_grams = self.average.kneser_ney
        histories = grams_of(padded, n_grams.order, n_grams.vocab_size)[:, :-1]
        return np.split(self.average.log_probabilities(np.concatenate(found), histories), ends[:-1])

    def nll(self, chunk: Chunk) -> Losses:
        """See Engine.nll."""
        batch = chunk.batch(0)
        return losses_by_logits(self.logits(batch), batch)

    def decoder(self, n: int) -> AveragedDecoder:
        """See Engine.decoder."""
        return AveragedDecoder(self.engine.decoder(n), self.average, n)

    def generate(self, request: Request, rngs: Sequence[Stream]) -> list[list[int]]:
        """See Engine.generate."""
        return self.engine.generate(request, rngs, self.average)

    def generate_rows(self, request: Request, states: NDArray[np.uint64]) -> Rows:
        """See Engine.generate_rows."""
        return self.engine.generate_rows(request, states, self.average)


class AveragedDecoder(Decoder):
    """A decoder of the GPT, and the last order - 1 tokens of each sequence."""

    def __init__(self, decoder: Decoder, average: Average, n: int) -> None:
        self._decoder, self._average = decoder, average
        self._histories = np.empty((n, average.kneser_ney.order - 1), np.int64)
        self._forget()

    def feed(self, ids: Sequence[int]) -> Sequence[Sequence[float]]:
        """ids (n,) -> log p (n, V), which are logits too."""
        logits = np.asarray(self._decoder.feed(ids))
        self._histories[:, :-1] = self._histories[:, 1:]
        self._histories[:, -1] = ids
        return self._average.log_probabilities(logits, self._histories)  # type: ignore[return-value]

    def reorder(self, sources: Sequence[int]) -> None:
        self._decoder.reorder(sources)
        self._histories = self._histories[list(sources)]

    def reset(self) -> None:
        self._decoder.reset()
        self._forget()

    def _forget(self) -> None:
        self._histories[:] = self._average.kneser_ney.vocab_size  # START
