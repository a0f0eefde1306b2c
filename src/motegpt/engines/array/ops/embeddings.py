"""Embeddings of tokens, of tokens and positions, and of contexts of tokens."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from motegpt.engines.array.ops.base import Array, Ids, backward_of


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
