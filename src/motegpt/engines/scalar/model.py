"""The transformer over values, one position at a time; a vector is a list of values.

The same function serves training and generation: `forward_token` appends its keys and values to the cache
and returns the logits of the token to follow. Standard library only.
"""

from __future__ import annotations

from functools import partial
from math import cos, pi, sin, sqrt
from typing import TYPE_CHECKING, Any, assert_never

from motegpt.engines.scalar.graph import Value, dot, dot_unfused, sum_unfused, sum_values
from motegpt.model.dropout import EMBEDDING_SITE, attention_site, mlp_site
from motegpt.model.rope import frequencies
from motegpt.model.spec import FINAL_NORM, bias_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from motegpt.config.sections import ModelConfig
    from motegpt.config.sections.model import Activation
    from motegpt.data.batches import Batch
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

    def mean(self, x: Vector) -> Value:
        """Σ x / C"""
        return self.sum_values(x) * (1.0 / len(x))

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


def biased_linear(x: Vector, name: str, w: Tensors, reductions: Reductions) -> Vector:
    """y[o] = Σ_i w[o][i] · x[i] + b[o], with the matrix of that name, and its bias if it has one."""
    y, bias = linear(x, w[name], reductions), w.get(bias_name(name))
    return y if bias is None else add(y, bias)


def gelu(u: Value) -> Value:
    """½ u · (1 + erf(u / √2))   (Hendrycks and Gimpel, 2016)"""
    return u * 0.5 * ((u * sqrt(0.5)).erf() + 1.0)


def gelu_tanh(u: Value) -> Value:
    """½ u · (1 + tanh(√(2 / π) · (u + 0.044715 u³)))   (Hendrycks and Gimpel, 2016)"""
    return u * 0.5 * (((u + u * u * u * 0.044715) * sqrt(2.0 / pi)).tanh() + 1.0)


def swiglu(a: Value, u: Value) -> Value:
    """a · σ(a) · u with σ(a) = 1 / (1 + exp(-a))   (Shazeer, 2020)"""
    return a * a.sigmoid() * u


def activate(kind: Activation, *x: Value) -> Value:
    """The activation of a number u, or of two, the gate a and u. squared_relu: So et al., 2021."""
    match kind:
        case "relu":
            return x[0].relu()
        case "squared_relu":
            return x[0].squared_relu()
        case "gelu":
            return gelu(x[0])
        case "gelu_tanh":
            return gelu_tanh(x[0])
        case "swiglu":
            return swiglu(*x)
        case _:
            assert_never(kind)


def rmsnorm(x: Vector, eps: float, reductions: Reductions) -> Vector:
    """y = x · (mean(x²) + eps)^-½   (Zhang and Sennrich, 2019)"""
    mean_square = reductions.mean([value * value for value in x])
    scale = (mean_square + eps) ** -0.5
    return [value * scale for value in x]


def layernorm(x: Vector, eps: float, reductions: Reductions) -> Vector:
    """y = c · (mean(c²) + eps)^-½ with c = x - mean(x)   (Ba et al., 2016)"""
    minus_mean = -reductions.mean(x)
    return rmsnorm([value + minus_mean for value in x], eps, reductions)


def norm(
    x: Vector,
    place: str,
    w: Tensors,
    model: ModelConfig,
    reductions: Reductions,
    hook: str,
    trace: Trace | None,
) -> Vector:
    """The norm at a place such as "layer0.ln1", with its gain and bias; x itself without norms."""
    match model.norm:
        case "rms":
            y = rmsnorm(x, model.norm_eps, reductions)
        case "layer":
            y = layernorm(x, model.norm_eps, reductions)
        case "none":
            return x
        case _:
            assert_never(model.norm)
    if (gain := w.get(f"{place}_gain")) is not None:
        y = [value * factor for value, factor in zip(y, gain, strict=True)]
    if (bias := w.get(f"{place}_bias")) is not None:
        y = add(y, bias)
    normalized: Vector = note_in(trace, f"{hook}.hook_normalized", y)
    return normalized


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

    A head of keys and values serves as many queries as q has numbers for each of theirs (Ainslie et al.,
    2023). Returns z (C), and for each head the scores and p.
    """
    size, queries = len(q) // n_head, len(q) // len(keys[0])
    parts = [slice(head * size, (head + 1) * size) for head in range(n_head)]
    shared = [parts[head // queries] for head in range(n_head)]
    scores = [
        [reductions.dot(q[part], k[of_k]) * size**-0.5 for k in keys]
        for part, of_k in zip(parts, shared, strict=True)
    ]
    p = [reductions.softmax(row) for row in scores]
    z = [
        reductions.dot(row, [v[i] for v in values])
        for row, part in zip(p, shared, strict=True)
        for i in range(part.start, part.stop)
    ]
    return z, scores, p


def mlp(
    h: Vector, i: int, w: Tensors, model: ModelConfig, reductions: Reductions, trace: Trace | None
) -> Vector:
    """activation(fc1 · h), with a gate activation(gate · h, fc1 · h), through fc2, in layer i"""
    layer, hook = f"layer{i}", f"blocks.{i}.mlp"
    matrices = (
        {"mlp_gate": "hook_pre", "mlp_fc1": "hook_pre_linear"} if model.gated else {"mlp_fc1": "hook_pre"}
    )
    inputs = [
        note_in(trace, f"{hook}.{name}", biased_linear(h, f"{layer}.{matrix}", w, reductions))
        for matrix, name in matrices.items()
    ]
    g = note_in(
        trace, f"{hook}.hook_post", [activate(model.activation, *x) for x in zip(*inputs, strict=True)]
    )
    return biased_linear(g, f"{layer}.mlp_fc2", w, reductions)


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
    """q (C) and k (kv_size) of layer i at position `at`, normalized with qk_norm, rotated with RoPE."""
    layer, hook = f"layer{i}", f"blocks.{i}.attn"
    q = note_in(trace, f"{hook}.hook_q", biased_linear(h, f"{layer}.attn_wq", w, reductions))
    k = note_in(trace, f"{hook}.hook_k", biased_linear(h, f"{layer}.attn_wk", w, reductions))
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
        h = norm(x, f"{layer}.ln1", w, model, reductions, f"{block}.ln1", trace)
        q, k = query_and_key(h, i, at, w, model, reductions, trace)
        keys.append(k)
        values.append(note(f"{block}.attn.hook_v", biased_linear(h, f"{layer}.attn_wv", w, reductions)))
        z, scores, p = attention(q, keys, values, model.n_head, reductions)
        note(f"{block}.attn.hook_attn_scores", scores)
        note(f"{block}.attn.hook_pattern", p)
        note(f"{block}.attn.hook_z", z)
        attn_out = note(f"{block}.hook_attn_out", biased_linear(z, f"{layer}.attn_wo", w, reductions))
        x = add(x, drop(attn_out, attention_site(i)))
        note(f"{block}.hook_resid_mid", x)
        h = norm(x, f"{layer}.ln2", w, model, reductions, f"{block}.ln2", trace)
        mlp_out = note(f"{block}.hook_mlp_out", mlp(h, i, w, model, reductions, trace))
        x = add(x, drop(mlp_out, mlp_site(i)))
        note(f"{block}.hook_resid_post", x)
    if model.final_norm:
        x = norm(x, FINAL_NORM, w, model, reductions, "ln_final", trace)
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
