"""The transformer over nodes, one position at a time; a vector is a list of nodes.

The same function serves training and generation: `position` appends its keys and values to the cache
and returns the logits of the token to follow. Standard library only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_never

from motegpt.engines.scalar.graph import Node, dot, dot_of_products, total, total_of_sums

if TYPE_CHECKING:
    from motegpt.config.sections import Activation, ModelConfig
    from motegpt.data.plan import Batch

Vector = list[Node]
Matrix = list[Vector]  # (out, in), a list of rows
Tensors = dict[str, Any]  # by name, nested lists of nodes: matrices for all that this file reads
Cache = list[tuple[Matrix, Matrix]]  # for each layer the keys and the values of the positions so far


class Operations:
    """How the graph is built where there is a choice; here a sum is one node, whatever it is a sum of."""

    dot = staticmethod(dot)
    total = staticmethod(total)

    def softmax(self, x: Vector) -> Vector:
        """p = e / Σe with e = exp(x - max x); the maximum is a constant, it moves no derivative."""
        highest = max(node.data for node in x)
        e = [(node + -highest).exp() for node in x]
        inverse = self.total(e) ** -1.0
        return [node * inverse for node in e]

    def log_p(self, x: Vector, target: int) -> Node:
        """log p[target] = x[target] - max x - log Σe, finite even where p[target] rounds to zero."""
        highest = max(node.data for node in x)
        return x[target] + -highest - self.total([(node + -highest).exp() for node in x]).log()

    def backward(self, loss: Node) -> None:
        """Leave the gradient of the loss in the leaves."""
        loss.backward()


class PlainOperations(Operations):
    """A node for every product and every partial sum."""

    dot = staticmethod(dot_of_products)
    total = staticmethod(total_of_sums)


FUSED, PLAIN = Operations(), PlainOperations()


def linear(x: Vector, w: Matrix, ops: Operations) -> Vector:
    """y[o] = Σ_i w[o][i] · x[i]"""
    return [ops.dot(row, x) for row in w]


def activate(x: Node, kind: Activation) -> Node:
    """max(0, x), or its square (So et al., 2021)."""
    match kind:
        case "relu":
            return x.relu()
        case "squared_relu":
            return x.squared_relu()
        case _:
            assert_never(kind)


def rmsnorm(x: Vector, eps: float, ops: Operations) -> Vector:
    """y = x · (mean(x²) + eps)^-½   (Zhang and Sennrich, 2019)"""
    mean_square = ops.total([node * node for node in x]) * (1.0 / len(x))
    scale = (mean_square + eps) ** -0.5
    return [node * scale for node in x]


def attention(q: Vector, keys: Matrix, values: Matrix, n_head: int, ops: Operations) -> Vector:
    """For each head softmax(q · k / √D) · v over the positions so far   (Vaswani et al., 2017)"""
    size = len(q) // n_head
    y: Vector = []
    for head in range(n_head):
        part = slice(head * size, (head + 1) * size)
        scores = [ops.dot(q[part], k[part]) * size**-0.5 for k in keys]
        p = ops.softmax(scores)
        y += [ops.dot(p, [v[i] for v in values]) for i in range(part.start, part.stop)]
    return y


def position(token: int, at: int, w: Tensors, cache: Cache, model: ModelConfig, ops: Operations) -> Vector:
    """Logits (V) after feeding `token` at position `at`."""
    x = [t + p for t, p in zip(w["wte"][token], w["wpe"][at], strict=True)]
    if model.embedding_norm:
        x = rmsnorm(x, model.norm_eps, ops)
    for i, (keys, values) in enumerate(cache):
        h = rmsnorm(x, model.norm_eps, ops)
        q = linear(h, w[f"layer{i}.attn_wq"], ops)
        keys.append(linear(h, w[f"layer{i}.attn_wk"], ops))
        values.append(linear(h, w[f"layer{i}.attn_wv"], ops))
        y = attention(q, keys, values, model.n_head, ops)
        x = add(x, linear(y, w[f"layer{i}.attn_wo"], ops))
        h = rmsnorm(x, model.norm_eps, ops)
        u = linear(h, w[f"layer{i}.mlp_fc1"], ops)
        g = [activate(node, model.activation) for node in u]
        x = add(x, linear(g, w[f"layer{i}.mlp_fc2"], ops))
    return linear(x, w["wte" if model.tied else "lm_head"], ops)


def add(xs: Vector, ys: Vector) -> Vector:
    """Elementwise."""
    return [x + y for x, y in zip(xs, ys, strict=True)]


def empty_cache(model: ModelConfig) -> Cache:
    """No positions yet."""
    return [([], []) for _ in range(model.n_layer)]


def loss_of(batch: Batch, w: Tensors, model: ModelConfig, ops: Operations = FUSED) -> Node:
    """Σ_b Σ_t weights[b][t] · -log p(targets[b][t]), in nats."""
    losses: Vector = []
    for sequence in zip(batch.inputs, batch.targets, batch.weights, strict=True):
        cache = empty_cache(model)
        for at, (token, target, weight) in enumerate(zip(*sequence, strict=True)):
            x = position(token, at, w, cache, model, ops)
            losses.append(ops.log_p(x, target) * -weight)
    return ops.total(losses)
