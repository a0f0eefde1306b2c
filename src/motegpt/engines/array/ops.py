"""The operations of the model over arrays, each forward directly above its backward.

dx is the gradient of the loss with respect to x. Letters: B sequences, T positions, N = B·T rows, C
channels, H heads, D = C / H, V vocabulary. A backward returns the contribution of its own path; where
paths meet, the caller adds them.

`clip` is the node clip of the `oxidized` preset: in the scalar graph the gradient of every node is
clipped before it flows on, so it is applied here wherever the graph has a node whose gradient is not
already within bounds. Without the preset it is `unclipped`, the identity.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
Ids = NDArray[np.intp]
Clip = Callable[[Array], Array]


def unclipped(dx: Array) -> Array:
    """The clip that does nothing."""
    return dx


def node_clip(bound: float | None) -> Clip:
    """The clip to ± bound, elementwise; None clips nothing."""
    if bound is None:
        return unclipped
    return lambda dx: np.clip(dx, -bound, bound)


def embedding(ids: Ids, wte: Array, wpe: Array) -> Array:
    """x[b, t] = wte[ids[b, t]] + wpe[t].   ids (B, T), wte (V, C), wpe (block_size, C) -> x (B·T, C)"""
    x: Array = wte[ids] + wpe[: ids.shape[1]]
    return np.reshape(x, (-1, wte.shape[1]))


def embedding_backward(dx: Array, ids: Ids, dwte: Array, dwpe: Array) -> None:
    """Adds to dwte (V, C) and dwpe (block_size, C): a row collects the dx of every place that used it."""
    np.add.at(dwte, ids.ravel(), dx)
    dwpe[: ids.shape[1]] += dx.reshape(*ids.shape, -1).sum(axis=0)


def rmsnorm(x: Array, eps: float) -> tuple[Array, Array]:
    """y = x · r with r = (mean(x²) + eps)^-½ (Zhang and Sennrich, 2019).   x (N, C) -> y (N, C), r (N, 1)"""
    r: Array = (np.square(x).mean(axis=-1, keepdims=True) + eps) ** -0.5
    return x * r, r


def rmsnorm_backward(dy: Array, x: Array, r: Array, clip: Clip) -> Array:
    """dx of y = x · r, with dr = Σ dy·x and dmean = -½ r³ dr."""
    dr = clip((dy * x).sum(axis=-1, keepdims=True))
    dmean = clip(-0.5 * r**3 * dr)
    dx: Array = dy * r + x * (2.0 / x.shape[-1] * dmean)
    return dx


def linear(x: Array, w: Array) -> Array:
    """y = x · wᵀ.   x (N, in), w (out, in) -> y (N, out)"""
    return x @ w.T


def linear_backward(dy: Array, x: Array, w: Array, dw: Array) -> Array:
    """Adds dyᵀ · x to dw (out, in); returns dx = dy · w."""
    dw += dy.T @ x
    return dy @ w


def softmax(x: Array) -> tuple[Array, Array, Array]:
    """p = e / Σe with e = exp(x - max x), over the last axis.   Returns p, e and 1 / Σe (…, 1)."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    inverse = 1.0 / e.sum(axis=-1, keepdims=True)
    return e * inverse, e, inverse


def softmax_backward(dp: Array, e: Array, inverse: Array, clip: Clip) -> Array:
    """dx of p = e · inverse, inverse = (Σe)^-1, one node after the other as the graph has them."""
    dinverse = clip((dp * e).sum(axis=-1, keepdims=True))
    dtotal = clip(-dinverse * inverse**2)
    de = clip(dp * inverse + dtotal)
    return clip(de * e)


