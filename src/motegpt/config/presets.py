"""The three reference systems, each number with its source, and whether a run is one of theirs.

A preset is a flat table of settings; `settings_of(name)` gives a copy to change. What all three have
in common stands in COMMON once, so that reading a preset is reading what is special about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any

from motegpt.config.fields import shortened
from motegpt.config.sections import SECTIONS
from motegpt.errors import SettingError

if TYPE_CHECKING:
    from motegpt.training.state import RunConfig

LEARNING = ("model", "data", "train")  # the sections that decide how a model learns
REPORTING = {  # and those of it that do not, beside all that end in _every
    "vocab_size", "threads", "checkpoint_activations", "count_from", "keep", "checkpoint_minutes",
}  # fmt: skip

COMMON: dict[str, Any] = {
    "n_layer": 1,
    "n_embd": 16,
    "n_head": 4,
    "norm_eps": 1e-5,  # inside the root, in all three programs
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

# Source: the document of Oxidized-GPT and a run of the program that printed it, its first release; a later
# one takes microgpt's generator and Adam. engines/node_clip.py says how it differentiates.
OXIDIZED: dict[str, Any] = {
    **MICROGPT,
    "rng": "lcg",  # in single precision; its shuffle takes remainders
    "lr": 0.005,
    "beta1": 0.9,
    "beta2": 0.999,
    "clip_node": 10.0,  # of what a node passes on to its parents
    "clip_value": 5.0,  # of a weight's gradient, summed over all its uses
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
    "zero_init": True,  # attn_wo and mlp_fc2; their draws are consumed all the same
    "framing": "bos_eos",
    "cut": "tokens",  # long names lose their end
    "shuffle": False,
    "steps": 5000,
    "rng": "xoshiro128+",
    "lr": 0.01,
    "schedule": "linear_to_zero",  # its document says 1 - step / steps; its losses show step from 1
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

PRESETS: dict[str, dict[str, Any]] = {"microgpt": MICROGPT, "oxidized": OXIDIZED, "zeroclaw": ZEROCLAW}
DEFAULT_PRESET = "microgpt"


def settings_of(preset: str) -> dict[str, Any]:
    """A copy of the preset's flat table of settings."""
    if not isinstance(preset, str) or preset not in PRESETS:
        raise SettingError(f"preset: expected one of {', '.join(PRESETS)}, got {shortened(preset)}")
    return dict(PRESETS[preset])


def flat_settings(config: RunConfig, sections: Sequence[str] = tuple(SECTIONS)) -> dict[str, Any]:
    """The settings of some sections by name."""
    values = config.values()
    return {name: value for section in sections for name, value in values[section].items()}


def learning_settings(config: RunConfig) -> dict[str, Any]:
    """The settings of a run that decide how its model learns, by name."""
    settings = flat_settings(config, LEARNING)
    return {k: v for k, v in settings.items() if k not in REPORTING and not k.endswith("_every")}


def expected_settings(preset: str) -> dict[str, Any]:
    """Every setting as it is with a preset alone; what is found from the data is not in it."""
    defaults = {
        one.name: one.default
        for section in SECTIONS.values()
        for one in fields(section)
        if one.default is not MISSING
    }
    return {**defaults, **PRESETS[preset]}


def reference_of(config: RunConfig) -> str | None:
    """The preset whose program learns as this run does, on whatever data; None if none does.

    In whatever precision: an engine may not have that of the preset.
    """
    found = learning_settings(config)
    del found["dtype"]
    for preset in PRESETS:
        expected = expected_settings(preset)
        if all(expected[name] == value for name, value in found.items()):
            return preset
    return None
