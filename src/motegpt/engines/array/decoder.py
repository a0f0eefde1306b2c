"""The array engine's decoder: a KV cache, and the model's forward pass over the newest tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from motegpt.engines.array.model import Cache, Weights, forward
from motegpt.engines.base import Decoder, check_sources
from motegpt.ngrams.vectors import LastTokens

if TYPE_CHECKING:
    from motegpt.config.sections import ModelConfig
    from motegpt.ngrams.contexts import Contexts


class ArrayDecoder(Decoder):
    """A cache of n sequences."""

    def __init__(self, w: Weights, model: ModelConfig, n: int, contexts: Contexts | None = None) -> None:
        """contexts: of the n-gram embedding, if there is one."""
        self._w, self._model, self._n = w, model, n
        self.cache = Cache(model, n, w["wte"].dtype)
        self._ends = LastTokens(contexts, n) if contexts is not None and contexts.keys else None

    def reset(self) -> None:
        self.cache.length = 0
        if self._ends is not None:
            self._ends.reset()

    def reorder(self, sources: Sequence[int]) -> None:
        check_sources(sources, self._n)
        seen = slice(0, self.cache.length)
        for array in (self.cache.keys, self.cache.values):
            array[:, :, :, seen] = array[:, sources, :, seen]
        if self._ends is not None:
            self._ends.reorder(sources)

    def feed(self, ids: Sequence[int]) -> Sequence[Sequence[float]]:
        """ids (n,) -> logits (n, V)."""
        if self.cache.length >= self._model.block_size:
            raise ValueError(f"decoder: expected at most block_size = {self._model.block_size} tokens")
        vectors = None if self._ends is None else self._ends.feed(ids)
        with np.errstate(all="ignore"):  # as ArrayEngine.logits
            new = np.asarray(ids)[:, None]
            logits = forward(self._w, new, self._model, cache=self.cache, vectors=vectors)
        return logits  # type: ignore[return-value]
