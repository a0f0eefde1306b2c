"""The transformer over values, one position at a time; a vector is a list of values.

The same function serves training and generation: `forward_token` appends its keys and values to the cache
and returns the logits of the token to follow. Standard library only.
"""

from __future__ import annotations

from functools import partial
from math import cos, sin
from typing import TYPE_CHECKING, Any, assert_never

from motegpt.engines.scalar.graph import Value, dot, dot_unfused, sum_unfused, sum_values
from motegpt.model.dropout import EMBEDDING_SITE, attention_site, mlp_site
from motegpt.model.rope import frequencies
from motegpt.model.spec import norm_tensors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from motegpt.config.sections import Activation, ModelConfig, Norm
    from motegpt.data.plan import Batch
    from motegpt.model.dropout import Masks

Vector = list[Value]
Matrix = list[Vector]  # (out, in), a list of rows
Tensors = dict[str, Any]  # by name, nested lists of values
Cache = list[tuple[Matrix, Matrix]]  # for each layer the keys and the values of the positions so far
Trace = dict[str, Any]  # by the names of engines/array/model.py: a Vector, or one for each head


class Reductions:
    """How sums, and functions of sums, become graph nodes; here every sum is one node."""

    dot = staticmethod(dot)
    sum_values = staticmethod(sum_values)

    def softmax(self, x: Vector) -> Vector:
        """p = e / Σe with e = exp(x - max x); the maximum is a constant, so no gradient flows through it."""
        highest = max(value.data for value in x)
        e = [(value + -highest).exp() for value in x]
        inverse = self.sum_values(e) ** -1.0
        return [value * inverse for value in e]

    def log_p(self, x: Vector, target: int) -> Value:
        """log p[target] = x[target] - max x - log Σe, finite even where p[target] rounds to zero."""
        highest = max(value.data for value in x)
        return x[target] + -highest - self.sum_values([(value + -highest).exp() for value in x]).log()


class UnfusedReductions(Reductions):
    """A node for every product and every partial sum."""

    dot = staticmethod(dot_unfused)
    sum_values = staticmethod(sum_unfused)


FUSED, UNFUSED = Reductions(), UnfusedReductions()


def linear(x: Vector, w: Matrix, reductions: Reductions) -> Vector:
    """y[o] = Σ_i w[o][i] · x[i]"""
    return [reductions.dot(row, x) for row in w]


def activate(x: Value, kind: Activation) -> Value:
    """max(0, x), or its square (So et al., 2021)."""
    match kind:
        case "relu":
            return x.relu()
        case "squared_relu":
            return x.squared_relu()
        case _:
            assert_never(kind)


def rmsnorm(x: Vector, eps: float, reductions: Reductions) -> Vector:
    """y = x · (mean(x²) + eps)^-½   (Zhang and Sennrich, 2019)"""
    mean_square = reductions.sum_values([value * value for value in x]) * (1.0 / len(x))
    scale = (mean_square + eps) ** -0.5
    return [value * scale for value in x]


# norm(x, *tensors, eps, reductions)
NORMS: dict[Norm, Callable[..., Vector]] = {"rms": rmsnorm}


def norm(x: Vector, place: str, w: Tensors, model: ModelConfig, reductions: Reductions) -> Vector:
    """The norm at a place such as "layer0.ln1", with its tensors."""
    own = (w[name] for name in norm_tensors(model, place))
    return NORMS[model.norm](x, *own, model.norm_eps, reductions)


def head_norm(x: Vector, model: ModelConfig, reductions: Reductions) -> Vector:
    """rmsnorm of each head   (Henry et al., 2020, with RMSNorm as Dehghani et al., 2023, have LayerNorm)"""
    size = model.head_size
    heads = (x[start : start + size] for start in range(0, len(x), size))
    return [value for head in heads for value in rmsnorm(head, model.norm_eps, reductions)]