def split_heads(x: Array, batch: int, heads: int) -> Array:
    """(B·T, C) -> (B, H, T, D)"""
    return x.reshape(batch, -1, heads, x.shape[1] // heads).transpose(0, 2, 1, 3)


def merge_heads(x: Array) -> Array:
    """(B, H, T, D) -> (B·T, C), the inverse of split_heads."""
    b, h, t, d = x.shape
    return x.transpose(0, 2, 1, 3).reshape(b * t, h * d)


def causal_mask(t: int, dtype: np.dtype[Any]) -> Array:
    """(T, T): 0 where position t may look at position u (u <= t), -inf where it may not."""
    return np.triu(np.full((t, t), -np.inf, dtype), k=1)


def attention(q: Array, k: Array, v: Array, mask: Array) -> tuple[Array, tuple[Array, Array, Array]]:
    """y = softmax(q · kᵀ / √D + mask) · v (Vaswani et al., 2017).   all (B, H, T, D); saves p, e, inverse."""
    scores = q @ k.swapaxes(-1, -2) * q.shape[-1] ** -0.5
    saved = softmax(scores + mask)
    return saved[0] @ v, saved


def attention_backward(
    dy: Array, q: Array, k: Array, v: Array, saved: tuple[Array, Array, Array], clip: Clip
) -> tuple[Array, Array, Array]:
    """dq, dk, dv of y = p · v, p = softmax(q · kᵀ / √D); where e = 0, as it is if masked, dscores is 0."""
    p, e, inverse = saved
    dv = p.swapaxes(-1, -2) @ dy
    dp = clip(dy @ v.swapaxes(-1, -2))
    dscores = softmax_backward(dp, e, inverse, clip) * q.shape[-1] ** -0.5
    return dscores @ k, dscores.swapaxes(-1, -2) @ q, dv


def relu(x: Array) -> Array:
    """y = max(0, x)"""
    return np.maximum(x, 0.0)


def relu_backward(dy: Array, x: Array, clip: Clip) -> Array:
    """dx = dy where x > 0, else 0."""
    return dy * (x > 0.0)


def squared_relu(x: Array) -> Array:
    """y = max(0, x)² (So et al., 2021)"""
    return np.square(np.maximum(x, 0.0))


def squared_relu_backward(dy: Array, x: Array, clip: Clip) -> Array:
    """dx = 2 · max(0, x) · dy"""
    return clip(2.0 * np.maximum(x, 0.0) * dy)


def cross_entropy(logits: Array, targets: Ids, weights: Array) -> tuple[float, tuple[Array, Array, Array]]:
    """loss = Σ weights · -log p[target].   logits (N, V), targets (N,), weights (N,); saves p, e, inverse.

    log p is taken as x - max x - log Σe, which stays finite where p itself would round to zero.
    """
    saved = softmax(logits)
    rows = np.arange(len(targets))
    log_p = logits[rows, targets] - logits.max(axis=-1) + np.log(saved[2][:, 0])
    return float(-(weights * log_p).sum()), saved


def cross_entropy_backward(saved: tuple[Array, Array, Array], targets: Ids, weights: Array) -> Array:
    """dlogits = weights · (p - onehot(target)), softmax and logarithm differentiated as one."""
    dlogits = saved[0].copy()
    dlogits[np.arange(len(targets)), targets] -= 1.0
    dlogits *= weights[:, None]
    return dlogits


def cross_entropy_by_node(
    logits: Array, targets: Ids, weights: Array
) -> tuple[float, tuple[Array, Array, Array]]:
    """The same as the graph has it under the node clip: the logarithm of p itself, infinite at p = 0."""
    saved = softmax(logits)
    counted = np.flatnonzero(weights)
    with np.errstate(divide="ignore"):
        log_p = np.log(saved[0][counted, targets[counted]])
    return float(-(weights[counted] * log_p).sum()), saved


def cross_entropy_backward_by_node(
    saved: tuple[Array, Array, Array], targets: Ids, weights: Array, clip: Clip
) -> Array:
    """The same node by node: dloss = 1, dlog = -weights · dloss, dp = dlog / p[target], and softmax.

    Here the node clip acts on confident mistakes, whose 1 / p is large.
    """
    p, e, inverse = saved
    rows = np.arange(len(targets))
    dlog = clip(-weights * clip(np.ones_like(weights)))
    p_target = p[rows, targets]
    counted = weights != 0  # padding has no gradient, not even where its p is zero
    dp = np.zeros_like(p)
    dp[rows, targets] = clip(np.divide(dlog, p_target, out=np.zeros_like(dlog), where=counted))
    return softmax_backward(dp, e, inverse, clip)


ACTIVATIONS = {"relu": (relu, relu_backward), "squared_relu": (squared_relu, squared_relu_backward)}
