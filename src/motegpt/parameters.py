"""The parameters of a model: one table of names, shapes and initial spreads, in canonical order.

The order is that of the initialization draws, of the flat array the native core works on, and of
every export. Matrices are (out, in). Standard library only.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from motegpt.config import ModelConfig
    from motegpt.rng import RunRng


class Parameter(NamedTuple):
    """name; shape (out, in); zero: the matrix starts at zero, its draws thrown away."""

    name: str
    shape: tuple[int, int]
    zero: bool = False

    @property
    def size(self) -> int:
        return prod(self.shape)


def parameter_table(model: ModelConfig) -> tuple[Parameter, ...]:
    """Every parameter of the model in canonical order."""
    return tuple(_parameters(model))


def _parameters(model: ModelConfig) -> Iterator[Parameter]:
    c, hidden, vocabulary = model.n_embd, model.n_hidden, model.vocab_size
    yield Parameter("wte", (vocabulary, c))
    yield Parameter("wpe", (model.block_size, c))
    if not model.tied:
        yield Parameter("lm_head", (vocabulary, c))
    for i in range(model.n_layer):
        yield Parameter(f"layer{i}.attn_wq", (c, c))
        yield Parameter(f"layer{i}.attn_wk", (c, c))
        yield Parameter(f"layer{i}.attn_wv", (c, c))
        yield Parameter(f"layer{i}.attn_wo", (c, c), zero=model.zero_init)
        yield Parameter(f"layer{i}.mlp_fc1", (hidden, c))
        yield Parameter(f"layer{i}.mlp_fc2", (c, hidden), zero=model.zero_init)


def parameter_count(model: ModelConfig) -> int:
    """How many numbers the model learns."""
    return sum(parameter.size for parameter in parameter_table(model))


def initialize(model: ModelConfig, rng: RunRng) -> dict[str, array[float]]:
    """Fresh parameters, each a flat array in row-major order, drawn from normal(0, init_std)."""
    drawn = {
        parameter.name: array("d", [rng.gauss(0.0, model.init_std) for _ in range(parameter.size)])
        for parameter in parameter_table(model)
    }
    zeros = {p.name: array("d", bytes(8 * p.size)) for p in parameter_table(model) if p.zero}
    return {**drawn, **zeros}


def matrices_of(flat: Any, model: ModelConfig) -> dict[str, Any]:
    """The matrices of a flat array (P,) in canonical order, as views, by name."""
    views, at = {}, 0
    for parameter in parameter_table(model):
        views[parameter.name] = flat[at : at + parameter.size].reshape(parameter.shape)
        at += parameter.size
    return views


def check_shape(name: str, expected: tuple[int, int], got: tuple[int, ...], what: str) -> None:
    """ValueError unless there are as many numbers as the parameter has, in whatever shape."""
    if prod(got) != prod(expected):
        raise ValueError(f"{what}: {name} expected shape {expected}, got {got}")


def same_names(got: Mapping[str, object], model: ModelConfig, what: str) -> None:
    """Raise ValueError unless `got` has exactly the parameters of the model."""
    expected = [parameter.name for parameter in parameter_table(model)]
    missing, foreign = sorted(set(expected) - set(got)), sorted(set(got) - set(expected))
    if missing or foreign:
        raise ValueError(f"{what}: missing {missing or 'none'}, not of this model {foreign or 'none'}")
