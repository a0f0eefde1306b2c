"""Step -> the numbers the optimiser needs at that step; the same for every engine."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, assert_never

from motegpt.precision import single

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from motegpt.config import TrainConfig


def learning_rate(train: TrainConfig, step: int) -> float:
    """The learning rate of step `step`, counted from 0.

    Warm-up rises linearly to lr over warmup_steps. After it, with p the fraction of the remaining steps
    that lies behind, and p' the same counting the step itself:

        linear          lr · (1 - p)
        linear_to_zero  lr · (1 - p'), so that the last step has rate zero
        cosine          lr_min + (lr - lr_min) · (1 + cos πp) / 2     (Loshchilov and Hutter, 2017)
        constant        lr
    """
    done, remaining = step - train.warmup_steps, max(1, train.steps - train.warmup_steps)
    if done < 0:
        return train.lr * (step + 1) / train.warmup_steps
    match train.schedule:
        case "linear":
            return train.lr * (1.0 - done / remaining)
        case "linear_to_zero":
            return train.lr * (1.0 - (done + 1) / remaining)
        case "cosine":
            falling = 0.5 * (1.0 + math.cos(math.pi * done / remaining))
            return train.lr_min + (train.lr - train.lr_min) * falling
        case "constant":
            return train.lr
        case unknown:
            assert_never(unknown)


class AdamRates(NamedTuple):
    """Adam at one step, both forms in one: with g the gradient,

    m <- keep_m · m + take_m · g,   v <- keep_v · v + take_v · g²,
    w <- shrink · w - rate · m / (√(square · v) + eps)
    """

    keep_m: float
    take_m: float
    keep_v: float
    take_v: float
    shrink: float
    rate: float
    square: float
    eps: float


def adam_rates(train: TrainConfig, step: int) -> AdamRates:
    """The rates of step `step`, counted from 0, with t = step + 1 (Kingma and Ba, 2015).

        corrected   rate = lr / (1-β1ᵗ),             square = 1 / (1-β2ᵗ): w -= lr · m̂ / (√v̂ + eps)
        folded      rate = lr · √(1-β2ᵗ) / (1-β1ᵗ),  square = 1: eps stands beside the uncorrected √v

    The folded form is zeroclaw's, whose program holds β and 1-β in single precision: so do its averages
    here, in whatever precision the engine computes. Weight decay is decoupled from the gradient
    (Loshchilov and Hutter, 2019): shrink = 1 - lr · weight_decay.
    """
    return _rates(train, learning_rate(train, step), train.beta1 ** (step + 1), train.beta2 ** (step + 1))


def adam_rates_of_chunk(train: TrainConfig, start: int, count: int) -> NDArray[np.float64]:
    """adam_rates for the steps start … start + count - 1, one row each: (count, 8).

    What a library might compute differently for a whole array (powers, cosines) is done step by step, so
    that a step's numbers do not depend on the chunk it is in.
    """
    import numpy as np

    steps = range(start, start + count)
    lr = np.array([learning_rate(train, step) for step in steps])
    beta1_power = np.array([train.beta1 ** (step + 1) for step in steps])
    beta2_power = np.array([train.beta2 ** (step + 1) for step in steps])
    rows = np.empty((count, len(AdamRates._fields)))
    for column, values in enumerate(_rates(train, lr, beta1_power, beta2_power)):
        rows[:, column] = values
    return rows


def _rates(train: TrainConfig, lr: Any, beta1_power: Any, beta2_power: Any) -> AdamRates:
    """The rates from lr, β1ᵗ and β2ᵗ: numbers of one step, or arrays of many."""
    mean_correction, square_correction = 1.0 - beta1_power, 1.0 - beta2_power
    shrink = 1.0 - lr * train.weight_decay
    match train.adam:
        case "corrected":
            decays = (train.beta1, 1.0 - train.beta1, train.beta2, 1.0 - train.beta2)
            return AdamRates(*decays, shrink, lr / mean_correction, 1.0 / square_correction, train.eps)
        case "folded":
            beta1, beta2 = single(train.beta1), single(train.beta2)
            decays = (beta1, single(1.0 - beta1), beta2, single(1.0 - beta2))
            rate = lr * square_correction**0.5 / mean_correction
            return AdamRates(*decays, shrink, rate, 1.0, train.eps)
        case unknown:
            assert_never(unknown)
