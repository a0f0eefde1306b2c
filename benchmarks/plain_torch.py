"""The torch engine compared with a plain PyTorch training loop: the same model, the same batches.

    python benchmarks/plain_torch.py --device cpu --steps 10

The loop uses modules, fused attention and fused AdamW. (With a single product for q, k and v, as is usual on
a GPU, it takes 1.5 times as long on a CPU.) Both run the workload `wide` of `motegpt bench`: 6 layers, 384
wide, 8 sequences of 256. Their runs alternate, and the ratio is that of the medians. To run one of them, for
`motegpt bench --peer`: --only plain, --only motegpt.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motegpt.bench.work import WORKLOADS, Problem, problem_of
from motegpt.data.corpus import read_corpus
from motegpt.engines import fresh_engine


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
        return F.cross_entropy(self.head(x).flatten(0, 1), targets.flatten())


def plain_loop(problem: Problem, device: str, autocast: str | None) -> Callable[[int, int], None]:
    """A function steps(start, count) that trains with the plain loop."""
    model, train = problem.model, problem.train
    net = Plain(model.vocab_size, model.block_size, model.n_layer, model.n_embd, model.n_head).to(device)
    optimizer = torch.optim.AdamW(
        net.parameters(), lr=train.lr, betas=(train.beta1, train.beta2), weight_decay=0.0, fused=True
    )
    kind = getattr(torch, autocast or "bfloat16")

    def steps(start: int, count: int) -> None:
        losses = []
        for step in range(start, start + count):
            batch = problem.plan.batch(step)
            inputs, targets = (torch.tensor(rows, device=device) for rows in (batch.inputs, batch.targets))
            with torch.autocast(device, kind, enabled=autocast is not None):
                loss = net(inputs, targets)
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


def main() -> None:
    """Time alternating runs and print the medians and their ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--autocast", choices=["bfloat16", "float16"])
    parser.add_argument("--steps", type=int, default=4, help="steps per run")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--only", choices=["plain", "motegpt"])
    arguments = parser.parse_args()
    changes: dict[str, Any] = {"device": arguments.device, "autocast": arguments.autocast}
    problem = problem_of(WORKLOADS["wide"], read_corpus(None), "float32", changes)
    loops = {
        "plain": lambda: plain_loop(problem, arguments.device, arguments.autocast),
        "motegpt": lambda: engine_loop(problem),
    }
    names = [arguments.only] if arguments.only else list(loops)
    steps = {name: loops[name]() for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for run in range(arguments.runs + 1):
        for name in names:
            began = time.perf_counter()
            steps[name](run * arguments.steps, arguments.steps)
            seconds[name].append((time.perf_counter() - began) / arguments.steps)
    medians = {
        name: statistics.median(times[1:]) for name, times in seconds.items()
    }  # the first run warms up
    for name, median in medians.items():
        print(f"{name:8} {median * 1e3:8.1f} ms per step")
    if len(medians) == 2:
        print(f"motegpt / plain: {medians['motegpt'] / medians['plain']:.3f}")


if __name__ == "__main__":
    main()
