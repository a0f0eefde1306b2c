"""Optimizers over lists of tensors, gradient clipping, and the loss scale of half precision."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor

from motegpt.model.schedule import learning_rate
from motegpt.optim import OPTIMIZERS
from motegpt.optim.base import table_decay

if TYPE_CHECKING:
    from motegpt.config.sections import TrainConfig
    from motegpt.optim.adam import AdamScalars
    from motegpt.optim.sgd import SGDScalars

FUSED_ON = ("cpu", "cuda")  # device types with PyTorch's fused AdamW
FIRST_SCALE, GROW_AFTER, LARGEST_SCALE = 2.0**16, 2000, 2.0**24


def clip_gradient(gradients: list[Tensor], train: TrainConfig, sharded: bool) -> None:
    """In place: each element to ± clip_value, then all together to a norm of at most clip_norm."""
    if train.clip_value is not None:
        torch._foreach_clamp_min_(gradients, -train.clip_value)
        torch._foreach_clamp_max_(gradients, train.clip_value)
    if train.clip_norm is not None:
        norm = global_norm(gradients, sharded)
        factor = torch.where(norm > train.clip_norm, train.clip_norm / norm, 1.0)
        torch._foreach_mul_(gradients, factor.to(gradients[0].dtype))


def global_norm(gradients: list[Tensor], sharded: bool) -> Tensor:
    """√Σ g² over all tensors, in double precision if the device has it; over all ranks if sharded."""
    widest = torch.float32 if gradients[0].device.type == "mps" else torch.float64
    square = torch.stack(torch._foreach_norm(gradients, 2, dtype=widest)).square().sum()
    if sharded:
        dist.all_reduce(square)
    return square.sqrt()


class TorchOptimizer(ABC):
    """An optimizer of a list of parameters. slots: in the optimizer's order, each like the parameters."""

    def __init__(self, parameters: list[Tensor], train: TrainConfig, decayed: list[bool | None]) -> None:
        """decayed: for each parameter, whether weight decay applies to it; None for a table."""
        self._train, self._optimizer, self._decayed = train, OPTIMIZERS[train.optimizer], decayed
        self.slots = [[torch.zeros_like(w) for w in parameters] for _ in self._optimizer.slots]

    def step(
        self,
        w: list[Tensor],
        dw: list[Tensor],
        step: int,
        skip: Tensor | None = None,
        used: Sequence[Tensor] = (),
    ) -> None:
        """The update of step `step` (from 0), in place.

        skip: a tensor, 1 to leave the update out, but not the decay of tables; used: for each table the rows
        to update.
        """
        self._dense_step(w, dw, step, skip)
        if used and (skip is None or not skip.item()):
            scalars = self._optimizer.scalars(self._train, step)
            tables = (self._those(None, tensors) for tensors in (w, dw, *self.slots))
            for rows, table, gradient, *slots in zip(used, *tables, strict=True):
                parts = [table[rows], gradient[rows], *(slot[rows] for slot in slots)]
                self._update(*([part] for part in parts), scalars)
                for whole, part in zip((table, *slots), (parts[0], *parts[2:]), strict=True):
                    whole[rows] = part
        if used and (factor := table_decay(self._train, step)) != 1.0:
            torch._foreach_mul_(self._those(None, w), factor)

    def _dense_step(self, w: list[Tensor], dw: list[Tensor], step: int, skip: Tensor | None) -> None:
        """The update of all but the tables."""
        if skip is None or not skip.item():
            scalars = self._optimizer.scalars(self._train, step)
            if scalars.decay != 1.0 and any(self._decayed):
                torch._foreach_mul_(self._those(True, w), scalars.decay)
            self._update(*map(self._all_but_tables, (w, dw, *self.slots)), scalars)

    @staticmethod
    @abstractmethod
    def _update(w: list[Tensor], dw: list[Tensor], *slots_and_scalars: Any) -> None:
        """The update by the equations of the optimizer's scalars, after the decay of w."""

    def _those(self, decayed: bool | None, tensors: list[Tensor]) -> list[Tensor]:
        """Those of the parameters with weight decay, of those without, or of the tables."""
        return [tensor for tensor, one in zip(tensors, self._decayed, strict=True) if one is decayed]

    def _all_but_tables(self, tensors: list[Tensor]) -> list[Tensor]:
        return [tensor for tensor, one in zip(tensors, self._decayed, strict=True) if one is not None]


