"""Adam over lists of tensors, the clips that come before it, and the loss scale of half precision."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor
from torch.optim.adamw import adamw

from motegpt.schedule import AdamRates, adam_rates, learning_rate

if TYPE_CHECKING:
    from motegpt.config import TrainConfig

FUSED_ON = ("cpu", "cuda")  # device types that have PyTorch's one-kernel AdamW
FIRST_SCALE, GROW_AFTER, LARGEST_SCALE = 2.0**16, 2000, 2.0**24


def clip_gradient(gradients: list[Tensor], train: TrainConfig, sharded: bool) -> None:
    """In place: first each element to ± clip_value, then the whole to a norm of at most clip_norm."""
    if train.clip_value is not None:
        torch._foreach_clamp_min_(gradients, -train.clip_value)
        torch._foreach_clamp_max_(gradients, train.clip_value)
    if train.clip_norm is not None:
        norm = norm_of(gradients, sharded)
        shrink = torch.where(norm > train.clip_norm, train.clip_norm / norm, 1.0)
        torch._foreach_mul_(gradients, shrink.to(gradients[0].dtype))


def norm_of(gradients: list[Tensor], sharded: bool) -> Tensor:
    """√Σ g², summed in double precision where the device has it; over all ranks if they hold shards."""
    widest = torch.float32 if gradients[0].device.type == "mps" else torch.float64
    square = torch.stack(torch._foreach_norm(gradients, 2, dtype=widest)).square().sum()
    if sharded:
        dist.all_reduce(square)
    return square.sqrt()


class Adam:
    """m and v of a list of parameters."""

    def __init__(self, parameters: list[Tensor], train: TrainConfig, decayed: list[bool]) -> None:
        """decayed: for each parameter whether weight decay acts on it."""
        self._train, self._decayed = train, decayed
        self.m, self.v = ([torch.zeros_like(w) for w in parameters] for _ in range(2))
        device = parameters[0].device
        self._fused = train.adam == "corrected" and device.type in FUSED_ON
        self._counts = [torch.zeros((), device=device) for _ in parameters] if self._fused else []
        self._next = 0

    def step(self, w: list[Tensor], dw: list[Tensor], step: int, skip: Tensor | None = None) -> None:
        """The update of step `step` (from 0), in place; skip: a tensor, 1 where there is to be none."""
        if self._fused:
            self._fused_step(w, dw, step, skip)
        elif skip is None or not skip.item():
            self._written_step(w, dw, adam_rates(self._train, step))

    def _fused_step(self, w: list[Tensor], dw: list[Tensor], step: int, skip: Tensor | None) -> None:
        """Adam with bias correction and decoupled weight decay, tensors of equal decay in one kernel."""
        if step != self._next or skip is not None:  # it counts up by itself, but not over a skipped step
            torch._foreach_zero_(self._counts)
            torch._foreach_add_(self._counts, float(step))
        self._next = step + 1
        train = self._train
        for decayed in set(self._decayed):
            adamw(
                self._those(decayed, w),
                self._those(decayed, dw),
                self._those(decayed, self.m),
                self._those(decayed, self.v),
                [],
                self._those(decayed, self._counts),
                fused=True,
                found_inf=skip,
                amsgrad=False,
                maximize=False,
                beta1=train.beta1,
                beta2=train.beta2,
                lr=learning_rate(train, step),
                weight_decay=train.weight_decay if decayed else 0.0,
                eps=train.eps,
            )

    def _those(self, decayed: bool, tensors: list[Tensor]) -> list[Tensor]:
        """The tensors of the parameters on which weight decay acts, or of the others."""
        return [tensor for tensor, one in zip(tensors, self._decayed, strict=True) if one == decayed]

    def _written_step(self, w: list[Tensor], dw: list[Tensor], rates: AdamRates) -> None:
        """AdamRates has the equations; the reference for the fused kernel."""
        torch._foreach_mul_(self.m, rates.keep_m)
        torch._foreach_add_(self.m, dw, alpha=rates.take_m)
        torch._foreach_mul_(self.v, rates.keep_v)
        torch._foreach_addcmul_(self.v, dw, dw, rates.take_v)
        roots = torch._foreach_mul(self.v, rates.square)
        torch._foreach_sqrt_(roots)
        torch._foreach_add_(roots, rates.eps)
        if any(self._decayed):
            torch._foreach_mul_(self._those(True, w), rates.shrink)
        torch._foreach_addcdiv_(w, self.m, roots, -rates.rate)


class LossScale:
    """The factor of the loss that lifts half-precision gradients above the smallest number they have.

    It halves where a gradient overflowed, whose update is skipped, and doubles after GROW_AFTER steps
    without (Micikevicius et al., 2018, section 3.2). All of it stays on the device: nothing waits.
    """

    def __init__(self, device: torch.device) -> None:
        self.factor = torch.full((), FIRST_SCALE, device=device)
        self._good = torch.zeros((), device=device)

    def unscale(self, gradients: list[Tensor], sharded: bool) -> Tensor:
        """Divides in place; returns 1 if a number is not finite, else 0, and sets the scale to come."""
        torch._foreach_mul_(gradients, 1.0 / self.factor)
        largest = torch.stack(torch._foreach_norm(gradients, torch.inf)).sum()
        overflow = (~largest.isfinite()).float()
        if sharded:
            dist.all_reduce(overflow, dist.ReduceOp.MAX)
        self._adapt(overflow)
        return overflow

    def _adapt(self, overflow: Tensor) -> None:
        self._good = torch.where(overflow > 0, 0.0, self._good + 1.0)
        grown = self._good >= GROW_AFTER
        higher = torch.where(grown, self.factor * 2.0, self.factor).clamp(max=LARGEST_SCALE)
        self.factor = torch.where(overflow > 0, self.factor * 0.5, higher).clamp(min=1.0)
        self._good = torch.where(grown, 0.0, self._good)
