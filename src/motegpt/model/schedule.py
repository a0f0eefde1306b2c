"""Learning-rate schedules, the same for every engine and optimizer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, assert_never

if TYPE_CHECKING:
    from motegpt.config.sections import TrainConfig


def learning_rate(train: TrainConfig, step: int) -> float:
    """The learning rate of step `step`, counted from 0.

    Warmup rises linearly to lr over warmup_steps. After it, p is the completed fraction of the remaining
    steps, and p' the same fraction including the current step:

        linear          lr · (1 - p)
        linear_to_zero  lr · (1 - p'), zero at the last step
        cosine          lr_min + (lr - lr_min) · (1 + cos πp) / 2     (Loshchilov and Hutter, 2017)
        constant        lr
    """
    done, total = step - train.warmup_steps, max(1, train.steps - train.warmup_steps)
    if done < 0:
        return train.lr * (step + 1) / train.warmup_steps
    match train.schedule:
        case "linear":
            return train.lr * (1.0 - done / total)
        case "linear_to_zero":
            return train.lr * (1.0 - (done + 1) / total)
        case "cosine":
            decay = 0.5 * (1.0 + math.cos(math.pi * done / total))
            return train.lr_min + (train.lr - train.lr_min) * decay
        case "constant":
            return train.lr
        case unknown:
            assert_never(unknown)
