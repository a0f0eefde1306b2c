"""Direct logit attribution: the logits as a sum over what wrote to the residual stream.

The residual stream x is a sum of parts: embeddings, heads, MLPs and biases. The head is linear, and so is the
final norm once its scale s is taken as it was in the run (Elhage et al., 2021, A Mathematical Framework for
Transformer Circuits). A part's share of a logit is then part · d / s, where d is the token's row of the
head times the norm's gain, of LayerNorm minus its mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from motegpt.config.text import concise
from motegpt.model.spec import FINAL_NORM, bias_name, head_name

if TYPE_CHECKING:
    from motegpt.config.sections import ModelConfig
    from motegpt.engines.array.model import Weights
    from motegpt.engines.array.ops import Array, Ids
    from motegpt.lens.activations import Activations


@dataclass(frozen=True, repr=False)
class Attribution:
    """What each part adds to logits, in nats: values (P, …), row i of the part labels[i].

    Labels are those of TransformerLens: embed, pos_embed, L0H1 for head 1 of layer 0, 0_mlp_out, bias (of all
    attention outputs, and of the final norm).
    """

    labels: tuple[str, ...]
    values: Array
    n_layer: int

    def __getitem__(self, label: str) -> Array:
        """The row of a part; KeyError for others."""
        if label not in self.labels:
            raise KeyError(f"expected one of {', '.join(self.labels)}, got {label!r}")
        row: Array = self.values[self.labels.index(label)]
        return row

    @property
    def heads(self) -> Array:
        """(L, H, …): the rows of the heads."""
        values = self.values[[label.startswith("L") for label in self.labels]]
        return values.reshape(self.n_layer, -1, *values.shape[1:])

    def __repr__(self) -> str:
        return concise(type(self).__name__, {"parts": len(self.labels), "shape": self.values.shape})


def logit_attribution(
    found: Activations, w: Weights, model: ModelConfig, tokens: Ids | None, others: Ids | None
) -> Attribution:
    """values (P, B, T, V) of all logits; of the logit of tokens (B, T), (P, B, T), minus that of `others`."""
    labels, parts = zip(*residual_parts(found, w, model), strict=True)
    scale, bias = final_scale(found, model), w.get(f"{FINAL_NORM}_bias", np.zeros(model.n_embd))
    if tokens is None:
        directions = logit_directions(w, model)  # (V, C)
        values = np.stack([part @ directions.T / scale for part in parts])
        values[-1] += w[head_name(model)] @ bias
    else:
        directions = chosen(logit_directions(w, model), tokens, others)  # (B, T, C)
        values = np.stack([(part * directions).sum(axis=-1) / scale[..., 0] for part in parts])
        values[-1] += chosen(w[head_name(model)], tokens, others) @ bias
    return Attribution(labels, values, model.n_layer)


def source_attribution(
    found: Activations, w: Weights, model: ModelConfig, tokens: Ids, others: Ids | None
) -> Attribution:
    """values (L·H, B, T, U): what head and position u add to the logit of tokens (B, T) at position t.

    p[t, u] · v[u] · W_Oᵀ · d / s, whose sum over u is the row of the head.
    """
    directions = chosen(logit_directions(w, model), tokens, others) / final_scale(found, model)
    labels, values = [], []
    for i in range(model.n_layer):
        p, v = found["pattern", i], found["v", i].repeat(model.n_head // model.kv_heads, axis=2)
        wo = by_head(w[f"layer{i}.attn_wo"], model)
        values.append(np.einsum("bhtu,buhd,chd,btc->hbtu", p, v, wo, directions, optimize=True))
        labels += head_labels(i, model)
    return Attribution(tuple(labels), np.concatenate(values), model.n_layer)


def residual_parts(found: Activations, w: Weights, model: ModelConfig) -> Iterator[tuple[str, Array]]:
    """Labels and arrays (B, T, C), whose sum is the residual stream after all layers; the bias is last."""
    embed_scale = found["embed.ln.hook_scale"] if model.embedding_norm else 1.0
    for name in ("embed", "pos_embed", "ngram_embed"):
        if name in found:
            yield name, found[name] / embed_scale
    bias = np.zeros(model.n_embd)
    for i in range(model.n_layer):
        heads = np.einsum("bthd,chd->hbtc", found["z", i], by_head(w[f"layer{i}.attn_wo"], model))
        yield from zip(head_labels(i, model), heads, strict=True)
        yield f"{i}_mlp_out", found["mlp_out", i]
        bias = bias + w.get(bias_name(f"layer{i}.attn_wo"), 0.0)
    yield "bias", np.broadcast_to(bias, found["resid_post", -1].shape)


def by_head(wo: Array, model: ModelConfig) -> Array:
    """attn_wo (C, H·D) -> (C, H, D)"""
    return wo.reshape(len(wo), model.n_head, model.head_size)


def head_labels(i: int, model: ModelConfig) -> list[str]:
    """The labels of the heads of layer i."""
    return [f"L{i}H{head}" for head in range(model.n_head)]


def final_scale(found: Activations, model: ModelConfig) -> Array:
    """(B, T, 1): what the final norm divides by; 1 without one."""
    if model.final_norm:
        return found["ln_final.hook_scale"]
    return np.ones((*found["resid_post", -1].shape[:2], 1))


def logit_directions(w: Weights, model: ModelConfig) -> Array:
    """(V, C): d of each token."""
    directions = w[head_name(model)]
    if model.final_norm:
        directions = directions * w.get(f"{FINAL_NORM}_gain", 1.0)
        if model.norm == "layer":
            directions = directions - directions.mean(axis=1, keepdims=True)
    return directions


def chosen(rows: Array, tokens: Ids, others: Ids | None) -> Array:
    """(B, T, C): the rows of tokens (B, T), minus those of `others`."""
    return rows[tokens] if others is None else rows[tokens] - rows[others]
