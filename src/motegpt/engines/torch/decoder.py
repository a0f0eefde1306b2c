"""The torch engine's KV cache: one token in, logits out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from motegpt.engines.base import Decoder, check_sources
from motegpt.engines.torch.model import Layer, Transformer, merge_heads

if TYPE_CHECKING:
    from motegpt.config.sections import ModelConfig


class TorchDecoder(Decoder):
    """Keys and values of n sequences: two tensors (L, n, H, block_size, D)."""

    def __init__(self, network: Transformer, model: ModelConfig, n: int) -> None:
        self._network, self._model, self._n = network, model, n
        shape = (2, model.n_layer, n, model.n_head, model.block_size, model.head_size)
        self._keys, self._values = torch.zeros(shape, dtype=network.wte.dtype, device=network.wte.device)
        self._position = 0

    def reset(self) -> None:
        self._position = 0

    @torch.no_grad()
    def reorder(self, sources: Sequence[int]) -> None:
        check_sources(sources, self._n)
        order, seen = torch.tensor(sources, device=self._keys.device), slice(0, self._position)
        for cache in (self._keys, self._values):
            cache[:, :, :, seen] = cache[:, order, :, seen]

    @torch.no_grad()
    def feed(self, ids: Sequence[int]) -> list[list[float]]:
        """ids (n,) -> logits (n, V)."""
        if self._position >= self._model.block_size:
            raise ValueError(f"decoder: expected at most block_size = {self._model.block_size} tokens")
        network = self._network
        x = network.embed(torch.tensor(ids, device=network.wte.device)[:, None], self._position)
        for i, layer in enumerate(network.layers()):
            x = self._layer(x, i, layer)
        self._position += 1
        logits: list[list[float]] = network.head(x)[:, 0].tolist()
        return logits

    def _layer(self, x: Tensor, i: int, layer: Layer) -> Tensor:
        """x (n, 1, C) -> x (n, 1, C), as Layer.forward does it for the last position alone."""
        eps = self._model.norm_eps
        q, k, v = layer.heads(F.rms_norm(x, x.shape[-1:], eps=eps))
        self._keys[i, :, :, self._position] = k[:, :, 0]
        self._values[i, :, :, self._position] = v[:, :, 0]
        seen = slice(0, self._position + 1)
        a = F.scaled_dot_product_attention(q, self._keys[i, :, :, seen], self._values[i, :, :, seen])
        x = x + F.linear(merge_heads(a), layer.attn_wo)
        return x + layer.mlp(F.rms_norm(x, x.shape[-1:], eps=eps))
