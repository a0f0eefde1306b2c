"""Adam over one flat array of parameters, and the clips that come before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from motegpt.engines.array.ops import Array

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from motegpt.config import TrainConfig
    from motegpt.schedule import AdamRates


def clip_gradient(dw: Array, train: TrainConfig) -> None:
    """In place: first each element to ± clip_value, then the whole to a norm of at most clip_norm."""
    if train.clip_value is not None:
        np.clip(dw, -train.clip_value, train.clip_value, out=dw)
    if train.clip_norm is not None:
        norm = float(np.sqrt(np.square(dw, dtype=np.float64).sum()))
        if norm > train.clip_norm:
            dw *= train.clip_norm / norm


def adam_step(
    w: Array, dw: Array, m: Array, v: Array, rates: AdamRates, decayed: NDArray[np.bool_] | bool = True
) -> None:
    """One update in place of w (P,), m (P,) and v (P,); AdamRates has the equations.

    decayed: (P,), where weight decay acts; True for everywhere.
    """
    m *= rates.keep_m
    m += rates.take_m * dw
    v *= rates.keep_v
    v += rates.take_v * np.square(dw)
    if rates.shrink != 1.0:
        np.multiply(w, rates.shrink, out=w, where=decayed)
    w -= rates.rate * m / (np.sqrt(rates.square * v) + rates.eps)
