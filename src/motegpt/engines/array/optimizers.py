"""One step of each optimizer over one flat array of parameters, and the clips that come before it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from motegpt.engines.array.ops import Array

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from motegpt.config.sections import TrainConfig
    from motegpt.optim.adam import AdamScalars
    from motegpt.optim.sgd import SGDScalars

    Places = NDArray[np.bool_] | bool  # (P,), where weight decay acts; True for everywhere


def clip_gradient(parts: Sequence[Array], train: TrainConfig) -> None:
    """In place: each element to ± clip_value, then all parts together to a norm of at most clip_norm."""
    if train.clip_value is not None:
        for dw in parts:
            np.clip(dw, -train.clip_value, train.clip_value, out=dw)
    if train.clip_norm is not None:
        norm = math.sqrt(sum(float(np.square(dw, dtype=np.float64).sum()) for dw in parts))
        if norm > train.clip_norm:
            for dw in parts:
                dw *= train.clip_norm / norm


def adam_step(w: Array, dw: Array, m: Array, v: Array, s: AdamScalars, decayed: Places = True) -> None:
    """One update in place of w (P,), m (P,) and v (P,); AdamScalars has the equations."""
    m *= s.beta1
    m += s.one_minus_beta1 * dw
    v *= s.beta2
    v += s.one_minus_beta2 * np.square(dw)
    decay_weights(w, s.decay, decayed)
    w -= s.step_size * m / (np.sqrt(s.v_scale * v) + s.eps)


def sgd_step(w: Array, dw: Array, velocity: Array, s: SGDScalars, decayed: Places = True) -> None:
    """One update in place of w (P,) and velocity (P,); SGDScalars has the equations."""
    velocity *= s.momentum
    velocity += dw
    decay_weights(w, s.decay, decayed)
    w -= s.lr * velocity


def decay_weights(w: Array, decay: float, decayed: Places) -> None:
    """In place; most runs have no weight decay, and save the pass over w."""
    if decay != 1.0:
        np.multiply(w, decay, out=w, where=decayed)


# step(w, dw, *slots, scalars, decayed)
STEPS: dict[str, Callable[..., None]] = {"adam": adam_step, "sgd": sgd_step}