def rotate(x: Vector, at: int, model: ModelConfig) -> Vector:
    """For each head y[i] = x[i] · cos - x[i + D/2] · sin, y[i + D/2] = x[i + D/2] · cos + x[i] · sin

    (Su et al., 2021.) With the cosine and the sine of at · f_i; model/rope.py has the frequencies f_i.
    """
    angles, y = [at * f for f in frequencies(model)], []
    for start in range(0, len(x), model.head_size):
        low, high = x[start : start + len(angles)], x[start + len(angles) : start + model.head_size]
        pairs = list(zip(low, high, angles, strict=True))
        y += [a * cos(angle) + b * -sin(angle) for a, b, angle in pairs]
        y += [b * cos(angle) + a * sin(angle) for a, b, angle in pairs]
    return y


def attention(
    q: Vector, keys: Matrix, values: Matrix, n_head: int, reductions: Reductions
) -> tuple[Vector, Matrix, Matrix]:
    """For each head p · v with p = softmax(q · k / √D) over the positions so far   (Vaswani et al., 2017)

    Returns z (C), and for each head the scores and p.
    """
    size = len(q) // n_head
    parts = [slice(head * size, (head + 1) * size) for head in range(n_head)]
    scores = [[reductions.dot(q[part], k[part]) * size**-0.5 for k in keys] for part in parts]
    p = [reductions.softmax(row) for row in scores]
    z = [
        reductions.dot(row, [v[i] for v in values])
        for row, part in zip(p, parts, strict=True)
        for i in range(part.start, part.stop)
    ]
    return z, scores, p


def dropout(x: Vector, site: int, masks: Masks, document: int, at: int) -> Vector:
    """y[c] = x[c] · m[c] with m[c] = 0 or 1 / (1 - p)   (Srivastava et al., 2014)"""
    key, start = masks.key(site, document), at * len(x)
    return [value * (masks.scale * masks.keeps(key, start + c)) for c, value in enumerate(x)]


def keep_all(x: Vector, site: int) -> Vector:
    """Without dropout."""
    return x


def note_in(trace: Trace | None, hook: str, x: Any) -> Any:
    """x itself; the trace, if any, gets it."""
    if trace is not None:
        trace[hook] = x
    return x


def embed(
    token: int,
    at: int,
    w: Tensors,
    model: ModelConfig,
    reductions: Reductions,
    trace: Trace | None,
    vectors: Sequence[Vector] | None,
) -> Vector:
    """x (C) of a token at position `at`: wte[token] + wpe[at] + Σ vectors, and its norm."""
    x: Vector = note_in(trace, "hook_embed", w["wte"][token])
    if model.position == "learned":
        x = add(x, note_in(trace, "hook_pos_embed", w["wpe"][at]))
    for vector in vectors or ():
        x = add(x, vector)
    if trace is not None and vectors is not None:
        zeros = [Value(0.0)] * len(x)
        trace["hook_ngram_embed"] = [sum_values(list(values)) for values in zip(zeros, *vectors, strict=True)]
    if model.embedding_norm:
        x = note_in(trace, "embed.ln.hook_normalized", rmsnorm(x, model.norm_eps, reductions))
    return x


def query_and_key(
    h: Vector,
    i: int,
    at: int,
    w: Tensors,
    model: ModelConfig,
    reductions: Reductions,
    trace: Trace | None,
) -> tuple[Vector, Vector]:
    """q and k (C) of layer i at position `at`, normalized with qk_norm, rotated with RoPE."""
    layer, hook = f"layer{i}", f"blocks.{i}.attn"
    q = note_in(trace, f"{hook}.hook_q", linear(h, w[f"{layer}.attn_wq"], reductions))
    k = note_in(trace, f"{hook}.hook_k", linear(h, w[f"{layer}.attn_wk"], reductions))
    if model.qk_norm:
        q = note_in(trace, f"{hook}.q_norm.hook_normalized", head_norm(q, model, reductions))
        k = note_in(trace, f"{hook}.k_norm.hook_normalized", head_norm(k, model, reductions))
        (gain,) = w[f"{layer}.attn_q_gain"]
        q = [value * gain for value in q]
    if model.position == "rope":
        q = note_in(trace, f"{hook}.hook_rot_q", rotate(q, at, model))
        k = note_in(trace, f"{hook}.hook_rot_k", rotate(k, at, model))
    return q, k


