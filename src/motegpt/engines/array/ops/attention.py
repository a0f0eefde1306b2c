"""Attention (Vaswani et al., 2017): p = softmax(q · kᵀ / √D + mask), z = p · v for each head."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from motegpt.engines.array.ops.base import Array, backward_of
from motegpt.engines.array.ops.heads import merge_heads, split_heads


def causal_mask(t: int, start: int, dtype: np.dtype[Any]) -> Array:
    """(T, start + T): 0 where position start + i may look at position u (u <= start + i), else -inf."""
    at = np.arange(start + t)
    mask: Array = np.where(at <= at[start:, None], dtype.type(0), dtype.type(-np.inf))
    return mask


class ScoresSaved(NamedTuple):
    """q (B, H, T, D), k (B, H, U, D)"""

    q: Array
    k: Array


def attention_scores(q: Array, k: Array, mask: Array) -> tuple[Array, ScoresSaved]:
    """scores = q · kᵀ / √D + mask.   q (B, H, T, D), k (B, H, U, D), mask (T, U) -> scores (B, H, T, U)"""
    scores: Array = q @ k.swapaxes(-1, -2)
    scores *= q.shape[-1] ** -0.5
    scores += mask
    return scores, ScoresSaved(q, k)


@backward_of(attention_scores)
def attention_scores_backward(dscores: Array, saved: ScoresSaved) -> tuple[Array, Array]:
    """Of scores = q · kᵀ / √D + mask: dq and dk."""
    q, k = saved
    dproduct = dscores * q.shape[-1] ** -0.5
    return dproduct @ k, dproduct.swapaxes(-1, -2) @ q


class SoftmaxSaved(NamedTuple):
    """p (…, U)"""

    p: Array


def softmax(x: Array) -> tuple[Array, SoftmaxSaved]:
    """p = e / Σe with e = exp(x - max x), over the last axis."""
    e: Array = np.exp(x - x.max(axis=-1, keepdims=True))
    e /= e.sum(axis=-1, keepdims=True)
    return e, SoftmaxSaved(e)


@backward_of(softmax)
def softmax_backward(dp: Array, saved: SoftmaxSaved) -> Array:
    """Of p = e / Σe with e = exp(x - max x): dx = p · (dp - Σ dp·p). Where p = 0, as if masked, dx is 0."""
    (p,) = saved
    dx: Array = p * (dp - (dp * p).sum(axis=-1, keepdims=True))
    return dx


class AttendSaved(NamedTuple):
    """p (B, H, T, U), v (B, H, U, D)"""

    p: Array
    v: Array


def attend(p: Array, v: Array) -> tuple[Array, AttendSaved]:
    """z = merge_heads(p · v).   p (B, H, T, U), v (B, H, U, D) -> z (N, C)"""
    return merge_heads(p @ v), AttendSaved(p, v)


@backward_of(attend)
def attend_backward(dz: Array, saved: AttendSaved) -> tuple[Array, Array]:
    """Of z = merge_heads(p · v): dp and dv."""
    p, v = saved
    dz, _ = split_heads(dz, *p.shape[:2])
    return dz @ v.swapaxes(-1, -2), p.swapaxes(-1, -2) @ dz
