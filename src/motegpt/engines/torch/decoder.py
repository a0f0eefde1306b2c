"""The torch engine's decoder: the transformer with a KV cache, one token per sequence and call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from motegpt.engines.base import Decoder, check_sources
from motegpt.engines.torch.batches import rows_and_scales
from motegpt.engines.torch.model import LayerCache, Transformer
from motegpt.ngrams.vectors import LastTokens

if TYPE_CHECKING:
    from motegpt.config.sections import ModelConfig
    from motegpt.ngrams.contexts import Contexts


class TorchDecoder(Decoder):
    """The caches of n sequences, one for each layer."""

    def __init__(
        self, network: Transformer, model: ModelConfig, n: int, contexts: Contexts | None = None
    ) -> None:
        """contexts: of the n-gram embedding, if there is one."""
        self._network, self._model, self._n = network, model, n
        shape = (n, model.kv_heads, model.block_size, model.head_size)
        self._caches = [LayerCache(shape, network.wte) for _ in range(model.n_layer)]
        self._ends = LastTokens(contexts, n) if contexts is not None and contexts.keys else None

    def reset(self) -> None:
        for cache in self._caches:
            cache.length = 0
        if self._ends is not None:
            self._ends.reset()

    @torch.no_grad()
    def reorder(self, sources: Sequence[int]) -> None:
        check_sources(sources, self._n)
        order = torch.tensor(sources, device=self._network.wte.device)
        for cache in self._caches:
            cache.reorder(order)
        if self._ends is not None:
            self._ends.reorder(sources)

    @torch.no_grad()
    def feed(self, ids: Sequence[int]) -> list[list[float]]:
        """ids (n,) -> logits (n, V)."""
        if self._caches[0].length >= self._model.block_size:
            raise ValueError(f"decoder: expected at most block_size = {self._model.block_size} tokens")
        wte, vectors = self._network.wte, []
        if self._ends is not None:
            vectors = [x.to(wte.device) for x in rows_and_scales(self._ends.feed(ids), wte.dtype)]
        x = torch.tensor(ids, device=wte.device)[:, None]
        logits: list[list[float]] = self._network.logits(x, self._caches, None, *vectors)[:, 0].tolist()
        return logits
