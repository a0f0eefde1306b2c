"""The array engine's KV cache: one token in, logits out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from motegpt.engines.array import ops
from motegpt.engines.array.model import Weights, head_of
from motegpt.engines.array.ops import Array
from motegpt.engines.base import Decoder, check_sources

if TYPE_CHECKING:
    from motegpt.config.sections import ModelConfig


class ArrayDecoder(Decoder):
    """Keys and values of n sequences: two arrays (L, n, H, block_size, D)."""

    def __init__(self, w: Weights, model: ModelConfig, n: int) -> None:
        self._w, self._model, self._n = w, model, n
        shape = (model.n_layer, n, model.n_head, model.block_size, model.head_size)
        self._keys, self._values = np.zeros((2, *shape), w["wte"].dtype)
        self._position = 0

    def reset(self) -> None:
        self._position = 0

    def reorder(self, sources: Sequence[int]) -> None:
        check_sources(sources, self._n)
        seen = slice(0, self._position)
        for cache in (self._keys, self._values):
            cache[:, :, :, seen] = cache[:, sources, :, seen]

    def feed(self, ids: Sequence[int]) -> Sequence[Sequence[float]]:
        """ids (n,) -> logits (n, V)."""
        if self._position >= self._model.block_size:
            raise ValueError(f"decoder: expected at most block_size = {self._model.block_size} tokens")
        with np.errstate(all="ignore"):  # as ArrayEngine.logits
            return self._logits(ids)

    def _logits(self, ids: Sequence[int]) -> Sequence[Sequence[float]]:
        w, model = self._w, self._model
        x: Array = w["wte"][np.asarray(ids)] + w["wpe"][self._position]
        if model.embedding_norm:
            x, _ = ops.rmsnorm(x, model.norm_eps)
        for i in range(model.n_layer):
            x = self._layer(x, i)
        self._position += 1
        return ops.linear(x, w[head_of(w, model)])  # type: ignore[return-value]

    def _layer(self, x: Array, i: int) -> Array:
        """x (n, C) -> x (n, C), as layer_forward does it for the last position alone."""
        w, model, at = self._w, self._model, f"layer{i}."
        h, _ = ops.rmsnorm(x, model.norm_eps)
        q, k, v = (
            ops.split_heads(ops.linear(h, w[f"{at}attn_w{name}"]), self._n, model.n_head) for name in "qkv"
        )
        self._keys[i, :, :, self._position] = k[:, :, 0]
        self._values[i, :, :, self._position] = v[:, :, 0]
        seen = slice(0, self._position + 1)
        everything = np.zeros((1, self._position + 1), x.dtype)
        y, _ = ops.attention(q, self._keys[i, :, :, seen], self._values[i, :, :, seen], everything)
        x = x + ops.linear(ops.merge_heads(y), w[f"{at}attn_wo"])
        h, _ = ops.rmsnorm(x, model.norm_eps)
        g = ops.activation(ops.linear(h, w[f"{at}mlp_fc1"]), model.activation)
        return x + ops.linear(g, w[f"{at}mlp_fc2"])
