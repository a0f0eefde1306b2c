"""The transformer over arrays, once: for training (with a tape), decoding (with a cache) and inspection.

Sequences are padded on the right to the longest of the batch. The padding needs no mask: causality
keeps it from the positions before it, and its weight in the loss is zero.

Points (ops/points.py) show the intermediates of a forward pass under the names of TransformerLens, and let
hooks change them:

    hook_embed, hook_pos_embed           (B, T, C)     rows of wte and of wpe, the latter if learned
    hook_ngram_embed                     (B, T, C)     sum of the vectors, with an n-gram embedding alone
    embed.ln.hook_scale, …_normalized    as below      with embedding_norm alone
    blocks.{i}.hook_resid_pre            (B, T, C)     the residual stream as it enters layer i
    blocks.{i}.ln1.hook_scale            (B, T, 1)     √(mean(x²) + eps), which the norm divides by; of
                                                       LayerNorm, x minus its mean; nothing without norms
    blocks.{i}.ln1.hook_normalized       (B, T, C)     the norm's result, with its gain and bias
    blocks.{i}.attn.hook_q, k, v         (B, T, H, D)  of k and v the heads that queries share
    blocks.{i}.attn.q_norm.hook_scale    (B, T, H, 1)  as of ln1, for each head; with qk_norm alone
    blocks.{i}.attn.q_norm.hook_normalized  (B, T, H, D)  before the gain; k_norm has the same two
    blocks.{i}.attn.hook_rot_q, rot_k    (B, T, H, D)  q and k rotated; with RoPE alone
    blocks.{i}.attn.hook_attn_scores     (B, H, T, U)  q · kᵀ / √D of these, -inf where u is after t
    blocks.{i}.attn.hook_pattern         (B, H, T, U)  softmax of the scores
    blocks.{i}.attn.hook_z               (B, T, H, D)  pattern · v
    blocks.{i}.hook_attn_out             (B, T, C)     z · attn_woᵀ, with its bias
    blocks.{i}.hook_resid_mid            (B, T, C)     resid_pre + attn_out
    blocks.{i}.ln2.hook_scale, …_normalized            as of ln1
    blocks.{i}.mlp.hook_pre, hook_post   (B, T, hidden)  before and after the activation
    blocks.{i}.mlp.hook_pre_linear       (B, T, hidden)  what SwiGLU multiplies by its gate, whose is hook_pre
    blocks.{i}.hook_mlp_out              (B, T, C)
    blocks.{i}.hook_resid_post           (B, T, C)     resid_mid + mlp_out
    ln_final.hook_scale, …_normalized                  as of ln1; with final_norm alone
    logits                               (B, T, V)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from motegpt.engines.array import ops
from motegpt.engines.array.ops import Array, Ids
from motegpt.engines.array.tape import Tape, apply
from motegpt.model.dropout import EMBEDDING_SITE, attention_site, mlp_site
from motegpt.model.spec import FINAL_NORM, bias_name, head_name, table_names

if TYPE_CHECKING:
    from motegpt.config.sections import ModelConfig
    from motegpt.engines.array.tape import Operation
    from motegpt.model.dropout import Masks
    from motegpt.ngrams.vectors import Vectors

Weights = Mapping[str, Array]
Trace = dict[str, Array]  # the intermediates of one forward pass by name


class Cache:
    """Keys and values of the positions so far: two arrays (L, B, kv_heads, block_size, D)."""

    def __init__(self, model: ModelConfig, batch: int, dtype: np.dtype[Any]) -> None:
        shape = (model.n_layer, batch, model.kv_heads, model.block_size, model.head_size)
        self.keys, self.values = np.zeros((2, *shape), dtype)
        self.length = 0

    def append(self, layer: int, k: Array, v: Array) -> tuple[Array, Array]:
        """k and v (B, K, T, D) of new positions -> those of all positions, (B, K, length + T, D)."""
        end = self.length + k.shape[2]
        self.keys[layer, :, :, self.length : end] = k
        self.values[layer, :, :, self.length : end] = v
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]


@dataclass
class Pass:
    """One forward pass over B sequences: what it computes with, and where its intermediates are shown."""

    w: Weights
    model: ModelConfig
    batch: int
    apply: Callable[..., Array]
    cache: Cache | None
    points: ops.Points | None
    masks: Masks | None
    rotations: ops.RotateSaved | None  # of the positions, with RoPE

    def linear(self, x: Array, name: str) -> Array:
        """x (N, in) -> (N, out), by the matrix of that name and its bias, if it has one."""
        y, bias = self.apply(ops.linear, x, self.w[name]), self.w.get(bias_name(name))
        return y if bias is None else self.apply(ops.add_bias, y, bias)

    def norm(self, x: Array, place: str, hook: str) -> Array:
        """x (N, C) -> (N, C), by the norm at a place such as "layer0.ln1", with its gain and bias."""
        operation = ops.NORMS[self.model.norm]
        return x if operation is None else self.noted_norm(hook, operation, x, place)

    def noted_norm(self, hook: str, operation: Operation, x: Array, place: str | None = None) -> Array:
        """One of ops.NORMS, with the gain and bias of a place; shows its scale and its result."""
        h = self.scaled(f"{hook}.hook_scale", operation, x, ops.as_rows(self.batch))
        if (gain := self.w.get(f"{place}_gain")) is not None:
            h = self.apply(ops.apply_gain, h, gain)
        if (bias := self.w.get(f"{place}_bias")) is not None:
            h = self.apply(ops.add_bias, h, bias)
        return self.note(f"{hook}.hook_normalized", h)

    def scaled(self, hook: str, operation: Operation, x: Array, layout: ops.Layout) -> Array:
        """One of ops.NORMS; shows its scale."""
        if self.points is None:
            return self.apply(operation, x, self.model.norm_eps)
        point = ops.Point(self.points, hook, layout)
        return self.apply(ops.norm_at_point, x, operation, self.model.norm_eps, point)

    def dropout(self, x: Array, site: int) -> Array:
        """x (N, C) -> (N, C), times the mask of a site; x itself without masks."""
        if self.masks is None:
            return x
        rows = np.arange(self.batch, dtype=np.uint64)[:, None]
        numbers = np.arange(x.size // self.batch, dtype=np.uint64)
        kept = self.masks.keeps(self.masks.key(site, rows), numbers).reshape(x.shape)
        return self.apply(ops.dropout, x, kept * x.dtype.type(self.masks.scale))

    def note(self, hook: str, x: Array, layout: ops.Layout | None = None) -> Array:
        """x itself, shown in a layout, as (B, T, C) by default; or what a hook makes of it."""
        if self.points is None:
            return x
        return self.apply(ops.at_point, x, ops.Point(self.points, hook, layout or ops.as_rows(self.batch)))


def forward(
    w: Weights,
    ids: Ids,
    model: ModelConfig,
    tape: Tape | None = None,
    cache: Cache | None = None,
    points: ops.Points | None = None,
    masks: Masks | None = None,
    vectors: Vectors | None = None,
) -> Array:
    """ids (B, T) -> logits (N, V).

    tape: records what is applied; cache: the positions before these, to which it adds these (without a tape,
    as it has no gradient); points: show the intermediates that the top of this file lists; masks: of dropout;
    vectors: those of the n-gram embedding, if there is one.
    """
    batch, t = ids.shape
    start = 0 if cache is None else cache.length
    rotations = ops.rotations(model, start, t, w["wte"].dtype) if model.position == "rope" else None
    run = Pass(w, model, batch, apply if tape is None else tape.apply, cache, points, masks, rotations)
    x = embed(run, ids, start, vectors)
    mask = ops.causal_mask(t, start, x.dtype)
    for i in range(model.n_layer):
        x = layer(run, i, x, mask)
    if cache is not None:
        cache.length += t
    return head(run, x)


def head(run: Pass, x: Array) -> Array:
    """x (N, C) -> logits (N, V)"""
    if run.model.final_norm:
        x = run.norm(x, FINAL_NORM, "ln_final")
    return run.note("logits", run.linear(x, head_name(run.model)))


def embed(run: Pass, ids: Ids, start: int, vectors: Vectors | None) -> Array:
    """ids (B, T) of the positions from `start` on -> x (N, C)"""
    apply, w = run.apply, run.w
    x = run.note("hook_embed", apply(ops.lookup, w["wte"], ids))
    if (wpe := w.get("wpe")) is not None:  # with learned positions alone
        x = apply(ops.add, x, run.note("hook_pos_embed", apply(ops.positions, wpe, start, *ids.shape)))
    if vectors is not None:
        x = apply(ops.add, x, run.note("hook_ngram_embed", ngrams(run, vectors)))
    if run.model.embedding_norm:
        x = run.noted_norm("embed.ln", ops.rmsnorm, x)
    return run.dropout(x, EMBEDDING_SITE)


def ngrams(run: Pass, vectors: Vectors) -> Array:
    """(N, C): the sum of the vectors of the contexts that end at a position, one of each order."""
    found = [
        run.apply(ops.vectors, run.w[name], rows.ravel(), vectors.scale)
        for name, rows in zip(table_names(run.model), vectors.rows, strict=True)
    ]
    return reduce(lambda x, y: run.apply(ops.add, x, y), found)


def layer(run: Pass, i: int, x: Array, mask: Array) -> Array:
    """x (N, C) -> x (N, C): x + attention(norm x), then x + mlp(norm x), dropout on what is added."""
    apply, note, w, at = run.apply, run.note, f"layer{i}", f"blocks.{i}"
    x = note(f"{at}.hook_resid_pre", x)
    z = attention(run, i, run.norm(x, f"{w}.ln1", f"{at}.ln1"), mask)
    attn_out = note(f"{at}.hook_attn_out", run.linear(z, f"{w}.attn_wo"))
    x_attn = note(f"{at}.hook_resid_mid", apply(ops.add, x, run.dropout(attn_out, attention_site(i))))
    mlp_out = note(f"{at}.hook_mlp_out", mlp(run, i, run.norm(x_attn, f"{w}.ln2", f"{at}.ln2")))
    out = apply(ops.add, x_attn, run.dropout(mlp_out, mlp_site(i)))
    return note(f"{at}.hook_resid_post", out)


def mlp(run: Pass, i: int, h: Array) -> Array:
    """h (N, C) -> (N, C): activation(h · fc1ᵀ) · fc2ᵀ; gated, activation(h · gateᵀ, h · fc1ᵀ) · fc2ᵀ."""
    w, at, activation = f"layer{i}", f"blocks.{i}.mlp", ops.ACTIVATIONS[run.model.activation]
    if run.model.gated:
        a = run.note(f"{at}.hook_pre", run.linear(h, f"{w}.mlp_gate"))
        u = run.note(f"{at}.hook_pre_linear", run.linear(h, f"{w}.mlp_fc1"))
        g = run.apply(activation, a, u)
    else:
        g = run.apply(activation, run.note(f"{at}.hook_pre", run.linear(h, f"{w}.mlp_fc1")))
    return run.linear(run.note(f"{at}.hook_post", g), f"{w}.mlp_fc2")


def attention(run: Pass, i: int, h: Array, mask: Array) -> Array:
    """h (N, C) -> z (N, C), what the heads take from the positions so far."""
    apply, model, at = run.apply, run.model, f"blocks.{i}.attn"
    q, k, v = (
        run.note(
            f"{at}.hook_{name}",
            apply(ops.split_heads, run.linear(h, f"layer{i}.attn_w{name}"), run.batch, heads),
            ops.HEADS,
        )
        for name, heads in (("q", model.n_head), ("k", model.kv_heads), ("v", model.kv_heads))
    )
    if model.qk_norm:
        q = apply(ops.scale, head_norm(run, f"{at}.q_norm", q), run.w[f"layer{i}.attn_q_gain"])
        k = head_norm(run, f"{at}.k_norm", k)
    if run.rotations is not None:
        q = run.note(f"{at}.hook_rot_q", apply(ops.rotate, q, run.rotations), ops.HEADS)
        k = run.note(f"{at}.hook_rot_k", apply(ops.rotate, k, run.rotations), ops.HEADS)
    if run.cache is not None:
        k, v = run.cache.append(i, k, v)
    if model.kv_heads != model.n_head:
        k, v = (apply(ops.repeat_heads, x, model.n_head // model.kv_heads) for x in (k, v))
    scores = run.note(f"{at}.hook_attn_scores", apply(ops.attention_scores, q, k, mask), ops.SAME)
    p = run.note(f"{at}.hook_pattern", apply(ops.softmax, scores), ops.SAME)
    return run.note(f"{at}.hook_z", apply(ops.attend, p, v), ops.as_heads(run.batch, model.n_head))


def head_norm(run: Pass, hook: str, x: Array) -> Array:
    """x (B, H, T, D) -> (B, H, T, D), the RMSNorm of each head."""
    y = run.scaled(f"{hook}.hook_scale", ops.rmsnorm, x, ops.HEADS)
    return run.note(f"{hook}.hook_normalized", y, ops.HEADS)


def trace_of(w: Weights, ids: Ids, model: ModelConfig, vectors: Vectors | None = None) -> Trace:
    """The intermediates of one forward pass over ids (B, T), by name."""
    points = ops.Points()
    forward(w, ids, model, points=points, vectors=vectors)
    return points.values


def unembed(w: Weights, x: Array, model: ModelConfig) -> Array:
    """The residual stream x (B, T, C) after any layer -> logits (B, T, V), as if it were the last."""
    run = Pass(w, model, len(x), apply, None, None, None, None)
    return head(run, x.reshape(-1, x.shape[-1])).reshape(*x.shape[:2], -1)


def pad(rows: Sequence[Sequence[Any]], dtype: np.dtype[Any] | type = np.intp) -> NDArray[Any]:
    """Ragged token ids, or weights of targets -> (B, T), filled with zeros on the right."""
    longest = max(map(len, rows))
    return np.array([[*row, *[0] * (longest - len(row))] for row in rows], dtype=dtype)
