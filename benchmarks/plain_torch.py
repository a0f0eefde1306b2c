"""The torch engine compared with a plain PyTorch training loop: the same model, the same batches.

    python benchmarks/plain_torch.py --device cpu --work microgpt

The loop uses modules, fused attention and fused AdamW. (With a single product for q, k and v, as is usual on
a GPU, it takes 1.5 times as long on a CPU.) Workloads are those of `motegpt bench --list`. Their runs
alternate, and the times are the shortest of many short runs: on a CPU processor time, so that other programs
do not count, else wall time. To run one of them, for `motegpt bench --peer`: --only plain, --only motegpt.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motegpt.bench.work import WORKLOADS, Problem, problem_of
from motegpt.data.corpus import read_corpus
from motegpt.engines import fresh_engine

PADDING = -1  # target that the loss ignores
RUN_SECONDS = 0.1


class Block(nn.Module):
    """A layer."""

    def __init__(self, c: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.out = (nn.Linear(c, c, bias=False) for _ in range(4))
        self.up, self.down = nn.Linear(c, 4 * c, bias=False), nn.Linear(4 * c, c, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        b, t, c = x.shape
        h = F.rms_norm(x, (c,), eps=1e-5)
        q, k, v = (
            w(h).view(b, t, self.heads, c // self.heads).transpose(1, 2) for w in (self.q, self.k, self.v)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(b, t, c))
        return x + self.down(F.relu(self.up(F.rms_norm(x, (c,), eps=1e-5))))


class Plain(nn.Module):
    """The model. forward returns the loss."""

    def __init__(self, vocabulary: int, block: int, layers: int, c: int, heads: int) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocabulary, c), nn.Embedding(block, c)
        self.blocks = nn.ModuleList(Block(c, heads) for _ in range(layers))
        self.head = nn.Linear(c, vocabulary, bias=False)

    def forward(self, ids: Tensor, targets: Tensor) -> Tensor:
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1], device=ids.device))
        x = F.rms_norm(x, x.shape[-1:], eps=1e-5)
        for block in self.blocks:
            x = block(x)
        return F.cross_entropy(self.head(x).flatten(0, 1), targets.flatten(), ignore_index=PADDING)


def padded(rows: list[list[int]], padding: int, device: str) -> Tensor:
    """Ragged rows of ids as a tensor (B, T)."""
    longest = max(map(len, rows))
    return torch.tensor([row + [padding] * (longest - len(row)) for row in rows], device=device)


def plain_loop(
    problem: Problem, device: str, autocast: str | None, compiled: bool = False
) -> Callable[[int, int], None]:
    """A function steps(start, count) that trains with the plain loop. compiled: by torch.compile."""
    model, train = problem.model, problem.train
    net = Plain(model.vocab_size, model.block_size, model.n_layer, model.n_embd, model.n_head).to(device)
    optimizer = torch.optim.AdamW(
        net.parameters(), lr=train.lr, betas=(train.beta1, train.beta2), weight_decay=0.0, fused=True
    )
    kind = getattr(torch, autocast or "bfloat16")
    loss_of = torch.compile(net, dynamic=True) if compiled else net

    def steps(start: int, count: int) -> None:
        losses = []
        for step in range(start, start + count):
            batch = problem.plan.batch(step)
            inputs, targets = padded(batch.inputs, 0, device), padded(batch.targets, PADDING, device)
            with torch.autocast(device, kind) if autocast else nullcontext():
                loss = loss_of(inputs, targets)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        torch.stack(losses).tolist()

    return steps


def engine_loop(problem: Problem) -> Callable[[int, int], None]:
    """A function steps(start, count) that trains with the torch engine."""
    engine = fresh_engine("torch", problem.model, problem.train)

    def steps(start: int, count: int) -> None:
        engine.train(problem.plan, start, count)

    return steps


def steps_per_run(loop: Callable[[int, int], None], clock: Callable[[], float]) -> int:
    """The number of steps that take RUN_SECONDS, found by doubling, which also warms up."""
    count = 1
    while True:
        began = clock()
        loop(0, count)
        if clock() - began > RUN_SECONDS:
            return count
        count *= 2


def shortest(
    loops: dict[str, Callable[[int, int], None]], runs: int, clock: Callable[[], float]
) -> dict[str, float]:
    """Seconds per step of each loop: the shortest of alternating runs."""
    count = max(steps_per_run(loop, clock) for loop in loops.values())
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    for run in range(runs):
        for name, loop in loops.items():
            began = clock()
            loop(run * count, count)
            seconds[name].append((clock() - began) / count)
    return {name: min(times) for name, times in seconds.items()}


def main() -> None:
    """Print the time per step of each loop, and their ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--autocast", choices=["bfloat16", "float16"])
    parser.add_argument("--work", action="append", choices=list(WORKLOADS), help="[all]")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--only", choices=["plain", "compiled", "motegpt"])
    parser.add_argument("--compile", action="store_true", help="time the plain loop under torch.compile too")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    changes: dict[str, Any] = {name: getattr(arguments, name) for name in ("device", "autocast", "threads")}
    clock = time.process_time if arguments.device == "cpu" else time.perf_counter
    for work in arguments.work or WORKLOADS:
        problem = problem_of(WORKLOADS[work], read_corpus(None), "float32", changes)
        loops = {
            "plain": plain_loop(problem, arguments.device, arguments.autocast),
            "motegpt": engine_loop(problem),
        }
        if arguments.compile or arguments.only == "compiled":
            loops["compiled"] = plain_loop(problem, arguments.device, arguments.autocast, compiled=True)
        if arguments.only:
            loops = {arguments.only: loops[arguments.only]}
        seconds = shortest(loops, arguments.runs, clock)
        figures = [f"{name} {each * 1e6:10,.1f} µs" for name, each in seconds.items()]
        if not arguments.only:
            figures.append(f"motegpt / plain {seconds['motegpt'] / seconds['plain']:.3f}")
        print(f"{work:10} {', '.join(figures)}", flush=True)


if __name__ == "__main__":
    main()
