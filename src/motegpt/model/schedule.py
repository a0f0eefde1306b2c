"""Step -> learning rate; the same for every engine and optimizer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, assert_never

if TYPE_CHECKING:
    from motegpt.config.sections import TrainConfig


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
