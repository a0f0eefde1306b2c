"""Activations by name, as a mapping with TransformerLens' short keys, and their gradients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from motegpt.config.text import concise
from motegpt.lens.names import Key, full_name

if TYPE_CHECKING:
    from motegpt.engines.array.ops import Array


class Activations(Mapping[Key, "Array"]):
    """Arrays by the names of hook points, in the order of the forward pass.

    a["blocks.0.attn.hook_q"], a["q", 0] and a["q0"] are one; a["resid_post", -1] is that of the last layer,
    a["scale", 0, "ln1"] and a["scale"] (of the final norm) name the norm. KeyError for others.
    """

    def __init__(self, values: Mapping[str, Array], n_layer: int) -> None:
        self._values, self._n_layer = values, n_layer

    def __getitem__(self, key: Key) -> Array:
        return self._values[full_name(key, self._values, self._n_layer)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return concise(type(self).__name__, {"activations": len(self), "layers": self._n_layer})

    def stack_activation(self, name: str, part: str | None = None) -> Array:
        """(L, …): the activation of that short name in every layer, as stack_activation("pattern")."""
        return np.stack([self[name, i, part] for i in range(self._n_layer)])


class ActivationGradients(Activations):
    """d loss / d activation by name, in the shape of the activation. loss: in nats per target."""

    def __init__(self, values: Mapping[str, Array], n_layer: int, loss: float) -> None:
        super().__init__(values, n_layer)
        self.loss = loss
