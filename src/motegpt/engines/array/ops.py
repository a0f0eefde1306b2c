"""The operations of the model over arrays, each forward directly above its backward.

dx is the gradient of the loss with respect to x. Letters: B sequences, T positions, N = B·T rows, C
channels, H heads, D = C / H, V vocabulary. A backward returns the contribution of its own path; where
paths meet, the caller adds them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from motegpt.config.sections import Activation

Array = NDArray[np.floating[Any]]
Ids = NDArray[np.intp]


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


def rmsnorm_backward(dy: Array, x: Array, r: Array) -> Array:
    """dx of y = x · r, with dr = Σ dy·x and dmean = -½ r³ dr."""
    dr = (dy * x).sum(axis=-1, keepdims=True)
    dmean = -0.5 * r**3 * dr
    dx: Array = dy * r + x * (2.0 / x.shape[-1] * dmean)
    return dx


def add(x: Array, y: Array) -> Array:
    """z = x + y, of equal shapes"""
    return x + y


def add_backward(dz: Array) -> Array:
    """dx of z = x + y, and dy too."""
    return dz


def linear(x: Array, w: Array) -> Array:
    """y = x · wᵀ.   x (N, in), w (out, in) -> y (N, out)"""
    return x @ w.T


def linear_backward(dy: Array, x: Array, w: Array, dw: Array) -> Array:
    """Adds dyᵀ · x to dw (out, in); returns dx = dy · w."""
    dw += dy.T @ x
    return dy @ w


def softmax(x: Array) -> Array:
    """p = e / Σe with e = exp(x - max x), over the last axis."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    p: Array = e * (1.0 / e.sum(axis=-1, keepdims=True))
    return p


def softmax_backward(dp: Array, p: Array) -> Array:
    """dx = p · (dp - Σ dp·p)"""
    dx: Array = p * (dp - (dp * p).sum(axis=-1, keepdims=True))
    return dx


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


def attention(q: Array, k: Array, v: Array, mask: Array) -> tuple[Array, Array]:
    """y = p · v with p = softmax(q · kᵀ / √D + mask) (Vaswani et al., 2017).   q, k, v, y (B, H, T, D)"""
    p = softmax(q @ k.swapaxes(-1, -2) * q.shape[-1] ** -0.5 + mask)
    return p @ v, p


def attention_backward(dy: Array, q: Array, k: Array, v: Array, p: Array) -> tuple[Array, Array, Array]:
    """dq, dk, dv of y = p · v, p = softmax(q · kᵀ / √D); where p = 0, as it is if masked, dscores is 0."""
    dv = p.swapaxes(-1, -2) @ dy
    dp = dy @ v.swapaxes(-1, -2)
    dscores = softmax_backward(dp, p) * q.shape[-1] ** -0.5
    return dscores @ k, dscores.swapaxes(-1, -2) @ q, dv


def relu(u: Array) -> Array:
    """g = max(0, u)"""
    return np.maximum(u, 0.0)


def relu_backward(dg: Array, u: Array) -> Array:
    """du = dg where u > 0, else 0."""
    return dg * (u > 0.0)


def squared_relu(u: Array) -> Array:
    """g = max(0, u)² (So et al., 2021)"""
    return np.square(np.maximum(u, 0.0))


def squared_relu_backward(dg: Array, u: Array) -> Array:
    """du = 2 · max(0, u) · dg"""
    du: Array = 2.0 * np.maximum(u, 0.0) * dg
    return du


ACTIVATIONS = {"relu": (relu, relu_backward), "squared_relu": (squared_relu, squared_relu_backward)}


def activation(u: Array, kind: Activation) -> Array:
    """The non-linearity of that name."""
    return ACTIVATIONS[kind][0](u)


def activation_backward(dg: Array, u: Array, kind: Activation) -> Array:
    """du of the non-linearity of that name."""
    return ACTIVATIONS[kind][1](dg, u)


def cross_entropy(logits: Array, targets: Ids, weights: Array) -> tuple[float, Array]:
    """loss = Σ weights · -log p[target].   logits (N, V), targets (N,), weights (N,); p (N, V)

    log p is taken as x - max x - log Σe, which stays finite where p itself would round to zero.
    """
    x = logits - logits.max(axis=-1, keepdims=True)
    e = np.exp(x)
    total = e.sum(axis=-1, keepdims=True)
    log_p = x[np.arange(len(targets)), targets] - np.log(total[:, 0])
    return float(-(weights * log_p).sum()), e / total


def cross_entropy_backward(p: Array, targets: Ids, weights: Array) -> Array:
    """dlogits = weights · (p - onehot(target)), softmax and logarithm differentiated as one."""
    dlogits = p.copy()
    dlogits[np.arange(len(targets)), targets] -= 1.0
    dlogits *= weights[:, None]
    return dlogits
