"""A model trained with motegpt, for transformers: needs nothing but this file, torch and transformers.

    model = AutoModelForCausalLM.from_pretrained(DIR, trust_remote_code=True, dtype="auto")

B sequences, T positions of this call, U positions so far, C channels, H heads of D channels, V tokens.
"""

import torch
import torch.nn.functional as F
from torch import nn
from transformers import DynamicCache, GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.cache_utils import DynamicLayer
from transformers.modeling_outputs import CausalLMOutputWithPast

FIELDS = CausalLMOutputWithPast.__dataclass_fields__
CACHE = "cache" if "cache" in FIELDS else "past_key_values"  # its name since transformers 5, and before
TOKEN_BITS = 20  # of the key of a context, for its first token; above them is the row of the others
ACTIVATIONS = {
    "relu": F.relu,
    "squared_relu": lambda u: F.relu(u) ** 2,
    "gelu": F.gelu,
    "gelu_tanh": lambda u: F.gelu(u, approximate="tanh"),
}


class MotegptConfig(PretrainedConfig):
    """The settings of the architecture, under motegpt's names."""

    model_type = "motegpt"
    attribute_map = {  # noqa: RUF012
        "hidden_size": "n_embd",
        "num_hidden_layers": "n_layer",
        "num_attention_heads": "n_head",
        "num_key_value_heads": "n_kv_head",
        "intermediate_size": "n_hidden",
        "max_position_embeddings": "block_size",
    }


def rms(x, eps):
    """x · (mean(x²) + eps)^-½ over the last axis"""
    return x * (x.square().mean(-1, keepdim=True) + eps).rsqrt()


class Norm(nn.Module):
    """RMSNorm, LayerNorm or none, times a gain and plus a bias (C,), where the model has these."""

    def __init__(self, c):
        super().__init__()
        self.kind, self.eps = c.norm, c.norm_eps
        self.weight = nn.Parameter(torch.ones(c.n_embd)) if c.norm_gain else None
        self.bias = nn.Parameter(torch.zeros(c.n_embd)) if c.norm_bias else None

    def forward(self, x):
        if self.kind == "none":
            return x
        x = rms(x - x.mean(-1, keepdim=True) if self.kind == "layer" else x, self.eps)
        x = x if self.weight is None else x * self.weight
        return x if self.bias is None else x + self.bias


