"""The transformer over nodes, one position at a time; a vector is a list of nodes.

The same function serves training and generation: `position` appends its keys and values to the cache
and returns the logits of the token to follow. Standard library only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from motegpt.engines.scalar.graph import Node, dot, dot_of_products, total, total_of_sums

if TYPE_CHECKING:
    from motegpt.batches import Batch
    from motegpt.config import ModelConfig

Vector = list[Node]
Matrix = list[Vector]  # (out, in), a list of rows
Cache = list[tuple[Matrix, Matrix]]  # for each layer the keys and the values of the positions so far


@dataclass(frozen=True)
class Sums:
    """How sums of products are built."""

    dot: Callable[[Sequence[Node], Sequence[Node]], Node]
    total: Callable[[Sequence[Node]], Node]


FUSED = Sums(dot, total)
PLAIN = Sums(dot_of_products, total_of_sums)


def linear(x: Vector, w: Matrix, sums: Sums) -> Vector:
    """y[o] = Σ_i w[o][i] · x[i]"""
    return [sums.dot(row, x) for row in w]


def softmax(x: Vector, sums: Sums) -> Vector:
    """p = e / Σe with e = exp(x - max x); the maximum is a constant, it moves no derivative."""
    highest = max(node.data for node in x)
    e = [(node + -highest).exp() for node in x]
    inverse = sums.total(e) ** -1.0
    return [node * inverse for node in e]


def rmsnorm(x: Vector, eps: float, sums: Sums) -> Vector:
    """y = x · (mean(x²) + eps)^-½   (Zhang and Sennrich, 2019)"""
    mean_square = sums.total([node * node for node in x]) * (1.0 / len(x))
    scale = (mean_square + eps) ** -0.5
    return [node * scale for node in x]


def attention(q: Vector, keys: Matrix, values: Matrix, n_head: int, sums: Sums) -> Vector:
    """For each head softmax(q · k / √D) · v over the positions so far   (Vaswani et al., 2017)"""
    size = len(q) // n_head
    y: Vector = []
    for head in range(n_head):
        part = slice(head * size, (head + 1) * size)
        scores = [sums.dot(q[part], k[part]) * size**-0.5 for k in keys]
        p = softmax(scores, sums)
        y += [sums.dot(p, [v[i] for v in values]) for i in range(part.start, part.stop)]
    return y


def position(
    token: int, at: int, w: dict[str, Matrix], cache: Cache, model: ModelConfig, sums: Sums
) -> Vector:
    """Logits (V) after feeding `token` at position `at`."""
    x = [t + p for t, p in zip(w["wte"][token], w["wpe"][at], strict=True)]
    if model.embedding_norm:
        x = rmsnorm(x, model.norm_eps, sums)
    for i, (keys, values) in enumerate(cache):
        h = rmsnorm(x, model.norm_eps, sums)
        q = linear(h, w[f"layer{i}.attn_wq"], sums)
        keys.append(linear(h, w[f"layer{i}.attn_wk"], sums))
        values.append(linear(h, w[f"layer{i}.attn_wv"], sums))
        y = attention(q, keys, values, model.n_head, sums)
        x = add(x, linear(y, w[f"layer{i}.attn_wo"], sums))
        h = rmsnorm(x, model.norm_eps, sums)
        u = linear(h, w[f"layer{i}.mlp_fc1"], sums)
        g = [node.relu() if model.activation == "relu" else node.squared_relu() for node in u]
        x = add(x, linear(g, w[f"layer{i}.mlp_fc2"], sums))
    return linear(x, w["wte" if model.tied else "lm_head"], sums)


def add(xs: Vector, ys: Vector) -> Vector:
    """Elementwise."""
    return [x + y for x, y in zip(xs, ys, strict=True)]


def empty_cache(model: ModelConfig) -> Cache:
    """No positions yet."""
    return [([], []) for _ in range(model.n_layer)]


def log_softmax(x: Vector, target: int, sums: Sums) -> Node:
    """log p[target] = x[target] - max x - log Σe, finite even where p[target] rounds to zero."""
    highest = max(node.data for node in x)
    return x[target] + -highest - sums.total([(node + -highest).exp() for node in x]).log()


def loss_of(
    batch: Batch, w: dict[str, Matrix], model: ModelConfig, sums: Sums = FUSED, through_p: bool = False
) -> Node:
    """Σ_b Σ_t weights[b] · -log p(targets[b][t]), in nats.

    through_p: take the logarithm of p itself, as a node, so that the node clip sees its slope 1 / p.
    """
    losses: Vector = []
    for inputs, targets, weight in zip(batch.inputs, batch.targets, batch.weights, strict=True):
        cache = empty_cache(model)
        for at, (token, target) in enumerate(zip(inputs, targets, strict=True)):
            x = position(token, at, w, cache, model, sums)
            log_p = softmax(x, sums)[target].log() if through_p else log_softmax(x, target, sums)
            losses.append(log_p * -weight)
    return sums.total(losses)
