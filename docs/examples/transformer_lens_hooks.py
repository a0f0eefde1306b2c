"""A model of motegpt with the hook points of TransformerLens, whose tools then work on it.

    pip install transformer_lens
    python transformer_lens_hooks.py RUN TEXT

caches every activation for a text, and compares each with `GPT.activations`. The names of the hooks are those
of docs/notation.md. It takes every single model, and computes in double precision.
"""

import sys
from math import sqrt

import torch
from torch import nn
from torch.nn import functional as F
from transformer_lens import HookedRootModule
from transformer_lens.hook_points import HookPoint

from motegpt import GPT

ACTIVATIONS = {
    "relu": F.relu,
    "squared_relu": lambda a: F.relu(a) ** 2,
    "gelu": F.gelu,
    "gelu_tanh": lambda a: F.gelu(a, approximate="tanh"),
    "swiglu": F.silu,
}


class HookedMotegpt(HookedRootModule):
    """B sequences, T positions, C channels, H heads of D channels, V tokens. w: the parameters by name."""

    def __init__(self, gpt):
        super().__init__()
        self.model, self.contexts = gpt.config.model, gpt.engine.contexts
        self.w = {name: torch.tensor(array, dtype=torch.float64) for name, array in gpt.parameters.items()}
        for name in gpt.activations(gpt.tokenizer.decode([gpt.tokenizer.text_ids[0]])):
            *path, last = name.split(".")
            place = self
            for part in path:
                if part not in place._modules:
                    place.add_module(part, nn.Module())
                place = place._modules[part]
            place.add_module(last, HookPoint())
        self.setup()

    def hook(self, name, x):
        return self.mod_dict[name](x)

    def forward(self, ids):
        """ids (B, T) -> logits (B, T, V)"""
        m, w, hook = self.model, self.w, self.hook
        x = hook("hook_embed", w["wte"][ids])
        if m.position == "learned":
            x = x + hook("hook_pos_embed", w["wpe"][: ids.shape[1]].expand(x.shape))
        if m.ngram_rows:
            x = x + hook("hook_ngram_embed", self.ngrams(ids))
        x = self.norm(x, "embed.ln", "rms" if m.embedding_norm else "none")
        for i in range(m.n_layer):
            layer, block = f"layer{i}", f"blocks.{i}"
            x = hook(f"{block}.hook_resid_pre", x)
            h = self.norm(x, f"{block}.ln1", m.norm, f"{layer}.ln1")
            x = x + hook(f"{block}.hook_attn_out", self.attention(h, layer, f"{block}.attn"))
            x = hook(f"{block}.hook_resid_mid", x)
            h = self.norm(x, f"{block}.ln2", m.norm, f"{layer}.ln2")
            x = hook(f"{block}.hook_resid_post", x + self.mlp(h, layer, block))
        x = self.norm(x, "ln_final", m.norm if m.final_norm else "none", "ln_f")
        return hook("logits", x @ w["wte" if m.tied else "lm_head"].T)

    def linear(self, x, name):
        return F.linear(x, self.w[name], self.w.get(f"{name}_bias"))

    def norm(self, x, at, kind, place=""):
        if kind == "none":
            return x
        centered = x - x.mean(-1, keepdim=True) if kind == "layer" else x
        scale = self.hook(
            f"{at}.hook_scale", (centered.pow(2).mean(-1, keepdim=True) + self.model.norm_eps).sqrt()
        )
        gain, bias = self.w.get(f"{place}_gain", 1.0), self.w.get(f"{place}_bias", 0.0)
        return self.hook(f"{at}.hook_normalized", centered / scale * gain + bias)

    def attention(self, h, layer, at):
        m, heads = self.model, (-1, self.model.head_size)
        q, k, v = (
            self.hook(f"{at}.hook_{one}", self.linear(h, f"{layer}.attn_w{one}").unflatten(-1, heads))
            for one in "qkv"
        )
        if m.qk_norm:
            q = self.norm(q, f"{at}.q_norm", "rms") * self.w[f"{layer}.attn_q_gain"]
            k = self.norm(k, f"{at}.k_norm", "rms")
        if m.position == "rope":
            q, k = (
                self.hook(f"{at}.hook_rot_q", self.rotated(q)),
                self.hook(f"{at}.hook_rot_k", self.rotated(k)),
            )
        k, v = (x.repeat_interleave(m.n_head // m.kv_heads, dim=2) for x in (k, v))
        future = torch.ones(h.shape[1], h.shape[1], dtype=torch.bool).triu(1)
        scores = torch.einsum("bthd,buhd->bhtu", q, k).masked_fill(future, -torch.inf) / sqrt(m.head_size)
        pattern = self.hook(f"{at}.hook_pattern", self.hook(f"{at}.hook_attn_scores", scores).softmax(-1))
        z = self.hook(f"{at}.hook_z", torch.einsum("bhtu,buhd->bthd", pattern, v))
        return self.linear(z.flatten(2), f"{layer}.attn_wo")

    def rotated(self, x):
        half = self.model.head_size // 2
        frequencies = self.model.rope_base ** (-torch.arange(half, dtype=torch.float64) / half)
        angles = torch.arange(x.shape[1])[:, None, None] * frequencies
        a, b = x.split(half, -1)
        return torch.cat([a * angles.cos() - b * angles.sin(), b * angles.cos() + a * angles.sin()], -1)

    def mlp(self, h, layer, block):
        gate = f"{layer}.mlp_gate" if self.model.gated else f"{layer}.mlp_fc1"
        g = ACTIVATIONS[self.model.activation](self.hook(f"{block}.mlp.hook_pre", self.linear(h, gate)))
        if self.model.gated:
            g = g * self.hook(f"{block}.mlp.hook_pre_linear", self.linear(h, f"{layer}.mlp_fc1"))
        return self.hook(
            f"{block}.hook_mlp_out", self.linear(self.hook(f"{block}.mlp.hook_post", g), f"{layer}.mlp_fc2")
        )

    def ngrams(self, ids):
        """The sum of the vectors of the contexts that end at each position; row -1 is none."""
        orders = enumerate(torch.tensor(self.contexts.rows(ids.numpy())), 2)
        return sum(self.w[f"ngram{order}"][rows] * (rows >= 0)[..., None] for order, rows in orders)


def main(run, text):
    """Print how far the activations are from motegpt's."""
    gpt = GPT.load(run)
    hooked, bos = HookedMotegpt(gpt), [] if gpt.tokenizer.bos is None else [gpt.tokenizer.bos]
    _, cache = hooked.run_with_cache(torch.tensor([[*bos, *gpt.tokenizer.encode(text)]]))
    differences = {
        name: (cache[name] - torch.tensor(array)).nan_to_num(0.0).abs().max().item()
        for name, array in gpt.activations(text).items()
    }
    print(f"{len(differences)} activations, largest difference {max(differences.values()):.0e}")


if __name__ == "__main__":
    main(*sys.argv[1:])
