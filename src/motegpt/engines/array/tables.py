"""The tables of the n-gram embedding in training: a step computes with copies of the rows that it uses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from motegpt.engines.array.ops import Array, Ids
from motegpt.model.spec import Role, tensors
from motegpt.ngrams.contexts import NONE
from motegpt.ngrams.vectors import Vectors

if TYPE_CHECKING:
    from motegpt.config.sections import ModelConfig
    from motegpt.engines.array.model import Weights
    from motegpt.engines.array.optimizers import Places


class Used(NamedTuple):
    """The rows of one table that a batch used. rows (U,), ascending; w, dw (U, C): copies and gradients."""

    name: str
    rows: Ids
    w: Array
    dw: Array


def used_rows(w: Weights, names: Sequence[str], vectors: Vectors) -> tuple[Vectors, list[Used]]:
    """The same vectors as rows of copies, and the copies."""
    used, rows = [], np.full_like(vectors.rows, NONE)
    for name, before, after in zip(names, vectors.rows, rows, strict=True):
        there = before >= 0
        found, after[there] = np.unique(before[there], return_inverse=True)
        part = w[name][found]
        used.append(Used(name, found, part, np.zeros_like(part)))
    return Vectors(rows, vectors.scale), used


def dense_parts(model: ModelConfig) -> Iterator[tuple[slice, Places]]:
    """The parts of a flat array (P,) outside the tables, each with the places that weight decay acts on."""
    decayed = np.concatenate([np.full(one.size, one.decayed) for one in tensors(model)])
    start = end = 0
    for tensor in (*tensors(model), None):
        if tensor is None or tensor.role is Role.TABLE:
            if start < end:
                places = decayed[start:end]
                yield slice(start, end), True if places.all() else places
            start = end + (0 if tensor is None else tensor.size)
        end += 0 if tensor is None else tensor.size
