"""Small models of every architecture and tokenizer, for the tests of export and import."""

import warnings

import numpy as np

from motegpt import GPT
from motegpt.interchange.layouts import GPT2, LLAMA, OWN

DOCUMENTS = ["anna", "hanna", "nan", "émile", "zoë x", "ana na", "x-an", "hanna anna"] * 2
SMALL = {"n_layer": 2, "n_embd": 12, "n_head": 3, "block_size": 9}
ARCHITECTURES = {  # name -> layout, settings
    "microgpt": (OWN, {"preset": "microgpt"}),
    "zeroclaw": (OWN, {"preset": "zeroclaw"}),
    "gpt2": (GPT2, {"preset": "gpt2"}),
    "gpt2, untied, narrow, gelu": (
        GPT2,
        {"preset": "gpt2", "tied": False, "n_hidden": 10, "activation": "gelu"},
    ),
    "gpt2, squared_relu": (GPT2, {"preset": "gpt2", "activation": "squared_relu", "framing": "bos_eos"}),
    "llama": (LLAMA, {"preset": "llama"}),
    "llama, grouped, tied, biases": (
        LLAMA,
        {"preset": "llama", "n_kv_head": 1, "tied": True, "bias": True, "rope_base": 300.0},
    ),
    "n-grams, rope, qk_norm": (
        OWN,
        {"preset": "microgpt", "ngram_orders": 4, "position": "rope", "qk_norm": True, "n_embd": 24},
    ),
    "n-grams, tied, bos_eos": (OWN, {"preset": "zeroclaw", "ngram_orders": 3}),
    "gpt2, grouped, no biases": (OWN, {"preset": "gpt2", "n_kv_head": 1, "bias": False}),
    "no norm, no positions": (
        OWN,
        {"preset": "microgpt", "norm": "none", "position": "none", "embedding_norm": False},
    ),
    "swiglu, layer norm, bias alone": (
        OWN,
        {"preset": "microgpt", "activation": "swiglu", "norm": "layer", "norm_bias": True, "bias": True},
    ),
}
TOKENIZERS = {
    "characters": {},
    "bytes": {"tokenizer": "bytes", "block_size": 16},
    "bpe": {"tokenizer": "bpe", "max_vocab_size": 24},
    "words": {"tokenizer": "words", "max_vocab_size": 30},
    "regex": {"tokenizer": "regex", "token_pattern": r"an+|(?i:X)-?\b|[^\W\d]", "max_vocab_size": 30},
    "characters, bos_eos": {"framing": "bos_eos"},
    "bytes, bos_eos": {"tokenizer": "bytes", "block_size": 16, "framing": "bos_eos"},
    "stream": {"format": "stream"},
}


def small_model(seed=1, documents=DOCUMENTS, **settings):
    """A model with random parameters, far from uniform, on the array engine in double precision."""
    settings = {**SMALL, "steps": 1, "dtype": "float64", "engine": "array", "progress": False, **settings}
    with warnings.catch_warnings(action="ignore"):  # of such a training, which is none
        model = GPT.train(documents, **settings)
    rng = np.random.default_rng(seed)
    parameters = model.engine.export().parameters
    model.engine.load({name: rng.normal(0, 0.4, array.shape) for name, array in parameters.items()})
    return model
