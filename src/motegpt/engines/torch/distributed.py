"""Training in several processes: rank 0 leads, the others follow.

Rank 0 runs the loop, writes files and prints. Before each collective action it broadcasts a command to the
others, which wait in `Ranks.receive`; so their clocks, signals and chunks cannot differ from its own. Each
rank computes its part of a batch; weights are those of the whole batch, so losses and gradients are summed,
not averaged.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from motegpt.engines.torch.model import Transformer
from motegpt.errors import RankLost, UsageError
from motegpt.system import ranks

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

STEP_TIMEOUT = timedelta(minutes=10)  # for the other ranks within a step
WAIT_TIMEOUT = timedelta(days=7)  # for rank 0 between chunks, while it samples or saves

# Parts of the messages of gloo and NCCL when a peer is gone.
LOST_RANK_MESSAGES = (
    "Connection closed",
    "Connection reset",
    "Connection refused",
    "Broken pipe",
    "imed out",
    "timeout",
    "recvValue failed",
    "sendBytes failed",
    "NCCL",
)


class Ranks:
    """This process among those that torchrun started; creating it joins their process group."""

    def __init__(self, device: torch.device) -> None:
        self.rank, self.size = ranks.rank(), ranks.world_size()
        self.device = device
        with self.detect_lost_rank():
            if not dist.is_initialized():
                backend = "gloo"
                if device.type == "cuda":
                    torch.cuda.set_device(device)
                    backend = "cpu:gloo,cuda:nccl"
                dist.init_process_group(backend, timeout=STEP_TIMEOUT)
            self._commands = dist.new_group(backend="gloo", timeout=WAIT_TIMEOUT)

    def broadcast(self, *command: Any) -> None:
        """Rank 0: send the next command to all others."""
        if self.rank != 0:
            raise UsageError(
                f"train: rank {self.rank} of {self.size} only follows rank 0; under torchrun use "
                "python -m motegpt train, not the Python API"
            )
        with self.detect_lost_rank():
            dist.broadcast_object_list([command], src=0, group=self._commands)

    def receive(self) -> tuple[Any, ...]:
        """Other ranks: wait for the next command of rank 0."""
        received: list[Any] = [None]
        with self.detect_lost_rank():
            dist.broadcast_object_list(received, src=0, group=self._commands)
        return tuple(received[0])

    def sum(self, x: Tensor) -> Tensor:
        """x summed over all ranks, in place."""
        dist.all_reduce(x)
        return x

    def leave(self) -> None:
        """Leave the process group."""
        if dist.is_initialized():
            dist.destroy_process_group()

    @contextmanager
    def detect_lost_rank(self) -> Iterator[None]:
        """Raise RankLost if another rank does not respond within this context."""
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, dist.DistError) as error:
            if not is_lost_rank(error):
                raise
            reason = str(error).splitlines()[0][:120]
            raise RankLost(f"another of the {self.size} processes has ended ({reason})") from error


def is_lost_rank(error: BaseException) -> bool:
    """Whether an error of a collective operation means that a peer is gone, rather than wrong use."""
    return isinstance(error, dist.DistError) or any(part in str(error) for part in LOST_RANK_MESSAGES)


def replicated(network: Transformer, device: torch.device) -> DistributedDataParallel:
    """The network in DistributedDataParallel, which sums gradients over ranks during the backward pass."""
    replica = DistributedDataParallel(network, device_ids=[device] if device.type == "cuda" else None)
    replica.register_comm_hook(None, lambda _, bucket: _summed(bucket.buffer()))
    return replica


def _summed(gradients: Tensor) -> torch.futures.Future[Tensor]:
    """The sum over ranks, where DistributedDataParallel by default takes the mean."""
    work = dist.all_reduce(gradients, async_op=True)
    future: torch.futures.Future[Tensor] = work.get_future().then(lambda done: done.value()[0])
    return future


def sharded(network: Transformer, ranks: Ranks) -> Transformer:
    """The network under FSDP: each rank holds some rows of every tensor; layers are gathered when used."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard

    mesh = init_device_mesh(ranks.device.type, (ranks.size,))
    for module in (*network.layers, network):
        fully_shard(module, mesh=mesh)
        assert isinstance(module, FSDPModule)
        module.set_gradient_divide_factor(1.0)
    return network


def is_sharded(x: Tensor) -> TypeGuard[DTensor]:
    """Whether a tensor is a DTensor, a class that takes a second to import."""
    return hasattr(x, "to_local")


def local(x: Tensor) -> Tensor:
    """This rank's shard of a tensor, or the tensor itself."""
    return x.to_local() if is_sharded(x) else x


def set_gradient_sync(network: Transformer, sync: bool) -> None:
    """Whether the next backward pass of a sharded network sums over ranks, or only accumulates."""
    from torch.distributed.fsdp import FSDPModule

    assert isinstance(network, FSDPModule)
    network.set_requires_gradient_sync(sync)


def share_of(w: Tensor, whole: Tensor) -> Tensor:
    """This rank's shard of `whole`, distributed like w."""
    if not is_sharded(w):
        return whole
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(whole, w.device_mesh, w.placements, src_data_rank=None).to_local()


def local_rows(w: nn.Parameter) -> tuple[int, int]:
    """The first row of this rank's shard of a matrix, and the number of its rows."""
    if not is_sharded(w):
        return 0, len(w)
    rows = share_of(w, torch.arange(len(w), device=w.device)[:, None])
    return (int(rows[0]), len(rows)) if len(rows) else (0, 0)


def whole(like: nn.Parameter, part: Tensor) -> Tensor:
    """A tensor gathered from the shards of all ranks, distributed like `like`. A collective operation."""
    if not is_sharded(like):
        return part
    from torch.distributed.tensor import DTensor

    shape, stride = like.shape, like.stride()
    return DTensor.from_local(
        part, like.device_mesh, like.placements, run_check=False, shape=shape, stride=stride
    ).full_tensor()
