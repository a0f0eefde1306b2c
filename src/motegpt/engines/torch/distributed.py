"""Many processes, one training: rank 0 leads, the others follow.

Rank 0 runs the loop, writes and speaks. Before it does what needs everybody it tells the others, who wait
in `Ranks.receive`; so no clock, signal or chunk of theirs can differ from its. Each computes its part of a
batch; weights of sequences are those of the whole batch, so losses and gradients are summed, not averaged.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from motegpt.engines.torch.model import Transformer
from motegpt.errors import RankLost, UsageError
from motegpt.system import ranks

STEP_TIMEOUT = timedelta(minutes=10)  # how long a rank waits for the others within a step
WAIT_TIMEOUT = timedelta(days=7)  # and for rank 0 between chunks, while that samples or saves

# What the messages of gloo's and NCCL's errors contain where a peer is gone.
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
    """This process among those that torchrun started. It joins them when made, and needs torchrun."""

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
            self._words = dist.new_group(backend="gloo", timeout=WAIT_TIMEOUT)

    def broadcast(self, *words: Any) -> None:
        """Rank 0: say to the others what is done next."""
        if self.rank != 0:
            raise UsageError(
                f"train: rank {self.rank} of {self.size} only follows rank 0; under torchrun use "
                "python -m motegpt train, not the Python API"
            )
        with self.detect_lost_rank():
            dist.broadcast_object_list([words], src=0, group=self._words)

    def receive(self) -> tuple[Any, ...]:
        """The others: what rank 0 says next; waits for it."""
        words: list[Any] = [None]
        with self.detect_lost_rank():
            dist.broadcast_object_list(words, src=0, group=self._words)
        return tuple(words[0])

    def sum(self, x: Tensor) -> Tensor:
        """x summed over all ranks, in place."""
        dist.all_reduce(x)
        return x

    def leave(self) -> None:
        """End what was joined."""
        if dist.is_initialized():
            dist.destroy_process_group()

    @contextmanager
    def detect_lost_rank(self) -> Iterator[None]:
        """RankLost where another rank does not answer within this."""
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
    """Whether an error of a collective operation says that a peer is gone, and not that it was misused."""
    return isinstance(error, dist.DistError) or any(sign in str(error) for sign in LOST_RANK_MESSAGES)


def replicated(network: Transformer, device: torch.device) -> DistributedDataParallel:
    """The network with every rank's gradients summed on the way back, while the rest is still computed."""
    replica = DistributedDataParallel(network, device_ids=[device] if device.type == "cuda" else None)
    replica.register_comm_hook(None, lambda _, bucket: _summed(bucket.buffer()))
    return replica


def _summed(gradients: Tensor) -> torch.futures.Future[Tensor]:
    """The sum over ranks, where DistributedDataParallel of itself takes the mean."""
    work = dist.all_reduce(gradients, async_op=True)
    future: torch.futures.Future[Tensor] = work.get_future().then(lambda done: done.value()[0])
    return future


def sharded(network: Transformer, ranks: Ranks) -> Transformer:
    """The network, each rank holding a part of the rows of every matrix; whole layer by layer as needed."""
    mesh = init_device_mesh(ranks.device.type, (ranks.size,))
    for module in (*network.layers(), network):
        fully_shard(module, mesh=mesh)
        assert isinstance(module, FSDPModule)
        module.set_gradient_divide_factor(1.0)
    return network


def local(x: Tensor) -> Tensor:
    """What this rank holds of a tensor."""
    return x.to_local() if isinstance(x, DTensor) else x


def set_gradient_sync(network: Transformer, now: bool) -> None:
    """Whether the next backward of a sharded network sums over the ranks, or keeps what is to be summed."""
    assert isinstance(network, FSDPModule)
    network.set_requires_gradient_sync(now)


def share_of(w: nn.Parameter, whole: Tensor) -> Tensor:
    """What this rank holds of `whole`, if it is shared out as w is."""
    if not isinstance(w, DTensor):
        return whole
    return distribute_tensor(whole, w.device_mesh, w.placements, src_data_rank=None).to_local()


def whole(like: nn.Parameter, part: Tensor) -> Tensor:
    """The whole of a tensor of which every rank holds a part, as it does of `like`. Asks all ranks."""
    if not isinstance(like, DTensor):
        return part
    shape, stride = like.shape, like.stride()
    return DTensor.from_local(
        part, like.device_mesh, like.placements, run_check=False, shape=shape, stride=stride
    ).full_tensor()
