"""Presets: the settings of three reference systems and of two known architectures, with their sources.

A preset is a flat dictionary of settings; `settings_of(name)` returns a copy. COMMON and MODERN hold
the settings that several share, so each preset lists only its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from motegpt.config.sections import SECTIONS
from motegpt.config.text import shortened
from motegpt.errors import SettingError

COMMON: dict[str, Any] = {
    "n_layer": 1,
    "n_embd": 16,
    "n_head": 4,
    "norm_eps": 1e-5,  # inside the square root, in all three programs
    "batch_size": 1,
    "seed": 42,
    "eps": 1e-8,
}

# Source: the pure-Python microgpt of about 200 lines.
MICROGPT: dict[str, Any] = {
    **COMMON,
    "block_size": 16,
    "activation": "relu",
    "tied": False,
    "embedding_norm": True,
    "init_std": 0.08,
    "zero_init": False,
    "framing": "bos",
    "cut": "targets",  # n = min(block_size, len(tokens) - 1)
    "shuffle": True,
    "steps": 1000,
    "rng": "python",
    "lr": 0.01,
    "schedule": "linear",  # lr * (1 - step / steps), step from 0
    "adam": "corrected",
    "beta1": 0.85,
    "beta2": 0.99,
    "dtype": "float64",  # Python's floats
    "log_every": 100,
    "n": 20,
    "temperature": 0.5,
}

# Source: the document of Oxidized-GPT, and a run of its first release, which printed it; a later release uses
# microgpt's generator and Adam. engines/node_clip.py describes its gradients.
OXIDIZED: dict[str, Any] = {
    **MICROGPT,
    "rng": "lcg",  # in single precision; its shuffle takes remainders
    "lr": 0.005,
    "beta1": 0.9,
    "beta2": 0.999,
    "clip_node": 10.0,  # clips the gradient that a node passes to its inputs
    "clip_value": 5.0,  # clips the gradient of a weight, summed over all its uses
    "temperature": 1.0,
}

# Source: the document of zeroclawgpt and runs of its program.
ZEROCLAW: dict[str, Any] = {
    **COMMON,
    "block_size": 8,
    "activation": "squared_relu",
    "tied": True,
    "embedding_norm": False,
    "init_std": 0.02,
    "zero_init": True,  # attn_wo and mlp_fc2; the generator advances for them too
    "framing": "bos_eos",
    "cut": "tokens",  # truncates long names
    "shuffle": False,
    "steps": 5000,
    "rng": "xoshiro128+",
    "lr": 0.01,
    "schedule": "linear_to_zero",  # its document has 1 - step / steps; its losses show that step starts at 1
    "adam": "folded",
    "beta1": 0.9,
    "beta2": 0.95,
    "dtype": "float32",
    "log_every": 500,
    "sample_every": 500,
    "count_from": 0,
    "n": 5,
    "temperature": 1.0,
}

# Shared by the presets of known architectures: sizes of the smallest GPT-2, and a training in the manner of
# GPT-3 (Brown et al., 2020, appendix B). Every size can be set.
MODERN: dict[str, Any] = {
    "n_layer": 12,
    "n_embd": 768,
    "n_head": 12,
    "block_size": 1024,
    "final_norm": True,
    "norm_gain": True,
    "norm_eps": 1e-5,
    "embedding_norm": False,
    "init_std": 0.02,
    "zero_init": False,
    "framing": "bos",
    "cut": "targets",
    "shuffle": True,
    "reshuffle": True,
    "batch_size": 16,
    "loss_mean": "tokens",
    "steps": 1000,
    "seed": 42,
    "rng": "python",
    "lr": 6e-4,
    "schedule": "cosine",
    "warmup_steps": 50,
    "lr_min": 6e-5,
    "adam": "corrected",
    "beta1": 0.9,
    "beta2": 0.95,
    "eps": 1e-8,
    "weight_decay": 0.1,
    "clip_norm": 1.0,
    "dtype": "float32",
    "log_every": 100,
    "n": 20,
    "temperature": 0.8,
}

# Source: Radford et al., 2019, and the smallest of the published models.
GPT2: dict[str, Any] = {
    **MODERN,
    "position": "learned",
    "norm": "layer",
    "norm_bias": True,
    "bias": True,
    "activation": "gelu_tanh",
    "tied": True,
    "scaled_init": True,
}

# Source: Touvron et al., 2023, in the size of GPT-2; grouped-query heads as of Llama 2 by `n_kv_head`.
LLAMA: dict[str, Any] = {
    **MODERN,
    "position": "rope",
    "rope_base": 10_000.0,
    "norm": "rms",
    "activation": "swiglu",
    "tied": False,
}

PRESETS: dict[str, dict[str, Any]] = {
    "microgpt": MICROGPT,
    "oxidized": OXIDIZED,
    "zeroclaw": ZEROCLAW,
    "gpt2": GPT2,
    "llama": LLAMA,
}
REFERENCE_PRESET = "microgpt"  # of commands that do not train
AUTO = "auto"  # settings from the data and a budget: training/auto.py

# What "auto" does not choose from the data.
CONSTANTS: dict[str, Any] = {
    "activation": "relu",
    "tied": False,
    "embedding_norm": True,
    "norm_eps": 1e-5,
    "init_std": 0.08,
    "zero_init": True,
    "framing": "bos",
    "cut": "targets",
    "shuffle": True,
    "reshuffle": True,
    "loss_mean": "tokens",
    "seed": 42,
    "rng": "python",
    "schedule": "cosine",
    "adam": "corrected",
    "beta1": 0.9,
    "beta2": 0.99,
    "eps": 1e-8,
    "clip_norm": 1.0,
    "dtype": "float32",
    "n": 20,
    "temperature": 0.8,
}


def settings_of(preset: str) -> dict[str, Any]:
    """A copy of the preset's flat settings."""
    return _preset(preset, PRESETS)


def base_settings(preset: str) -> dict[str, Any]:
    """A copy of the preset's flat settings; of "auto", those that it does not choose from the data."""
    return _preset(preset, {AUTO: CONSTANTS, **PRESETS})


def _preset(name: str, presets: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """A copy of one of the presets; SettingError for another name."""
    if not isinstance(name, str) or name not in presets:
        raise SettingError(f"preset: expected one of {', '.join(presets)}, got {shortened(name)}")
    return dict(presets[name])


def expected_settings(preset: str) -> dict[str, Any]:
    """Every setting of a preset, defaults included; settings found from the data are missing."""
    defaults = {
        one.name: one.default
        for section in SECTIONS.values()
        for one in fields(section)
        if one.default is not MISSING
    }
    return {**defaults, **PRESETS[preset]}