class Gain(nn.Module):
    """One learned factor, as of the queries after their norm."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.full((1,), 2.0))


class Layer(nn.Module):
    """x + attention(norm x), then x + mlp(norm x)."""

    def __init__(self, c, i):
        super().__init__()
        self.c, self.i = c, i
        kv = c.n_kv_head * (c.n_embd // c.n_head)
        self.ln1, self.ln2 = Norm(c), Norm(c)
        for name, width in (("wq", c.n_embd), ("wk", kv), ("wv", kv), ("wo", c.n_embd)):
            self.add_module(f"attn_{name}", nn.Linear(c.n_embd, width, bias=c.bias))
        if c.qk_norm:
            self.attn_q = Gain()
        if c.activation == "swiglu":
            self.mlp_gate = nn.Linear(c.n_embd, c.n_hidden, bias=c.bias)
        self.mlp_fc1 = nn.Linear(c.n_embd, c.n_hidden, bias=c.bias)
        self.mlp_fc2 = nn.Linear(c.n_hidden, c.n_embd, bias=c.bias)

    def forward(self, x, rotation, mask, cache):
        x = x + self.attention(self.ln1(x), rotation, mask, cache)
        return x + self.mlp(self.ln2(x))

    def attention(self, h, rotation, mask, cache):
        """h (B, T, C) -> (B, T, C); mask (B, 1, T, U) of the keys that a query sees."""
        c = self.c
        q, k, v = (
            w(h).unflatten(-1, (-1, c.n_embd // c.n_head)).transpose(1, 2)
            for w in (self.attn_wq, self.attn_wk, self.attn_wv)
        )  # each (B, H, T, D)
        if c.qk_norm:
            q, k = rms(q, c.norm_eps) * self.attn_q.weight, rms(k, c.norm_eps)
        if rotation is not None:
            q, k = rotate(q, *rotation), rotate(k, *rotation)
        if cache is not None:
            k, v = cache.update(k, v, self.i)
        k, v = (x.repeat_interleave(c.n_head // c.n_kv_head, dim=1) for x in (k, v))
        z = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.attn_wo(z.transpose(1, 2).flatten(2))

    def mlp(self, h):
        u = self.mlp_fc1(h)
        if self.c.activation == "swiglu":
            return self.mlp_fc2(F.silu(self.mlp_gate(h)) * u)
        return self.mlp_fc2(ACTIVATIONS[self.c.activation](u))


def rotate(x, cos, sin):
    """x (B, H, T, D): channels i and i + D/2 are a pair, rotated by the angle of their position."""
    x1, x2 = x.chunk(2, dim=-1)
    return torch.cat([x1 * cos - x2 * sin, x2 * cos + x1 * sin], dim=-1)


class Contexts(nn.Embedding):
    """Vectors of contexts of k tokens. keys: sorted; the row of a context is the index of its key."""

    def __init__(self, rows, c):
        super().__init__(rows, c.n_embd)
        self.register_buffer("keys", torch.zeros(rows, dtype=torch.int64))


class MotegptForCausalLM(PreTrainedModel, GenerationMixin):
    """ids (B, T) -> logits (B, T, V)"""

    config_class = MotegptConfig
    _supports_sdpa = True
    _can_compile_fullgraph = False

    def __init__(self, config):
        super().__init__(config)
        c = config
        self.wte = nn.Embedding(c.vocab_size, c.n_embd)
        if c.position == "learned":
            self.wpe = nn.Embedding(c.block_size, c.n_embd)
        for order, rows in enumerate(c.ngram_rows, 2):
            self.add_module(f"ngram{order}", Contexts(rows, c))
        self.layers = nn.ModuleList(Layer(c, i) for i in range(c.n_layer))
        if c.final_norm:
            self.ln_f = Norm(c)
        if not c.tied:
            self.lm_head = nn.Linear(c.n_embd, c.vocab_size, bias=False)
        self.post_init()

    def _init_weights(self, module):
        """Nothing: models come trained."""

    def get_input_embeddings(self):
        return self.wte

    def forward(
        self, input_ids, attention_mask=None, past_key_values=None, cache=None, labels=None, use_cache=None,
        logits_to_keep=0, return_dict=None, **_,
    ):  # fmt: skip
        """attention_mask (B, U): 0 at padding, on the left. cache: another name of past_key_values."""
        cache = past_key_values if cache is None else cache
        if cache is None and (use_cache or use_cache is None) and not self.training:
            cache = DynamicCache()
        start, (batch, t) = 0 if cache is None else cache.get_seq_length(), input_ids.shape
        if attention_mask is None or attention_mask.dim() != 2:
            attention_mask = input_ids.new_ones(batch, start + t)
        positions = (attention_mask.cumsum(-1) - 1)[:, start:]  # (B, T), negative in padding
        if positions.max() >= self.config.block_size:
            raise ValueError(f"expected at most {self.config.block_size} tokens, the model's block_size")
        at = torch.arange(start + t, device=input_ids.device)
        causal = at <= at[start:, None]  # (T, U)
        itself = at == at[start:, None]  # padding sees itself, as a row without keys has no softmax
        mask = (causal & attention_mask[:, None, None].bool()) | itself
        x = self.embed(input_ids, positions, cache)
        rotation = self.rotation(positions, x.dtype) if self.config.position == "rope" else None
        for layer in self.layers:
            x = layer(x, rotation, mask, cache)
        x = self.ln_f(x) if self.config.final_norm else x
        x = x[:, -logits_to_keep:] if logits_to_keep else x
        logits = F.linear(x, self.wte.weight if self.config.tied else self.lm_head.weight)
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        found = CausalLMOutputWithPast(loss=loss, logits=logits, **{CACHE: cache})
        return found if return_dict or return_dict is None else found.to_tuple()

    def embed(self, ids, positions, cache):
        """ids (B, T) -> x (B, T, C)"""
        x = self.wte(ids)
        if self.config.position == "learned":
            x = x + self.wpe(positions.clamp(min=0))
        if self.config.ngram_rows:
            x = self.add_contexts(x, ids, positions, cache)
        return rms(x, self.config.norm_eps) if self.config.embedding_norm else x

    def add_contexts(self, x, ids, positions, cache):
        """Add to x the vector of each context of 2, 3, … tokens that ends at a position, where there is one.

        The cache keeps the ids of earlier positions as the keys of one more layer.
        """
        if cache is not None:
            while len(cache.layers) <= len(self.layers):
                cache.layers.append(DynamicLayer())
            ids, _ = cache.update(ids[:, None, :, None], ids[:, None, :, None], len(self.layers))
            ids = ids[:, 0, :, 0]  # (B, U)
        t, row = x.shape[1], ids[:, -x.shape[1] :]
        for order, _ in enumerate(self.config.ngram_rows, 2):
            table = self.get_submodule(f"ngram{order}")
            first = F.pad(ids, (order - 1, 0))[:, : ids.shape[1]][:, -t:]  # the token order - 1 before
            key = torch.where((positions >= order - 1) & (row >= 0), row << TOKEN_BITS | first, -1)
            found = torch.searchsorted(table.keys, key).clamp(max=len(table.keys) - 1)
            is_there = table.keys[found] == key
            row = torch.where(is_there, found, -1)
            x = x + table(found) * is_there[..., None]
        return x

    def rotation(self, positions, dtype):
        """cos and sin (B, 1, T, D/2) of the angles position · rope_base^(-2i / D)"""
        size = self.config.n_embd // self.config.n_head
        exact = torch.float32 if positions.device.type == "mps" else torch.float64  # the best it has
        steps = torch.arange(0, size, 2, dtype=exact, device=positions.device)
        angles = positions[:, None, :, None].to(exact) * self.config.rope_base ** (-steps / size)
        return angles.cos().to(dtype), angles.sin().to(dtype)
