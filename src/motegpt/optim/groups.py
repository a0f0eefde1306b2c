"""Frozen tensors, and a learning rate for each group of tensors: the settings `frozen` and `lr_scale`.

A tensor that is scaled by s is trained as with the settings lr · s and lr_min · s, weight decay included. Of
a frozen one neither the parameters nor the slots change, and its gradient is no part of the norm that
clip_norm limits. A pattern is a name of a tensor, such as layer0.*, or a role (model/spec.py); of several
factors that match a tensor, the last counts. Standard library only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from motegpt.config.synonyms import hint
from motegpt.config.text import shortened
from motegpt.model.spec import Role, tensors

if TYPE_CHECKING:
    from motegpt.config.sections import ModelConfig, TrainConfig
    from motegpt.model.spec import Tensor

FROZEN = -1  # the group of tensors that are not trained
SHOWN = 100  # columns of a list of tensors in a message


@dataclass(frozen=True)
class Groups:
    """settings: of the training of each group; of: name of a tensor -> its group, or FROZEN."""

    settings: tuple[TrainConfig, ...]
    of: dict[str, int]

    @property
    def are_one(self) -> bool:
        """Whether all tensors are trained alike."""
        return set(self.of.values()) == {0}

    def settings_of(self, name: str) -> TrainConfig | None:
        """The settings that a tensor is trained with; None if it is frozen."""
        group = self.of[name]
        return None if group == FROZEN else self.settings[group]


def groups_of(model: ModelConfig, train: TrainConfig) -> Groups:
    """The groups of the tensors of a model, in the order of their first tensors."""
    factors = {one.name: _factor(one, train) for one in tensors(model)}
    trained = list(dict.fromkeys(factor for factor in factors.values() if factor is not None)) or [1.0]
    return Groups(
        tuple(_scaled(train, factor) for factor in trained),
        {name: FROZEN if one is None else trained.index(one) for name, one in factors.items()},
    )


def _factor(tensor: Tensor, train: TrainConfig) -> float | None:
    """The factor of the learning rate of a tensor; None if it is frozen."""
    if any(_matches(pattern, tensor) for pattern in train.frozen or ()):
        return None
    factors = [factor for pattern, factor in train.lr_scales if _matches(pattern, tensor)]
    return factors[-1] if factors else 1.0


def _scaled(train: TrainConfig, factor: float) -> TrainConfig:
    return train if factor == 1.0 else train.replace(lr=train.lr * factor, lr_min=train.lr_min * factor)


def _matches(pattern: str, tensor: Tensor) -> bool:
    return pattern == tensor.role.value or fnmatchcase(tensor.name, pattern)


def why_not_grouped(model: ModelConfig, train: TrainConfig) -> str | None:
    """Why `frozen` or `lr_scale` do not fit a model: a pattern without a tensor, nothing left to train."""
    if not (train.frozen or train.lr_scale):
        return None
    known = tensors(model)
    scaled = [pattern for pattern, _ in train.lr_scales]
    for setting, patterns in (("frozen", train.frozen or ()), ("lr_scale", scaled)):
        for pattern in patterns:
            if not any(_matches(pattern, one) for one in known):
                return _unknown(setting, pattern, known)
    if all(_factor(one, train) is None for one in known):
        return "frozen: expected a tensor that is left to train, got all; leave one out"
    return None


def _unknown(setting: str, pattern: str, known: Sequence[Tensor]) -> str:
    """The message for a pattern that no tensor matches, with a suggestion or the names of tensors."""
    names = [one.name for one in known]
    roles = [role.value for role in Role if any(one.role is role for one in known)]
    listed = f"the model has {_listed([*names, *roles])}"
    return (
        f"{setting}: expected tensors, as names, patterns such as layer0.* or roles, got "
        f"{shortened(pattern)}, which none matches; {hint(pattern, [*names, *roles]) or listed}"
    )


def _listed(names: Iterable[str]) -> str:
    """Names separated by commas, as many as fit into SHOWN columns."""
    text = ", ".join(names)
    return text if len(text) <= SHOWN else text[:SHOWN].rpartition(",")[0] + ", …"
