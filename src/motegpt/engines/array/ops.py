"""The operations of the model over arrays, each forward directly above its backward.

dx is the gradient of the loss with respect to x. Letters: B sequences, T positions, N = B·T rows, C
channels, H heads, D = C / H, V vocabulary; in attention, U positions that T positions may look at.

The convention of all pairs:

    y, saved = operation(*inputs)            saved: a named tuple of all that the backward needs
    dx = operation_backward(dy, saved)       a tuple if several inputs have a gradient

Inputs that have a gradient, parameters included, come before those that have none (ids, masks, numbers).
A backward returns the gradient of each in order: the contribution of this operation alone. The tape
accumulates: it adds what is returned to what other operations returned. A backward never writes to dy.

A new operation is such a pair, `@backward_of(operation)` above its backward, and a line in model.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from motegpt.model.rope import frequencies

if TYPE_CHECKING:
    from motegpt.config.sections import Activation, ModelConfig, Norm

Array = NDArray[np.floating[Any]]
Ids = NDArray[np.intp]

Backward = TypeVar("Backward", bound=Callable[..., Any])
BACKWARD: dict[Callable[..., Any], Callable[..., Any]] = {}  # forward -> backward


def backward_of(forward: Callable[..., Any]) -> Callable[[Backward], Backward]:
    """Makes a function the backward of an operation in BACKWARD."""

    def register(backward: Backward) -> Backward:
        BACKWARD[forward] = backward
        return backward

    return register


# Embeddings of tokens, and of tokens and positions


class LookupSaved(NamedTuple):
    """wte (V, C), ids (B, T)"""

    wte: Array
    ids: Ids


def lookup(wte: Array, ids: Ids) -> tuple[Array, LookupSaved]:
    """x[b, t] = wte[ids[b, t]].   wte (V, C), ids (B, T) -> x (N, C)"""
    return wte[ids.ravel()], LookupSaved(wte, ids)


@backward_of(lookup)
def lookup_backward(dx: Array, saved: LookupSaved) -> Array:
    """Of x[b, t] = wte[ids[b, t]]: a row collects the dx of all that used it."""
    wte, ids = saved
    dwte = np.zeros(wte.shape, dx.dtype)
    np.add.at(dwte, ids.ravel(), dx)
    return dwte


class EmbeddingSaved(NamedTuple):
    """wte (V, C), wpe (block_size, C), ids (B, T), start: the position of the first"""

    wte: Array
    wpe: Array
    ids: Ids
    start: int


def embedding(wte: Array, wpe: Array, ids: Ids, start: int) -> tuple[Array, EmbeddingSaved]:
    """x[b, t] = wte[ids[b, t]] + wpe[start + t].   wte (V, C), wpe (block_size, C), ids (B, T) -> x (N, C)"""
    x: Array = wte[ids] + wpe[start : start + ids.shape[1]]
    return x.reshape(-1, x.shape[-1]), EmbeddingSaved(wte, wpe, ids, start)


@backward_of(embedding)
def embedding_backward(dx: Array, saved: EmbeddingSaved) -> tuple[Array, Array]:
    """Of x[b, t] = wte[ids[b, t]] + wpe[start + t]: a row of either collects the dx of all that used it."""
    wte, wpe, ids, start = saved
    dwte, dwpe = np.zeros(wte.shape, dx.dtype), np.zeros(wpe.shape, dx.dtype)
    np.add.at(dwte, ids.ravel(), dx)
    dwpe[start : start + ids.shape[1]] = dx.reshape(*ids.shape, -1).sum(axis=0)
    return dwte, dwpe


# N-gram embedding


class VectorsSaved(NamedTuple):
    """shape: of the table; rows (N,), scale"""

    shape: tuple[int, ...]
    rows: Ids
    scale: float


def add_vectors(x: Array, table: Array, rows: Ids, scale: float) -> tuple[Array, VectorsSaved]:
    """y[n] = x[n] + scale · table[rows[n]]; x[n] where rows[n] < 0.   x, y (N, C), table (R, C), rows (N,)"""
    y, there = x.copy(), rows >= 0
    y[there] += scale * table[rows[there]]
    return y, VectorsSaved(table.shape, rows, scale)


@backward_of(add_vectors)
def add_vectors_backward(dy: Array, saved: VectorsSaved) -> tuple[Array, Array]:
    """Of y[n] = x[n] + scale · table[rows[n]]: dx is dy; a row collects scale · dy of all that used it."""
    shape, rows, scale = saved
    dtable, there = np.zeros(shape, dy.dtype), rows >= 0
    np.add.at(dtable, rows[there], scale * dy[there])
    return dy, dtable


# Norms: norm(x, *tensors, eps), with the scale r among what it saves. RMSNorm (Zhang and Sennrich, 2019)


class RMSNormSaved(NamedTuple):
    """x (…, C), r (…, 1)"""

    x: Array
    r: Array


def rmsnorm(x: Array, eps: float) -> tuple[Array, RMSNormSaved]:
    """y = x · r with r = (mean(x²) + eps)^-½.   x, y (…, C), or (B, H, T, D) for each head"""
    mean = (x * x).sum(axis=-1, keepdims=True) * (1.0 / x.shape[-1])
    r: Array = (mean + eps) ** -0.5
    return x * r, RMSNormSaved(x, r)


@backward_of(rmsnorm)
def rmsnorm_backward(dy: Array, saved: RMSNormSaved) -> Array:
    """Of y = x · r with r = (mean(x²) + eps)^-½: dr = Σ dy·x, dmean = -½ r³ dr.

    dx = dy · r + dmean · 2 x / C, factored: (dy - x · r² · dr / C) · r.
    """
    x, r = saved
    dr = (dy * x).sum(axis=-1, keepdims=True)
    dx: Array = (dy - x * (r * r * dr * (1.0 / x.shape[-1]))) * r
    return dx


NORMS: dict[Norm, Callable[..., tuple[Array, Any]]] = {"rms": rmsnorm}


# Sum


def add(x: Array, y: Array) -> tuple[Array, None]:
    """z = x + y, of equal shapes"""
    return x + y, None


@backward_of(add)
def add_backward(dz: Array, saved: None) -> tuple[Array, Array]:
    """Of z = x + y: dx and dy are dz."""
    return dz, dz


# Dropout (Srivastava et al., 2014)


class DropoutSaved(NamedTuple):
    """mask (N, C): 0, or 1 / (1 - p)"""

    mask: Array


def dropout(x: Array, mask: Array) -> tuple[Array, DropoutSaved]:
    """y = x · mask.   x, mask, y (N, C)"""
    return x * mask, DropoutSaved(mask)


@backward_of(dropout)
def dropout_backward(dy: Array, saved: DropoutSaved) -> Array:
    """Of y = x · mask: dx = dy · mask."""
    dx: Array = dy * saved.mask
    return dx


# Product with a matrix


class LinearSaved(NamedTuple):
    """x (N, in), w (out, in)"""

    x: Array
    w: Array


def linear(x: Array, w: Array) -> tuple[Array, LinearSaved]:
    """y = x · wᵀ.   x (N, in), w (out, in) -> y (N, out)"""
    return x @ w.T, LinearSaved(x, w)


@backward_of(linear)
def linear_backward(dy: Array, saved: LinearSaved) -> tuple[Array, Array]:
    """Of y = x · wᵀ: dx = dy · w and dw = dyᵀ · x."""
    x, w = saved
    return dy @ w, dy.T @ x


# Attention (Vaswani et al., 2017): p = softmax(q · kᵀ / √D + mask), z = p · v for each head


def split_heads(x: Array, batch: int, heads: int) -> Array:
    """y[b, h, t, d] = x[b·T + t, h·D + d].   x (N, C) -> y (B, H, T, D)"""
    return x.reshape(batch, -1, heads, x.shape[1] // heads).transpose(0, 2, 1, 3)


def merge_heads(x: Array) -> Array:
    """The inverse of split_heads.   x (B, H, T, D) -> y (N, C)"""
    b, h, t, d = x.shape
    return x.transpose(0, 2, 1, 3).reshape(b * t, h * d)


def linear_heads(x: Array, w: Array, batch: int, heads: int) -> tuple[Array, LinearSaved]:
    """y = split_heads(x · wᵀ).   x (N, C), w (C, C) -> y (B, H, T, D)"""
    y, saved = linear(x, w)
    return split_heads(y, batch, heads), saved


@backward_of(linear_heads)
def linear_heads_backward(dy: Array, saved: LinearSaved) -> tuple[Array, Array]:
    """Of y = split_heads(x · wᵀ): dx and dw."""
    return linear_backward(merge_heads(dy), saved)


class ScaleSaved(NamedTuple):
    """x of any shape, gain (1,)"""

    x: Array
    gain: Array


def scale(x: Array, gain: Array) -> tuple[Array, ScaleSaved]:
    """y = x · gain.   gain (1,)"""
    return x * gain, ScaleSaved(x, gain)


@backward_of(scale)
def scale_backward(dy: Array, saved: ScaleSaved) -> tuple[Array, Array]:
    """Of y = x · gain: dx = dy · gain and dgain = Σ dy · x."""
    x, gain = saved
    return dy * gain, (dy * x).sum().reshape(1)


class RotateSaved(NamedTuple):
    """cos, sin (T, D / 2)"""

    cos: Array
    sin: Array


def rotations(model: ModelConfig, start: int, t: int, dtype: np.dtype[Any]) -> RotateSaved:
    """cos and sin of the angles of positions start … start + t - 1; model/rope.py has the frequencies."""
    angles = np.outer(np.arange(start, start + t), frequencies(model))
    return RotateSaved(np.cos(angles).astype(dtype), np.sin(angles).astype(dtype))


def rotate(x: Array, by: RotateSaved) -> tuple[Array, RotateSaved]:
    """y = (a · cos - b · sin, b · cos + a · sin) with x = (a, b).   x, y (B, H, T, D)   (Su et al., 2021)"""
    a, b = np.split(x, 2, axis=-1)
    return np.concatenate([a * by.cos - b * by.sin, b * by.cos + a * by.sin], axis=-1), by


@backward_of(rotate)
def rotate_backward(dy: Array, saved: RotateSaved) -> Array:
    """Of y = (a · cos - b · sin, b · cos + a · sin): dx is dy rotated back, by -sin."""
    return rotate(dy, RotateSaved(saved.cos, -saved.sin))[0]


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
    dz = split_heads(dz, *p.shape[:2])
    return dz @ v.swapaxes(-1, -2), p.swapaxes(-1, -2) @ dz


# Activations


class ActivationSaved(NamedTuple):
    """u (N, 4C)"""

    u: Array


def relu(u: Array) -> tuple[Array, ActivationSaved]:
    """g = max(0, u)"""
    return np.maximum(u, 0.0), ActivationSaved(u)


@backward_of(relu)
def relu_backward(dg: Array, saved: ActivationSaved) -> Array:
    """Of g = max(0, u): du = dg where u > 0, else 0."""
    return dg * (saved.u > 0.0)


def squared_relu(u: Array) -> tuple[Array, ActivationSaved]:
    """g = max(0, u)² (So et al., 2021)"""
    return np.square(np.maximum(u, 0.0)), ActivationSaved(u)


@backward_of(squared_relu)
def squared_relu_backward(dg: Array, saved: ActivationSaved) -> Array:
    """Of g = max(0, u)²: du = 2 · max(0, u) · dg"""
    du: Array = 2.0 * np.maximum(saved.u, 0.0) * dg
    return du


ACTIVATIONS: dict[Activation, Callable[[Array], tuple[Array, ActivationSaved]]] = {
    "relu": relu,
    "squared_relu": squared_relu,
}


# Loss


class CrossEntropySaved(NamedTuple):
    """p (N, V), targets (N,), weights (N,)"""

    p: Array
    targets: Ids
    weights: Array


def cross_entropy(logits: Array, targets: Ids, weights: Array) -> tuple[Array, CrossEntropySaved]:
    """loss = Σ weights · -log p[target] with p = softmax(logits).   logits (N, V), targets and weights (N,)

    log p is taken as x - max x - log Σe, which stays finite where p itself would round to zero.
    """
    x = logits - logits.max(axis=-1, keepdims=True)
    e = np.exp(x)
    total = e.sum(axis=-1, keepdims=True)
    log_p = x[np.arange(len(targets)), targets] - np.log(total[:, 0])
    loss: Array = -(weights * log_p).sum()
    return loss, CrossEntropySaved(e / total, targets, weights)


@backward_of(cross_entropy)
def cross_entropy_backward(dloss: Array, saved: CrossEntropySaved) -> Array:
    """Of loss = Σ weights · -log p[target] with p = softmax(logits), differentiated as one:

    dlogits = dloss · weights · (p - onehot(target))
    """
    p, targets, weights = saved
    scale = dloss * weights
    dlogits: Array = p * scale[:, None]
    dlogits[np.arange(len(targets)), targets] -= scale
    return dlogits
