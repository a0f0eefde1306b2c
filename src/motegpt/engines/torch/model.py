"""The transformer as PyTorch modules whose parameters have the canonical names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, assert_never, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from motegpt.engines.torch.ops import rotations
from motegpt.model import spec as parameters
from motegpt.model.spec import FINAL_NORM, bias_name, table_names

if TYPE_CHECKING:
    from motegpt.config.sections import ModelConfig
    from motegpt.engines.torch.ops import Operations, Rotations


class LayerCache:
    """Keys and values (n, G, block_size, D) of one layer, of which the first `length` positions are known."""

    def __init__(self, shape: Sequence[int], like: Tensor) -> None:
        """like: a tensor of the precision and on the device to use."""
        self.keys, self.values = torch.zeros((2, *shape), dtype=like.dtype, device=like.device)
        self.length = 0

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """k, v (n, G, 1, D) of the next position -> keys and values so far, (n, G, length, D)"""
        at, self.length = self.length, self.length + 1
        self.keys[:, :, at], self.values[:, :, at] = k[:, :, 0], v[:, :, 0]
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def reorder(self, order: Tensor) -> None:
        """Let sequence i continue from sequence order[i]."""
        for x in (self.keys, self.values):
            x[:, :, : self.length] = x[order, :, : self.length]


class Module(nn.Module):
    """Some tensors of the specification as parameters, uninitialized, and the operations on them."""

    def __init__(self, model: ModelConfig, ops: Operations, specified: Iterable[parameters.Tensor]) -> None:
        """specified: the tensors of this module."""
        super().__init__()
        self._model, self._ops = model, ops
        self._specified = {tensor.attribute: tensor for tensor in specified}
        for name, tensor in self._specified.items():
            self.register_parameter(name, nn.Parameter(torch.empty(tensor.shape)))

    def optional(self, name: str) -> nn.Parameter | None:
        """The parameter of that name; None if the specification has none."""
        return getattr(self, name) if name in self._specified else None

    def linear(self, x: Tensor, matrix: str) -> Tensor:
        """x · matrixᵀ, plus its bias if there is one.   (…, in) -> (…, out)"""
        return self._ops.linear(x, getattr(self, matrix), self.optional(bias_name(matrix)))

    def norm(self, x: Tensor, place: str) -> Tensor:
        """(B, T, C) -> (B, T, C), by the norm at a place such as "ln1"."""
        gain, bias = self.optional(f"{place}_gain"), self.optional(f"{place}_bias")
        return self._ops.norm(self._model.norm, x, gain, bias, self._model.norm_eps)


class Layer(Module):
    """x + attention(norm x), then x + mlp(norm x); in training, dropout on what is added."""

    attn_wo: nn.Parameter
    attn_q_gain: nn.Parameter  # with qk_norm

    def __init__(
        self,
        model: ModelConfig,
        ops: Operations,
        specified: Iterable[parameters.Tensor],
        dropout: float,
    ) -> None:
        super().__init__(model, ops, specified)
        self._dropout = dropout

    def forward(
        self,
        x: Tensor,
        cache: LayerCache | None = None,
        keys: Tensor | None = None,
        rotations: Rotations | None = None,
    ) -> Tensor:
        """(B, T, C) -> (B, T, C). With a cache, T = 1: the position after those that it holds.

        keys (B, 2): of the masks after attention and MLP; rotations: of the T positions, with RoPE.
        """
        x = self._ops.add(x, self.drop(self.attention(self.norm(x, "ln1"), cache, rotations), keys, 0))
        return self._ops.add(x, self.drop(self.mlp(self.norm(x, "ln2")), keys, 1))

    def drop(self, x: Tensor, keys: Tensor | None, i: int) -> Tensor:
        """(B, T, C) -> (B, T, C), by the mask of column i of the keys; x itself without keys."""
        return x if keys is None else self._ops.dropout(x, keys[:, i], self._dropout, self.attn_wo.dtype)

    def attention(self, h: Tensor, cache: LayerCache | None, rotations: Rotations | None) -> Tensor:
        """(B, T, C) -> (B, T, C). The one position fed to a cache comes last, so it sees all of them."""
        ops, model = self._ops, self._model
        q = split_heads(self.linear(h, "attn_wq"), model.n_head)
        k, v = (split_heads(self.linear(h, w), model.kv_heads) for w in ("attn_wk", "attn_wv"))
        if model.qk_norm:
            q = ops.rmsnorm(q, model.norm_eps) * self.attn_q_gain
            k = ops.rmsnorm(k, model.norm_eps)
        if rotations is not None:
            q, k = ops.rotate(q, rotations), ops.rotate(k, rotations)
        q, k = q.to(v.dtype), k.to(v.dtype)  # with autocast norms and rotations are in float32
        if cache is not None:
            k, v = cache.append(k, v)
        return self.linear(merge_heads(ops.attention(q, k, v, causal=cache is None)), "attn_wo")

    def mlp(self, h: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)"""
        a = self.linear(h, "mlp_gate" if self._model.gated else "mlp_fc1")
        g = self._ops.activation(a, self._model.activation)
        return self.linear(g * self.linear(h, "mlp_fc1") if self._model.gated else g, "mlp_fc2")


