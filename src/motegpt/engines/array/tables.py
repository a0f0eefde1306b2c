"""The tables of the n-gram embedding in training: a step computes with copies of the rows that it uses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from motegpt.engines.array.ops import Array, Ids
from motegpt.model.spec import Role, places
from motegpt.ngrams.keys import NONE
from motegpt.ngrams.vectors import Vectors

if TYPE_CHECKING:
    from motegpt.config.sections import ModelConfig
    from motegpt.engines.array.model import Weights
    from motegpt.engines.array.optimizers import Places
    from motegpt.optim.groups import Groups


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


class Part(NamedTuple):
    """Adjacent tensors of one group in a flat array (P,); decayed: the places that weight decay acts on."""

    place: slice
    decayed: Places
    group: int


def dense_parts(model: ModelConfig, groups: Groups) -> Iterator[Part]:
    """The parts of a flat array (P,) outside the tables."""
    for (is_table, group), found in groupby(
        places(model), key=lambda one: (one[0].role is Role.TABLE, groups.of[one[0].name])
    ):
        if not is_table:
            specified, indices = zip(*found, strict=True)
            decayed = np.concatenate([np.full(tensor.size, tensor.decayed) for tensor in specified])
            place = slice(indices[0].start, indices[-1].stop)
            yield Part(place, True if decayed.all() else decayed, group)