class TorchAdam(TorchOptimizer):
    """Adam, in a fused kernel if PyTorch has one for the device."""

    def __init__(self, parameters: list[Tensor], train: TrainConfig, decayed: list[bool | None]) -> None:
        super().__init__(parameters, train, decayed)
        device = parameters[0].device
        self._fused = train.adam == "corrected" and device.type in FUSED_ON
        self._count = torch.zeros((), device=device)  # of steps, as the kernel takes it
        self._decays = self._groups()

    def _groups(self) -> list[tuple[float, list[int]]]:
        """Each weight decay, and the indices of its tensors; the tables have none."""
        groups: dict[float, list[int]] = {}
        for i, decayed in enumerate(self._decayed):
            if decayed is not None:
                groups.setdefault(self._train.weight_decay if decayed else 0.0, []).append(i)
        return list(groups.items())

    def _dense_step(self, w: list[Tensor], dw: list[Tensor], step: int, skip: Tensor | None) -> None:
        if self._fused:
            self._fused_step(w, dw, step, skip)
        else:
            super()._dense_step(w, dw, step, skip)

    def _fused_step(self, w: list[Tensor], dw: list[Tensor], step: int, skip: Tensor | None) -> None:
        """Adam with bias correction and decoupled weight decay; one kernel for the tensors of each decay.

        This is what torch.optim.AdamW(fused=True) calls; for a small model its checks take longer.
        """
        train, (m, v) = self._train, self.slots
        self._count.fill_(step + 1)
        lr = learning_rate(train, step)
        for decay, group in self._decays:
            torch._fused_adamw_(
                [w[i] for i in group],
                [dw[i] for i in group],
                [m[i] for i in group],
                [v[i] for i in group],
                [],
                [self._count] * len(group),
                lr=lr,
                beta1=train.beta1,
                beta2=train.beta2,
                weight_decay=decay,
                eps=train.eps,
                amsgrad=False,
                maximize=False,
                found_inf=skip,
            )

    @staticmethod
    def _update(w: list[Tensor], dw: list[Tensor], m: list[Tensor], v: list[Tensor], s: AdamScalars) -> None:
        """AdamScalars has the equations; the reference for the fused kernel."""
        torch._foreach_mul_(m, s.beta1)
        torch._foreach_add_(m, dw, alpha=s.one_minus_beta1)
        torch._foreach_mul_(v, s.beta2)
        torch._foreach_addcmul_(v, dw, dw, s.one_minus_beta2)
        roots = torch._foreach_mul(v, s.v_scale)
        torch._foreach_sqrt_(roots)
        torch._foreach_add_(roots, s.eps)
        torch._foreach_addcdiv_(w, m, roots, -s.step_size)


class TorchSGD(TorchOptimizer):
    """SGD with momentum."""

    @staticmethod
    def _update(w: list[Tensor], dw: list[Tensor], velocity: list[Tensor], s: SGDScalars) -> None:
        """SGDScalars has the equations."""
        torch._foreach_mul_(velocity, s.momentum)
        torch._foreach_add_(velocity, dw)
        torch._foreach_add_(w, velocity, alpha=-s.lr)


TORCH_OPTIMIZERS: dict[str, type[TorchOptimizer]] = {"adam": TorchAdam, "sgd": TorchSGD}


class LossScale:
    """A factor of the loss that keeps half-precision gradients from underflowing.

    It halves when a gradient overflows, and that update is skipped; it doubles after GROW_AFTER steps
    without overflow (Micikevicius et al., 2018, section 3.2). It stays on the device; only optimizers
    without a fused kernel wait for the overflow flag.
    """

    def __init__(self, device: torch.device) -> None:
        self.factor = torch.full((), FIRST_SCALE, device=device)
        self._good = torch.zeros((), device=device)

    def unscale(self, gradients: list[Tensor], sharded: bool) -> Tensor:
        """Divide in place; returns 1 if any number is not finite, else 0, and adapts the scale."""
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