class Transformer(Module):
    """The whole model; calling it returns the loss.

    Rows are padded on the right. The padding needs no mask: causality keeps it from the positions before
    it, and its weight in the loss is zero.
    """

    wte: nn.Parameter
    wpe: nn.Parameter  # with learned positions

    def __init__(
        self, model: ModelConfig, ops: Operations, recompute: bool = False, dropout: float = 0.0
    ) -> None:
        """recompute: save only the inputs of layers, and compute the rest again in the backward pass.

        dropout: its probability, where the loss is given keys.
        """
        specified: defaultdict[str, list[parameters.Tensor]] = defaultdict(list)
        for tensor in parameters.tensors(model):
            specified[tensor.module].append(tensor)
        super().__init__(model, ops, specified.pop(""))
        for name, layer in specified.items():
            self.add_module(name, Layer(model, ops, layer, dropout))
        self._recompute, self._dropout = recompute, dropout

    def forward(
        self,
        ids: Tensor,
        targets: Tensor,
        weights: Tensor,
        keys: Tensor | None = None,
        rows: Tensor | None = None,
        scales: Tensor | None = None,
    ) -> Tensor:
        """Σ weights · -log p(targets), in nats.   The fields of a Part -> ()"""
        logits = self.logits(ids, None, keys, rows, scales).flatten(0, 1)
        return self._ops.cross_entropy(logits, targets.flatten(), weights.flatten())

    def logits(
        self,
        ids: Tensor,
        caches: Sequence[LayerCache] | None = None,
        keys: Tensor | None = None,
        rows: Tensor | None = None,
        scales: Tensor | None = None,
    ) -> Tensor:
        """ids (B, T) -> logits (B, T, V). With a cache per layer, T = 1: the position after theirs.

        keys, rows, scales: as in Part.
        """
        x, rotated = self.embed(ids, caches[0].length if caches else 0, rows, scales)
        if keys is not None:
            x = self._ops.dropout(x, keys[:, 0], self._dropout, self.wte.dtype)
        for i, layer in enumerate(self.layers):
            own = None if keys is None else keys[:, 2 * i + 1 : 2 * i + 3]
            inputs = x, caches[i] if caches else None, own, rotated
            if self._recompute and torch.is_grad_enabled():
                x = cast(Tensor, checkpoint(layer, *inputs, use_reentrant=False, preserve_rng_state=False))
            else:
                x = layer(*inputs)
        return self.head(x)

    def embed(
        self, ids: Tensor, at: int, rows: Tensor | None, scales: Tensor | None
    ) -> tuple[Tensor, Rotations | None]:
        """ids (B, T), the first at position `at` -> (B, T, C), and with RoPE their rotations"""
        ops, model, rotated = self._ops, self._model, None
        x = F.embedding(ids, self.wte)
        match model.position:
            case "learned":
                x = ops.add(x, self.wpe[at : at + ids.shape[1]])
            case "rope":
                rotated = rotations(model, at, ids.shape[1], self.wte)
            case "none":
                pass
            case _:
                assert_never(model.position)
        if rows is not None and scales is not None:
            for name, row, scale in zip(table_names(model), rows, scales, strict=True):
                x = x + F.embedding(row, getattr(self, name)) * scale[..., None]
        return ops.rmsnorm(x, model.norm_eps) if model.embedding_norm else x, rotated

    def head(self, x: Tensor) -> Tensor:
        """(B, T, C) -> logits (B, T, V)"""
        x = self.norm(x, FINAL_NORM) if self._model.final_norm else x
        return self.linear(x, "wte" if self._model.tied else "lm_head")

    @cached_property
    def layers(self) -> list[Layer]:
        """The layers, first to last."""
        return [cast(Layer, self.get_submodule(f"layer{i}")) for i in range(self._model.n_layer)]


def allocate(network: nn.Module, device: torch.device) -> None:
    """Give parameters without memory theirs; `to_empty` does so too, but imports SymPy, for half a second."""
    for module in network.modules():
        for name, w in module.named_parameters(recurse=False):
            module.register_parameter(name, nn.Parameter(torch.empty(w.shape, dtype=w.dtype, device=device)))


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, T, heads · D) -> (B, heads, T, D)"""
    b, t, c = x.shape
    return x.view(b, t, heads, c // heads).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """(B, H, T, D) -> (B, T, C), the inverse of split_heads."""
    return x.transpose(1, 2).flatten(2)
