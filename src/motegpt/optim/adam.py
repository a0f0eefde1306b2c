"""Adam (Kingma and Ba, 2015) with decoupled weight decay, in the two forms of the reference programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, assert_never

from motegpt.model.precision import single
from motegpt.model.schedule import learning_rate
from motegpt.optim.base import Optimizer, weight_decay_factor

if TYPE_CHECKING:
    from motegpt.config.sections import TrainConfig


class AdamScalars(NamedTuple):
    """Scalars of one Adam step, for both forms. With gradient g:

    m <- beta1 · m + one_minus_beta1 · g,   v <- beta2 · v + one_minus_beta2 · g²,
    w <- decay · w - step_size · m / (√(v_scale · v) + eps)
    """

    beta1: float
    one_minus_beta1: float
    beta2: float
    one_minus_beta2: float
    decay: float
    step_size: float
    v_scale: float
    eps: float


class Adam(Optimizer):
    """m and v: moving averages of the gradients and of their squares. With t = step + 1:

        corrected   step_size = lr / (1-β1ᵗ),             v_scale = 1 / (1-β2ᵗ): w -= lr · m̂ / (√v̂ + eps)
        folded      step_size = lr · √(1-β2ᵗ) / (1-β1ᵗ),  v_scale = 1: eps is added to the uncorrected √v

    The folded form is that of zeroclaw, which stores β and 1-β in single precision; they are rounded likewise
    here, whatever the precision of the engine.
    """

    name = "adam"
    slots = ("m", "v")
    is_compiled = True

    def _varying(self, train: TrainConfig, steps: Sequence[int]) -> tuple[list[float], ...]:
        lr = [learning_rate(train, step) for step in steps]
        beta1_power, beta2_power = (
            [beta ** (step + 1) for step in steps] for beta in (train.beta1, train.beta2)
        )
        return lr, beta1_power, beta2_power

    def _scalars(self, train: TrainConfig, *varying: Any) -> AdamScalars:
        lr, beta1_power, beta2_power = varying
        m_correction, v_correction = 1.0 - beta1_power, 1.0 - beta2_power
        decay = weight_decay_factor(train, lr)
        match train.adam:
            case "corrected":
                betas = (train.beta1, 1.0 - train.beta1, train.beta2, 1.0 - train.beta2)
                return AdamScalars(*betas, decay, lr / m_correction, 1.0 / v_correction, train.eps)
            case "folded":
                beta1, beta2 = single(train.beta1), single(train.beta2)
                betas = (beta1, single(1.0 - beta1), beta2, single(1.0 - beta2))
                return AdamScalars(*betas, decay, lr * v_correction**0.5 / m_correction, 1.0, train.eps)
            case unknown:
                assert_never(unknown)
