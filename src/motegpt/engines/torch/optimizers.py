"""Optimizers over lists of tensors, gradient clipping, and the loss scale of half precision."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from motegpt.model.schedule import learning_rate
from motegpt.optim import OPTIMIZERS
from motegpt.optim.base import table_decay
from motegpt.optim.groups import FROZEN

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


class Place(NamedTuple):
    """Whether a parameter is a table, whether weight decay applies to it, and its group, or FROZEN."""

    is_table: bool
    decayed: bool
    group: int


class TorchOptimizer(ABC):
    """An optimizer of a list of parameters. slots: in the optimizer's order, each like the parameters."""

    def __init__(
        self, parameters: list[Tensor], settings: Sequence[TrainConfig], places: list[Place]
    ) -> None:
        """settings: of each group; places: of each parameter."""
        self._settings, self._places = settings, places
        self._optimizer = OPTIMIZERS[settings[0].optimizer]
        self._alike: dict[Place, list[int]] = {}  # the parameters of each place, but for tables
        for i, place in enumerate(places):
            if not place.is_table and place.group != FROZEN:
                self._alike.setdefault(place, []).append(i)
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
        if not used:
            return
        skipped = skip is not None and bool(skip.item())
        tables = [numbered for numbered in enumerate(self._places) if numbered[1].is_table]
        for rows, (i, place) in zip(used, tables, strict=True):
            if place.group != FROZEN:
                arrays = [tensors[i] for tensors in (w, dw, *self.slots)]
                self._table_step(arrays, None if skipped else rows, self._settings[place.group], step)

    def _table_step(self, arrays: list[Tensor], rows: Tensor | None, train: TrainConfig, step: int) -> None:
        """The update of some rows of a table, None to leave it out, and the decay of all.

        arrays: w, dw and slots of the table.
        """
        if rows is not None:
            parts = [array[rows] for array in arrays]
            self._update(*([part] for part in parts), self._optimizer.scalars(train, step))
            for whole, part in zip((arrays[0], *arrays[2:]), (parts[0], *parts[2:]), strict=True):
                whole[rows] = part
        if (factor := table_decay(train, step)) != 1.0:
            arrays[0].mul_(factor)

    def _dense_step(self, w: list[Tensor], dw: list[Tensor], step: int, skip: Tensor | None) -> None:
        """The update of all but the tables."""
        if skip is not None and skip.item():
            return
        for place, members in self._alike.items():
            scalars = self._optimizer.scalars(self._settings[place.group], step)
            own, *others = ([tensors[i] for i in members] for tensors in (w, dw, *self.slots))
            if scalars.decay != 1.0 and place.decayed:
                torch._foreach_mul_(own, scalars.decay)
            self._update(own, *others, scalars)

    @staticmethod
    @abstractmethod
    def _update(w: list[Tensor], dw: list[Tensor], *slots_and_scalars: Any) -> None:
        """The update by the equations of the optimizer's scalars, after the decay of w."""

    def trained(self, tensors: list[Tensor]) -> list[Tensor]:
        """Those of the parameters that are not frozen."""
        return [tensor for tensor, one in zip(tensors, self._places, strict=True) if one.group != FROZEN]


class TorchAdam(TorchOptimizer):
    """Adam, in a fused kernel if PyTorch has one for the device."""

    def __init__(
        self, parameters: list[Tensor], settings: Sequence[TrainConfig], places: list[Place]
    ) -> None:
        super().__init__(parameters, settings, places)
        device = parameters[0].device
        self._fused = settings[0].adam == "corrected" and device.type in FUSED_ON
        self._count = torch.zeros((), device=device)  # of steps, as the kernel takes it

    def _dense_step(self, w: list[Tensor], dw: list[Tensor], step: int, skip: Tensor | None) -> None:
        if self._fused:
            self._fused_step(w, dw, step, skip)
        else:
            super()._dense_step(w, dw, step, skip)

    def _fused_step(self, w: list[Tensor], dw: list[Tensor], step: int, skip: Tensor | None) -> None:
        """Adam with bias correction and decoupled weight decay; one kernel for the tensors of each place.

        This is what torch.optim.AdamW(fused=True) calls; for a small model its checks take longer.
        """
        self._count.fill_(step + 1)
        for place, members in self._alike.items():
            train = self._settings[place.group]
            own, gradients, m, v = ([tensors[i] for i in members] for tensors in (w, dw, *self.slots))
            torch._fused_adamw_(
                own,
                gradients,
                m,
                v,
                [],
                [self._count] * len(members),
                lr=learning_rate(train, step),
                beta1=train.beta1,
                beta2=train.beta2,
                weight_decay=train.weight_decay if place.decayed else 0.0,
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
