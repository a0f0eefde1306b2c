"""The transformer over arrays: the forward pass, and under it the backward pass that mirrors it.

Sequences are padded on the right to the longest of the batch. The padding needs no mask: causality
keeps it from the positions before it, and its weight in the loss is zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from motegpt.engines.array import ops
from motegpt.engines.array.ops import Array, Ids

if TYPE_CHECKING:
    from motegpt.config.sections import ModelConfig
    from motegpt.engines.array.node_clip import Backward

Weights = dict[str, Array]


@dataclass
class LayerTape:
    """What one layer's backward needs: inputs of its products, scales of its norms, attention's p."""

    x: Array  # (N, C) as it came in
    r: Array  # (N, 1) scale of the first norm
    h: Array  # (N, C) after the first norm
    q: Array  # (B, H, T, D), as are k and v
    k: Array
    v: Array
    p: Array  # (B, H, T, T) attention's probabilities
    a: Array  # (N, C) attention's output before attn_wo
    x_mid: Array  # (N, C) after the first residual
    r_mid: Array  # (N, 1)
    h_mid: Array  # (N, C)
    u: Array  # (N, 4C) before the activation
    g: Array  # (N, 4C) after it


@dataclass
class Tape:
    """What the whole backward needs."""

    ids: Ids  # (B, T)
    embedded: Array  # (N, C) before the optional norm
    r: Array | None
    layers: list[LayerTape] = field(default_factory=list)
    x: Array = field(default_factory=lambda: np.empty(0))  # (N, C) before the head


def head_of(w: Weights, model: ModelConfig) -> str:
    """The name of the matrix that turns channels into logits."""
    return "wte" if model.tied else "lm_head"


def forward(w: Weights, ids: Ids, model: ModelConfig) -> tuple[Array, Tape]:
    """ids (B, T) -> logits (B·T, V), and the tape."""
    x = ops.embedding(ids, w["wte"], w["wpe"])
    tape = Tape(ids, x, None)
    if model.embedding_norm:
        x, tape.r = ops.rmsnorm(x, model.norm_eps)
    mask = ops.causal_mask(ids.shape[1], x.dtype)
    for i in range(model.n_layer):
        x, layer = layer_forward(w, f"layer{i}.", x, ids.shape[0], mask, model)
        tape.layers.append(layer)
    tape.x = x
    return ops.linear(x, w[head_of(w, model)]), tape


def backward(dlogits: Array, tape: Tape, w: Weights, dw: Weights, model: ModelConfig, back: Backward) -> None:
    """Adds the gradient of every parameter to dw; `back` is the module ops, or takes its place."""
    head = head_of(w, model)
    dx = back.linear_backward(dlogits, tape.x, w[head], dw[head])
    for i in reversed(range(model.n_layer)):
        dx = layer_backward(dx, tape.layers[i], w, dw, f"layer{i}.", model, back)
    if tape.r is not None:
        dx = back.rmsnorm_backward(dx, tape.embedded, tape.r)
    back.embedding_backward(dx, tape.ids, dw["wte"], dw["wpe"])


def layer_forward(
    w: Weights, at: str, x: Array, batch: int, mask: Array, model: ModelConfig
) -> tuple[Array, LayerTape]:
    """x (N, C) -> x (N, C): x + attention(norm x), then x + mlp(norm x)."""
    h, r = ops.rmsnorm(x, model.norm_eps)
    q, k, v = (ops.split_heads(ops.linear(h, w[f"{at}attn_w{name}"]), batch, model.n_head) for name in "qkv")
    y, p = ops.attention(q, k, v, mask)
    a = ops.merge_heads(y)
    x_mid = ops.add(x, ops.linear(a, w[f"{at}attn_wo"]))
    h_mid, r_mid = ops.rmsnorm(x_mid, model.norm_eps)
    u = ops.linear(h_mid, w[f"{at}mlp_fc1"])
    g = ops.activation(u, model.activation)
    out = ops.add(x_mid, ops.linear(g, w[f"{at}mlp_fc2"]))
    return out, LayerTape(x, r, h, q, k, v, p, a, x_mid, r_mid, h_mid, u, g)


def layer_backward(
    dx: Array, tape: LayerTape, w: Weights, dw: Weights, at: str, model: ModelConfig, back: Backward
) -> Array:
    """dx (N, C) after the layer -> dx (N, C) before it; each line mirrors one above, last first."""
    batch = tape.q.shape[0]

    def through(name: str, dy: Array, x: Array) -> Array:
        return back.linear_backward(dy, x, w[at + name], dw[at + name])

    dg = through("mlp_fc2", dx, tape.g)
    du = back.activation_backward(dg, tape.u, model.activation)
    dh_mid = through("mlp_fc1", du, tape.h_mid)
    dx = back.add_backward(dx) + back.rmsnorm_backward(dh_mid, tape.x_mid, tape.r_mid)
    da = through("attn_wo", dx, tape.a)
    dy = ops.split_heads(da, batch, model.n_head)
    dq, dk, dv = back.attention_backward(dy, tape.q, tape.k, tape.v, tape.p)
    dh_q, dh_k, dh_v = (
        through(f"attn_w{name}", ops.merge_heads(d), tape.h) for name, d in (("q", dq), ("k", dk), ("v", dv))
    )
    return back.add_backward(dx) + back.rmsnorm_backward(dh_q + dh_k + dh_v, tape.x, tape.r)


def pad(rows: Sequence[Sequence[Any]], dtype: np.dtype[Any] | type = np.intp) -> NDArray[Any]:
    """Ragged token ids, or weights of targets -> (B, T), filled with zeros on the right."""
    longest = max(map(len, rows))
    return np.array([[*row, *[0] * (longest - len(row))] for row in rows], dtype=dtype)