def forward_token(
    token: int,
    at: int,
    w: Tensors,
    cache: Cache,
    model: ModelConfig,
    reductions: Reductions,
    trace: Trace | None = None,
    drop: Callable[[Vector, int], Vector] = keep_all,
    vectors: Sequence[Vector] | None = None,
) -> Vector:
    """Logits (V) after feeding `token` at position `at`; `trace` gets the intermediates of this position.

    drop(x, site): dropout at this position, in training; vectors: those of the n-gram embedding at this
    position, if there is one.
    """

    note = partial(note_in, trace)
    x = drop(embed(token, at, w, model, reductions, trace, vectors), EMBEDDING_SITE)
    for i, (keys, values) in enumerate(cache):
        layer, block = f"layer{i}", f"blocks.{i}"
        note(f"{block}.hook_resid_pre", x)
        h = note(f"{block}.ln1.hook_normalized", norm(x, f"{layer}.ln1", w, model, reductions))
        q, k = query_and_key(h, i, at, w, model, reductions, trace)
        keys.append(k)
        values.append(note(f"{block}.attn.hook_v", linear(h, w[f"{layer}.attn_wv"], reductions)))
        z, scores, p = attention(q, keys, values, model.n_head, reductions)
        note(f"{block}.attn.hook_attn_scores", scores)
        note(f"{block}.attn.hook_pattern", p)
        note(f"{block}.attn.hook_z", z)
        attn_out = note(f"{block}.hook_attn_out", linear(z, w[f"{layer}.attn_wo"], reductions))
        x = add(x, drop(attn_out, attention_site(i)))
        note(f"{block}.hook_resid_mid", x)
        h = note(f"{block}.ln2.hook_normalized", norm(x, f"{layer}.ln2", w, model, reductions))
        u = note(f"{block}.mlp.hook_pre", linear(h, w[f"{layer}.mlp_fc1"], reductions))
        g = note(f"{block}.mlp.hook_post", [activate(value, model.activation) for value in u])
        mlp_out = note(f"{block}.hook_mlp_out", linear(g, w[f"{layer}.mlp_fc2"], reductions))
        x = add(x, drop(mlp_out, mlp_site(i)))
        note(f"{block}.hook_resid_post", x)
    logits: Vector = note("logits", linear(x, w["wte" if model.tied else "lm_head"], reductions))
    return logits


def add(xs: Vector, ys: Vector) -> Vector:
    """Elementwise."""
    return [x + y for x, y in zip(xs, ys, strict=True)]


def empty_cache(model: ModelConfig) -> Cache:
    """No positions yet."""
    return [([], []) for _ in range(model.n_layer)]


def loss(
    batch: Batch,
    w: Tensors,
    model: ModelConfig,
    reductions: Reductions = FUSED,
    masks: Masks | None = None,
    read: Callable[[Sequence[int], int], list[Vector]] | None = None,
    traces: list[Trace] | None = None,
) -> Value:
    """Σ_b Σ_t weights[b][t] · -log p(targets[b][t]), in nats.

    masks: of dropout; read: NGramReader.vectors of the n-gram embedding, if there is one; traces: gets the
    intermediates of each position, and its term of the sum as "loss".
    """
    losses: Vector = []
    for b, sequence in enumerate(zip(batch.inputs, batch.targets, batch.weights, strict=True)):
        cache = empty_cache(model)
        for at, (token, target, weight) in enumerate(zip(*sequence, strict=True)):
            drop = keep_all if masks is None else partial(dropout, masks=masks, document=b, at=at)
            vectors = None if read is None else read(sequence[0][: at + 1], b)
            trace: Trace | None = None if traces is None else {}
            logits = forward_token(token, at, w, cache, model, reductions, trace, drop, vectors)
            losses.append(note_in(trace, "loss", reductions.log_p(logits, target) * -weight))
            if traces is not None and trace is not None:
                traces.append(trace)
    return reductions.sum_values(losses)
