"""The torch engine: the contract with PyTorch modules, on one device or many."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from motegpt.data.batches import Chunk
from motegpt.engines.base import Engine, Snapshot
from motegpt.engines.torch import distributed
from motegpt.engines.torch.batches import (
    Padded,
    Part,
    Steps,
    blocks,
    check_division,
    mask_keys,
    prefetch,
    steps_of,
)
from motegpt.engines.torch.decoder import TorchDecoder
from motegpt.engines.torch.device import (
    choose_device,
    default_threads,
    float32_products,
    matmul_peak,
    processor_threads,
    report_failed_compilation,
    report_out_of_memory,
)
from motegpt.engines.torch.model import Transformer, allocate
from motegpt.engines.torch.node_clip import NodeClip
from motegpt.engines.torch.ops import Operations
from motegpt.engines.torch.optimizers import (
    TORCH_OPTIMIZERS,
    LossScale,
    Place,
    TorchOptimizer,
    clip_gradient,
)
from motegpt.errors import RankLost
from motegpt.model.dropout import masks_of, sites_of
from motegpt.model.spec import Role, check_names_match, check_shape, table_names, tensors
from motegpt.ngrams.vectors import vectors_of
from motegpt.system import ranks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from motegpt.config.sections import ModelConfig, TrainConfig
    from motegpt.data.batches import Batch
    from motegpt.data.plan import Plan
    from motegpt.engines.base import Arrays, Values
    from motegpt.ngrams.contexts import Contexts


class TorchEngine(Engine):
    """Parameters are in a Transformer, the optimizer's slots in lists of the same order, all on one device.

    If torchrun started several processes, each has an engine: that of rank 0 leads, the others `follow`.
    """

    name = "torch"
    dtypes = ("float32", "float64")

    def __init__(
        self,
        model: ModelConfig,
        train: TrainConfig,
        contexts: Contexts | None = None,
        alone: bool = False,
    ) -> None:
        """alone: ignore other processes that torchrun started, and allocate slots only when they are used."""
        super().__init__(model, train, contexts)
        size = 1 if alone else ranks.world_size()
        check_division(train.batch_size, size, train.accumulate)
        self.device = choose_device(train, ranks.local_rank())
        self._dtype: torch.dtype = getattr(torch, train.dtype)
        self._ranks = distributed.Ranks(self.device) if size > 1 else None
        self._sharded = train.shard and self._ranks is not None
        with report_out_of_memory(self.device, train):
            self._network = self._make_network()
            self._replica = self._replicated()
            self._shards = [
                distributed.local_rows(getattr(self._network, name)) for name in table_names(model)
            ]
            if not alone:
                self._update  # noqa: B018  # allocates the slots
        self._loss: nn.Module = torch.compile(self._replica) if train.compile else self._replica  # type: ignore[assignment]
        scaled = {None: False, "bfloat16": False, "float16": True}[train.autocast]
        self._scale = LossScale(self.device) if scaled else None
        self._whole: Transformer | None = None
        self._threads = default_threads(model, train)

    @cached_property
    def _update(self) -> TorchOptimizer:
        """The optimizer with its slots."""
        kind = TORCH_OPTIMIZERS[self.settings.optimizer]
        return kind(self._local_parameters(), self.groups.settings, self._places())

    @classmethod
    def why_not(cls, *, train: TrainConfig | None = None, processes: int = 1, **asked: Any) -> str | None:
        """See Engine. Trains in any number of processes."""
        incompatible = None if train is None else why_incompatible(train)
        return super().why_not(train=train, **asked) or incompatible

    @classmethod
    def inference(cls, model: ModelConfig, train: TrainConfig, contexts: Contexts | None = None) -> Self:
        """See Engine.inference; on the CPU if each device holds only a shard of the model."""
        return cls(model, train.replace(device="cpu") if train.shard else train, contexts, alone=True)

    def _load(self, parameters: Values, slots: Sequence[Values] | None) -> None:
        given = [parameters, *(slots or ())]
        for values in given:
            self._check(values)
        if slots is None and "_update" in vars(self):
            torch._foreach_zero_([tensor for slot in self._update.slots for tensor in slot])
        for values, parts in zip(
            given, [self._local_parameters(), *(self._update.slots if slots else ())], strict=True
        ):
            self._fill(parts, values)
        self._whole = None

    def export(self) -> Snapshot:
        if self._sharded:
            self._broadcast("export")
        return self._export()

    def parameters(self) -> Arrays:
        """See Engine.parameters."""
        if self._sharded:
            self._broadcast("gather")
        return self._gather()

    def logits(self, batch: Batch) -> list[NDArray[np.floating[Any]]]:
        vectors = vectors_of(self.contexts, batch.inputs, self.settings)
        padded = Padded.of(Chunk.of([batch]), slice(0, 1))
        steps = steps_of(padded, slice(None), 1, self._dtype, vectors=[vectors] if vectors else ())
        network = self._whole_network()
        with report_out_of_memory(self.device, self.settings), torch.no_grad():
            (part,) = steps.to(network.wte.device).parts(0)
            logits = network.logits(part.ids, rows=part.rows, scales=part.scales).cpu().numpy()
        return [logits[b, : len(row)] for b, row in enumerate(batch.inputs)]

    def gradients(self, batch: Batch, step: int | None = None) -> tuple[float, Arrays]:
        self._broadcast("gradients", batch, step)
        return self._gradients(batch, step)

    def train(self, plan: Plan, start: int, count: int) -> list[float]:
        """See Engine. An update whose float16 gradients overflow is skipped."""
        self._broadcast("train", start, count)
        return self._train(plan, start, count)

    def decoder(self, n: int) -> TorchDecoder:
        network = self._whole_network()
        with report_out_of_memory(self.device, self.settings):
            return TorchDecoder(network, self.model, n, self.contexts)

    def peak(self) -> float | None:
        """See Engine. Timed once per process, in the precision of the products."""
        train = self.settings
        peak = matmul_peak(self.device, getattr(torch, train.autocast or train.dtype), train.tf32)
        return None if peak is None else peak * ranks.world_size()

    @property
    def uses_processor(self) -> bool:
        return self.device.type == "cpu"

    def follow(self, plan: Plan) -> None:
        assert self._ranks is not None
        actions: dict[str, Callable[..., object]] = {
            "train": lambda start, count: self._train(plan, start, count),
            "gradients": self._gradients,
            "export": self._export,
            "gather": self._gather,
        }
        while (command := self._ranks.receive())[0] != "stop":
            actions[command[0]](*command[1:])

    def dismiss(self) -> None:
        """On rank 0: end `follow` on the other ranks."""
        self._broadcast("stop")

    def close(self) -> None:
        """Leave the process group; rank 0 first ends `follow` on the others."""
        if self._ranks is None:
            return
        if self._ranks.rank == 0:
            with suppress(RankLost):
                self.dismiss()
        self._ranks.leave()

    def _train(self, plan: Plan, start: int, count: int) -> list[float]:
        self._whole = None
        with self._device_context():
            batches = self._batches(plan.chunk(start, count), start)
            losses = [self._step(*batch, step) for step, batch in enumerate(batches, start)]
            return self._summed(torch.stack(losses)).tolist()  # waits for the device

    def _batches(self, chunk: Chunk, start: int) -> Iterator[tuple[list[Part], list[Tensor]]]:
        """This rank's parts of each step's batch, on the device; prefetched for a GPU.

        With each the rows of the tables that the whole batch uses. start: the first step of the chunk.
        """

        def make(block: slice) -> Steps:
            steps = self._steps(chunk, block, start + block.start)
            if self.device.type == "cuda":
                torch.cuda.set_device(self.device)  # per thread; pinning would otherwise use GPU 0
                steps = steps.pinned()
            return steps

        each = blocks(chunk)
        for made in map(make, each) if self.device.type == "cpu" else prefetch(make, each):
            steps = made.to(self.device)
            for i, used in enumerate(steps.used):
                yield steps.parts(i), self._local_rows(used)

    def _steps(self, chunk: Chunk, block: slice, first: int | None) -> Steps:
        """This rank's share of a block of the chunk, with the masks of the steps from `first` on."""
        padded = Padded.of(chunk, block)
        count, batch_size = padded.lengths.shape
        numbers = [None] * count if first is None else range(first, first + count)
        sites, settings = sites_of(self.model.n_layer), self.settings
        masks = filter(None, (masks_of(settings, step) for step in numbers))
        keys = [mask_keys(of_step, sites, batch_size) for of_step in masks]
        vectors = []
        if self.contexts.keys:
            found = (vectors_of(self.contexts, padded.inputs(i), settings, n) for i, n in enumerate(numbers))
            vectors = list(filter(None, found))
        size, rank = (self._ranks.size, self._ranks.rank) if self._ranks else (1, 0)
        share = slice(rank * batch_size // size, (rank + 1) * batch_size // size)
        return steps_of(padded, share, settings.accumulate, self._dtype, keys, vectors)

    def _local_rows(self, used: list[Tensor]) -> list[Tensor]:
        """Rows of the tables -> those that this rank has, as rows of its shards."""
        local = []
        for rows, (first, count) in zip(used, self._shards if used else (), strict=True):
            own = rows - first
            local.append(own[(own >= 0) & (own < count)].to(self.device))
        return local

    def _step(self, parts: list[Part], used: list[Tensor], step: int) -> Tensor:
        """One step; returns this rank's part of the loss, still on the device."""
        loss = self._backpropagate(parts)
        with torch.no_grad():
            w, dw = self._local_parameters(), self._local_gradients()
            skip = self._scale.unscale(dw, self._sharded) if self._scale else None
            clip_gradient(self._update.trained(dw), self.settings, self._sharded)
            self._update.step(w, dw, step, skip, used)
        return loss

    def _backpropagate(self, parts: list[Part]) -> Tensor:
        """Returns the sum of the parts' losses; gradients are summed over parts and ranks."""
        self._clear_gradients()
        losses = []
        for part in parts:
            with self._gradient_sync(last=part is parts[-1]):
                with self._autocast():
                    loss = self._loss(*part)
                losses.append(loss.detach())
                (loss * self._scale.factor if self._scale else loss).backward()
        return losses[0] if len(losses) == 1 else torch.stack(losses).sum()

    def _gradients(self, batch: Batch, step: int | None) -> tuple[float, Arrays]:
        size = self._ranks.size if self._ranks else 1
        check_division(len(batch.inputs), size, self.settings.accumulate)
        steps = self._steps(Chunk.of([batch]), slice(0, 1), step)
        with self._device_context():
            loss = self._summed(self._backpropagate(steps.to(self.device).parts(0)))
            with torch.no_grad():
                dw = self._local_gradients()
                if self._scale:
                    torch._foreach_mul_(dw, 1.0 / self._scale.factor)
                arrays = self._named(dw)
        self._clear_gradients()
        return loss.item(), arrays

    def _export(self) -> Snapshot:
        with self._device_context():
            w, *slots = map(self._named, (self._local_parameters(), *self._update.slots))
        return self._snapshot(w, slots)

    def _whole_network(self) -> Transformer:
        """The network with all its parameters; if it is sharded, a copy gathered on the CPU."""
        if not self._sharded:
            return self._network
        if self._whole is None:
            self._broadcast("gather")
            self._whole = Transformer(self.model, Operations()).to(self._dtype)
            self._whole.load_state_dict({name: torch.from_numpy(w) for name, w in self._gather().items()})
        return self._whole

    def _gather(self) -> Arrays:
        with self._device_context():
            return self._named(self._local_parameters())

    def _make_network(self) -> Transformer:
        """The network on its device, its parameters not yet loaded."""
        train = self.settings
        ops = Operations() if train.clip_node is None else NodeClip(train.clip_node)
        with torch.device("meta"):
            network = Transformer(self.model, ops, train.checkpoint_activations, train.dropout)
            network.to(self._dtype)
        if self._sharded and self._ranks is not None:
            return distributed.sharded(network, self._ranks).to_empty(device=self.device)
        allocate(network, self.device)
        return network

    def _replicated(self) -> Transformer | DistributedDataParallel:
        """The network; if several ranks each hold the whole of it, in DistributedDataParallel."""
        if self._ranks is None or self._sharded:
            return self._network
        return distributed.replicated(self._network, self.device)

    def _weights(self) -> list[nn.Parameter]:
        """The parameters; those of a sharded network change, others are listed once."""
        return list(self._network.parameters()) if self._sharded else self._fixed_weights

    @cached_property
    def _fixed_weights(self) -> list[nn.Parameter]:
        return list(self._network.parameters())

    def _local_parameters(self) -> list[Tensor]:
        """This rank's shards of the parameters, which share their memory."""
        return self._current_shards() if self._sharded else self._fixed_shards

    @cached_property
    def _fixed_shards(self) -> list[Tensor]:
        return self._current_shards()

    def _current_shards(self) -> list[Tensor]:
        return [distributed.local(w.detach()) for w in self._weights()]

    def _clear_gradients(self) -> None:
        for w in self._weights():
            w.grad = None

    def _places(self) -> list[Place]:
        """How the optimizer treats each of the parameters, in their order."""
        specified = {tensor.name: tensor for tensor in tensors(self.model)}
        ordered = (specified[name] for name, _ in self._network.named_parameters())
        return [Place(one.role is Role.TABLE, one.decayed, self.groups.of[one.name]) for one in ordered]

    def _local_gradients(self) -> list[Tensor]:
        """In the order of the parameters; zeros for those that the loss does not depend on."""
        gradients = (torch.zeros_like(w) if w.grad is None else w.grad for w in self._weights())
        return [distributed.local(gradient) for gradient in gradients]

    def _named(self, parts: list[Tensor]) -> Arrays:
        """This rank's shards of tensors like the parameters -> whole tensors by name, in canonical order."""
        named = {
            name: distributed.whole(w, part.detach()).to("cpu", copy=True).numpy()
            for (name, w), part in zip(self._network.named_parameters(), parts, strict=True)
        }
        return {tensor.name: named[tensor.name] for tensor in tensors(self.model)}

    def _check(self, values: Mapping[str, Any]) -> None:
        check_names_match(values, self.model, "load")
        for tensor in tensors(self.model):
            check_shape(tensor, np.shape(values[tensor.name]), "load")

    def _fill(self, parts: list[Tensor], values: Mapping[str, Any]) -> None:
        """Copy named values into this rank's shards."""
        for (name, w), part in zip(self._network.named_parameters(), parts, strict=True):
            given = np.asarray(values[name], self.settings.dtype).reshape(w.shape)
            part.copy_(distributed.share_of(w, torch.tensor(given, device=self.device)))

    def _broadcast(self, *command: Any) -> None:
        if self._ranks is not None:
            self._ranks.broadcast(*command)

    def _summed(self, x: Tensor) -> Tensor:
        return x if self._ranks is None else self._ranks.sum(x)

    @contextmanager
    def _device_context(self) -> Iterator[None]:
        """The context of all work on the device: precision, number of threads, and readable errors."""
        with ExitStack() as stack:
            stack.enter_context(report_out_of_memory(self.device, self.settings))
            stack.enter_context(report_failed_compilation())
            if self._ranks is not None:
                stack.enter_context(self._ranks.detect_lost_rank())
            stack.enter_context(float32_products(self.device, self.settings.tf32))
            stack.enter_context(processor_threads(self._threads))
            yield

    def _gradient_sync(self, last: bool) -> AbstractContextManager[object]:
        """Gradients are summed over ranks once per batch, with its last part."""
        if isinstance(self._replica, DistributedDataParallel) and not last:
            return self._replica.no_sync()
        if self._sharded:
            distributed.set_gradient_sync(self._network, last)
        return nullcontext()

    def _autocast(self) -> AbstractContextManager[object]:
        kind = self.settings.autocast
        return torch.autocast(self.device.type, getattr(torch, kind)) if kind else nullcontext()


def why_incompatible(train: TrainConfig) -> str | None:
    """Why some settings exclude each other; None if they do not."""
    if train.autocast is not None and train.dtype != "float32":
        return f"autocast: expected parameters in float32, got {train.dtype}; add `dtype='float32'`"
    if train.autocast == "float16" and train.clip_node is not None:
        return "clip_node: cannot go with `autocast='float16'`, whose gradients are scaled; try bfloat16"
    if train.compile and train.clip_node is not None:
        return "clip_node: cannot go with `compile=True`, which has no nodes; leave one out"
    return None
