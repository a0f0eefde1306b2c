"""Embeddings of tokens, of positions, and of contexts of tokens."""

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


class PositionsSaved(NamedTuple):
    """shape: of wpe; start: the position of the first; batch"""

    shape: tuple[int, ...]
    start: int
    batch: int


def positions(wpe: Array, start: int, batch: int, t: int) -> tuple[Array, PositionsSaved]:
    """x[b, t] = wpe[start + t].   wpe (block_size, C) -> x (N, C)"""
    x = np.broadcast_to(wpe[start : start + t], (batch, t, wpe.shape[1]))
    return x.reshape(batch * t, -1), PositionsSaved(wpe.shape, start, batch)


@backward_of(positions)
def positions_backward(dx: Array, saved: PositionsSaved) -> Array:
    """Of x[b, t] = wpe[start + t]: a row collects the dx of all that used it."""
    shape, start, batch = saved
    dwpe = np.zeros(shape, dx.dtype)
    dwpe[start : start + len(dx) // batch] = dx.reshape(batch, -1, shape[1]).sum(axis=0)
    return dwpe


class VectorsSaved(NamedTuple):
    """shape: of the table; rows (N,), scale"""

    shape: tuple[int, ...]
    rows: Ids
    scale: float


def vectors(table: Array, rows: Ids, scale: float) -> tuple[Array, VectorsSaved]:
    """x[n] = scale · table[rows[n]]; 0 where rows[n] < 0.   table (R, C), rows (N,) -> x (N, C)"""
    x, there = np.zeros((len(rows), table.shape[1]), table.dtype), rows >= 0
    x[there] = scale * table[rows[there]]
    return x, VectorsSaved(table.shape, rows, scale)


@backward_of(vectors)
def vectors_backward(dx: Array, saved: VectorsSaved) -> Array:
    """Of x[n] = scale · table[rows[n]]: a row collects scale · dx of all that used it."""
    shape, rows, scale = saved
    dtable, there = np.zeros(shape, dx.dtype), rows >= 0
    np.add.at(dtable, rows[there], scale * dx[there])
    return dtable
