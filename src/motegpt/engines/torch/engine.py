"""The torch engine: the contract over PyTorch modules, on one device or shared out among many."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from motegpt.engines.base import Engine, Snapshot
from motegpt.engines.torch import distributed
from motegpt.engines.torch.batches import Part, check_division, made_ahead, part_of, parts_of
from motegpt.engines.torch.decoder import TorchDecoder
from motegpt.engines.torch.device import (
    choose_device,
    fitting_threads,
    float32_products,
    matrix_peak,
    processor_threads,
    told_when_full,
    told_when_not_compiled,
)
from motegpt.engines.torch.model import Transformer
from motegpt.engines.torch.node_clip import NodeClip
from motegpt.engines.torch.ops import Fused, Operations
from motegpt.engines.torch.optimizers import TORCH_OPTIMIZERS, LossScale, clip_gradient
from motegpt.errors import RankLost
from motegpt.model.spec import check_names_match, check_shape, tensors
from motegpt.system import ranks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from motegpt.config.sections import ModelConfig, TrainConfig
    from motegpt.data.plan import Batch, Chunk, Plan
    from motegpt.engines.base import Arrays, Values


class TorchEngine(Engine):
    """Parameters live in a Transformer, the optimizer's slots in lists beside them, all on one device.

    Where torchrun started several processes, each has an engine: rank 0's leads, the others' `follow`.
    """

    name = "torch"
    dtypes = ("float32", "float64")

    def __init__(self, model: ModelConfig, train: TrainConfig, alone: bool = False) -> None:
        """alone: as if torchrun had started no other process."""
        super().__init__(model, train)
        size = 1 if alone else ranks.world_size()
        check_division(train.batch_size, size, train.accumulate)
        self.device = choose_device(train, ranks.local_rank())
        self._dtype: torch.dtype = getattr(torch, train.dtype)
        self._ranks = distributed.Ranks(self.device) if size > 1 else None
        self._sharded = train.shard and self._ranks is not None
        with told_when_full(self.device, train):
            self._network = self._make_network()
            self._replica = self._replicated()
            parts = self._local_parameters()
            self._update = TORCH_OPTIMIZERS[train.optimizer](parts, train, self._decayed())
        self._loss: nn.Module = torch.compile(self._replica) if train.compile else self._replica  # type: ignore[assignment]
        scaled = {None: False, "bfloat16": False, "float16": True}[train.autocast]
        self._scale = LossScale(self.device) if scaled else None
        self._whole: Transformer | None = None
        self._peak: float | None = None
        self._threads = fitting_threads(model, train)

    @classmethod
    def why_not(cls, *, train: TrainConfig | None = None, processes: int = 1, **asked: Any) -> str | None:
        """As the contract has it. It trains in any number of processes."""
        together = None if train is None else why_not_together(train)
        return super().why_not(train=train, **asked) or together

    @classmethod
    def alone(cls, model: ModelConfig, train: TrainConfig) -> Self:
        """As the contract has it; beside the processor where a device holds only a part of the model."""
        return cls(model, train.replace(device="cpu") if train.shard else train, alone=True)

    def _load(self, parameters: Values, slots: Sequence[Values] | None) -> None:
        given = [parameters, *(slots or ())]
        for values in given:
            self._check(values)
        if slots is None:
            torch._foreach_zero_([tensor for slot in self._update.slots for tensor in slot])
        for values, parts in zip(given, [self._local_parameters(), *self._update.slots], strict=False):
            self._fill(parts, values)
        self._whole = None

    def export(self) -> Snapshot:
        if self._sharded:
            self._tell("export")
        return self._export()

    def logits(self, batch: Batch) -> list[NDArray[np.floating[Any]]]:
        part = part_of(batch, self._dtype)
        network = self._whole_network()
        with told_when_full(self.device, self.settings), torch.no_grad():
            padded = network.logits(part.ids.to(network.wte.device)).cpu().numpy()
        return [padded[b, : len(row)] for b, row in enumerate(batch.inputs)]

    def gradients(self, batch: Batch) -> tuple[float, Arrays]:
        self._tell("gradients", batch)
        return self._gradients(batch)

    def train(self, plan: Plan, start: int, count: int) -> list[float]:
        """As the contract has it. An update whose float16 gradients overflow is left out."""
        self._tell("train", start, count)
        return self._train(plan, start, count)

    def decoder(self, n: int) -> TorchDecoder:
        network = self._whole_network()
        with told_when_full(self.device, self.settings):
            return TorchDecoder(network, self.model, n)

    def peak(self) -> float:
        """Operations a second of all devices in matrix products, at best; found out once."""
        if self._peak is None:
            self._peak = matrix_peak(self.device, self.settings) * ranks.world_size()
        return self._peak

    def follow(self, plan: Plan) -> None:
        assert self._ranks is not None
        actions: dict[str, Callable[..., object]] = {
            "train": lambda start, count: self._train(plan, start, count),
            "gradients": self._gradients,
            "export": self._export,
            "gather": self._gather,
        }
        while (words := self._ranks.heard())[0] != "stop":
            actions[words[0]](*words[1:])

    def dismiss(self) -> None:
        """On rank 0: end what the others do in `follow`."""
        self._tell("stop")

    def close(self) -> None:
        """Leave the other ranks; rank 0 lets go first those that are still there."""
        if self._ranks is None:
            return
        if self._ranks.rank == 0:
            with suppress(RankLost):
                self.dismiss()
        self._ranks.leave()

    def _train(self, plan: Plan, start: int, count: int) -> list[float]:
        self._whole = None
        with self._careful():
            losses = [
                self._step(parts, step)
                for step, parts in enumerate(self._batches(plan.chunk(start, count)), start)
            ]
            return self._summed(torch.stack(losses)).tolist()  # waits for the device

    def _batches(self, chunk: Chunk) -> Iterator[list[Part]]:
        """This rank's parts of each step's batch, on the device; for a GPU they are made ahead."""
        size, rank = (self._ranks.size, self._ranks.rank) if self._ranks else (1, 0)

        def make(i: int) -> list[Part]:
            parts = parts_of(chunk.batch(i), size, rank, self.settings.accumulate, self._dtype)
            if self.device.type == "cuda":
                torch.cuda.set_device(self.device)  # each thread has its own; pinning would wake up GPU 0
                parts = [part.pinned() for part in parts]
            return parts

        steps = range(len(chunk.starts))
        made = map(make, steps) if self.device.type == "cpu" else made_ahead(make, steps)
        return ([part.to(self.device) for part in parts] for parts in made)

    def _step(self, parts: list[Part], step: int) -> Tensor:
        """One step; returns this rank's part of its loss, still on the device."""
        loss = self._backpropagate(parts)
        with torch.no_grad():
            w, dw = self._local_parameters(), self._local_gradients()
            skip = self._scale.unscale(dw, self._sharded) if self._scale else None
            clip_gradient(dw, self.settings, self._sharded)
            self._update.step(w, dw, step, skip)
        return loss

    def _backpropagate(self, parts: list[Part]) -> Tensor:
        """The sum of the parts' losses; leaves their gradients, summed over parts and ranks."""
        self._network.zero_grad(set_to_none=True)
        losses = []
        for part in parts:
            with self._summing(last=part is parts[-1]):
                with self._autocast():
                    loss = self._loss(*part)
                losses.append(loss.detach())
                (loss * self._scale.factor if self._scale else loss).backward()
        return losses[0] if len(losses) == 1 else torch.stack(losses).sum()

    def _gradients(self, batch: Batch) -> tuple[float, Arrays]:
        size, rank = (self._ranks.size, self._ranks.rank) if self._ranks else (1, 0)
        check_division(len(batch.inputs), size, self.settings.accumulate)
        parts = parts_of(batch, size, rank, self.settings.accumulate, self._dtype)
        with self._careful():
            loss = self._summed(self._backpropagate([part.to(self.device) for part in parts]))
            with torch.no_grad():
                dw = self._local_gradients()
                if self._scale:
                    torch._foreach_mul_(dw, 1.0 / self._scale.factor)
                arrays = self._named(dw)
        self._network.zero_grad(set_to_none=True)
        return loss.item(), arrays

    def _export(self) -> Snapshot:
        with self._careful():
            w, *slots = map(self._named, (self._local_parameters(), *self._update.slots))
        return self._snapshot(w, slots)

    def _whole_network(self) -> Transformer:
        """The network with all its parameters: itself, or where it is sharded a copy beside the processor."""
        if not self._sharded:
            return self._network
        if self._whole is None:
            self._tell("gather")
            self._whole = Transformer(self.model, Fused()).to(self._dtype)
            self._whole.load_state_dict({name: torch.from_numpy(w) for name, w in self._gather().items()})
        return self._whole

    def _gather(self) -> Arrays:
        with self._careful():
            return self._named(self._local_parameters())

    def _make_network(self) -> Transformer:
        """The network on its device, its parameters still to be loaded."""
        train = self.settings
        ops: Operations = Fused() if train.clip_node is None else NodeClip(train.clip_node)
        with torch.device("meta"):
            network = Transformer(self.model, ops, train.checkpoint_activations).to(self._dtype)
        if self._sharded and self._ranks is not None:
            network = distributed.sharded(network, self._ranks)
        return network.to_empty(device=self.device)

    def _replicated(self) -> Transformer | DistributedDataParallel:
        """The network; where several ranks hold the whole of it, in what sums their gradients."""
        if self._ranks is None or self._sharded:
            return self._network
        return distributed.replicated(self._network, self.device)

    def _local_parameters(self) -> list[Tensor]:
        return [distributed.local(w.detach()) for w in self._network.parameters()]

    def _decayed(self) -> list[bool]:
        """Whether weight decay acts, in the order of the parameters."""
        decayed = {tensor.name: tensor.decayed for tensor in tensors(self.model)}
        return [decayed[name] for name, _ in self._network.named_parameters()]

    def _local_gradients(self) -> list[Tensor]:
        """In the order of the parameters; zero for one that the loss does not depend on."""
        gradients = (torch.zeros_like(w) if w.grad is None else w.grad for w in self._network.parameters())
        return [distributed.local(gradient) for gradient in gradients]

    def _named(self, parts: list[Tensor]) -> Arrays:
        """What this rank holds of some tensors like the parameters -> the whole of each, by name."""
        return {
            name: distributed.whole(w, part.detach()).to("cpu", copy=True).numpy()
            for (name, w), part in zip(self._network.named_parameters(), parts, strict=True)
        }

    def _check(self, values: Mapping[str, Any]) -> None:
        check_names_match(values, self.model, "load")
        for tensor in tensors(self.model):
            check_shape(tensor, np.shape(values[tensor.name]), "load")

    def _fill(self, parts: list[Tensor], values: Mapping[str, Any]) -> None:
        """Copy named values into what this rank holds of them."""
        for (name, w), part in zip(self._network.named_parameters(), parts, strict=True):
            given = np.asarray(values[name], self.settings.dtype).reshape(w.shape)
            part.copy_(distributed.share_of(w, torch.tensor(given, device=self.device)))

    def _tell(self, *words: Any) -> None:
        if self._ranks is not None:
            self._ranks.tell(*words)

    def _summed(self, x: Tensor) -> Tensor:
        return x if self._ranks is None else self._ranks.sum(x)

    @contextmanager
    def _careful(self) -> Iterator[None]:
        """What surrounds all work on the device: its precision, and clear words where it fails."""
        with ExitStack() as stack:
            stack.enter_context(told_when_full(self.device, self.settings))
            stack.enter_context(told_when_not_compiled())
            if self._ranks is not None:
                stack.enter_context(self._ranks.together())
            stack.enter_context(float32_products(self.device, self.settings.tf32))
            stack.enter_context(processor_threads(self._threads))
            yield

    @contextmanager
    def _summing(self, last: bool) -> Iterator[None]:
        """Gradients are summed over the ranks with the last part of a batch, all at once."""
        if isinstance(self._replica, DistributedDataParallel):
            with nullcontext() if last else self._replica.no_sync():
                yield
            return
        if self._sharded:
            distributed.sum_now(self._network, last)
        yield

    def _autocast(self) -> torch.autocast:
        kind = self.settings.autocast
        return torch.autocast(
            self.device.type, getattr(torch, kind) if kind else torch.bfloat16, enabled=kind is not None
        )


def why_not_together(train: TrainConfig) -> str | None:
    """Why some settings cannot go together; None if they can."""
    if train.autocast is not None and train.dtype != "float32":
        return f"autocast: expected parameters in float32, got {train.dtype}; add `dtype='float32'`"
    if train.autocast == "float16" and train.clip_node is not None:
        return "clip_node: cannot go with `autocast='float16'`, whose gradients are scaled; try bfloat16"
    if train.compile and train.clip_node is not None:
        return "clip_node: cannot go with `compile=True`, which has no nodes; leave one out"
    return None
