"""motegpt: a GPT small enough to see all of, and fast enough to be of use.

The public names are listed here and imported when first used, so that `import motegpt` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from motegpt.config import DataConfig, ModelConfig, SampleConfig, TrainConfig
    from motegpt.engines import make_engine
    from motegpt.errors import (
        DataError,
        EngineUnavailable,
        MotegptError,
        PrefixError,
        RunFolderError,
        SettingError,
        TrainingDiverged,
        UsageError,
    )
    from motegpt.gpt import GPT
    from motegpt.presets import settings_of
    from motegpt.rng import make_rng

_HOMES = {
    "motegpt.config": ("DataConfig", "ModelConfig", "SampleConfig", "TrainConfig"),
    "motegpt.engines": ("make_engine",),
    "motegpt.errors": (
        "DataError",
        "EngineUnavailable",
        "MotegptError",
        "PrefixError",
        "RunFolderError",
        "SettingError",
        "TrainingDiverged",
        "UsageError",
    ),
    "motegpt.gpt": ("GPT",),
    "motegpt.presets": ("settings_of",),
    "motegpt.rng": ("make_rng",),
}

__all__ = [
    "GPT",
    "DataConfig",
    "DataError",
    "EngineUnavailable",
    "ModelConfig",
    "MotegptError",
    "PrefixError",
    "RunFolderError",
    "SampleConfig",
    "SettingError",
    "TrainConfig",
    "TrainingDiverged",
    "UsageError",
    "make_engine",
    "make_rng",
    "settings_of",
]


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module 'motegpt' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
