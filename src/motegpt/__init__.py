"""motegpt: a GPT small enough to see all of, and fast enough to be of use.

The public names are listed here and imported when first used, so that `import motegpt` costs nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False  # that of typing costs more than all else here
if TYPE_CHECKING:
    from typing import Any

    from motegpt.config import DataConfig, ModelConfig, SampleConfig, TrainConfig
    from motegpt.engines import make_engine
    from motegpt.errors import (
        DataError,
        EngineUnavailable,
        LibraryUnavailable,
        MotegptError,
        OutOfMemory,
        PrefixError,
        RunFolderError,
        SettingError,
        TrainingDiverged,
        TrainingInterrupted,
        TriesExhausted,
        UsageError,
    )
    from motegpt.evaluate import Evaluation, Score
    from motegpt.gpt import GPT, Training
    from motegpt.presets import settings_of
    from motegpt.rng import make_rng
    from motegpt.train import StepRecord

_HOMES = {
    "motegpt.config": ("DataConfig", "ModelConfig", "SampleConfig", "TrainConfig"),
    "motegpt.engines": ("make_engine",),
    "motegpt.errors": (
        "DataError",
        "EngineUnavailable",
        "LibraryUnavailable",
        "MotegptError",
        "OutOfMemory",
        "PrefixError",
        "RunFolderError",
        "SettingError",
        "TrainingDiverged",
        "TrainingInterrupted",
        "TriesExhausted",
        "UsageError",
    ),
    "motegpt.evaluate": ("Evaluation", "Score"),
    "motegpt.gpt": ("GPT", "Training"),
    "motegpt.presets": ("settings_of",),
    "motegpt.rng": ("make_rng",),
    "motegpt.train": ("StepRecord",),
}

__all__ = [
    "GPT",
    "DataConfig",
    "DataError",
    "EngineUnavailable",
    "Evaluation",
    "LibraryUnavailable",
    "ModelConfig",
    "MotegptError",
    "OutOfMemory",
    "PrefixError",
    "RunFolderError",
    "SampleConfig",
    "Score",
    "SettingError",
    "StepRecord",
    "TrainConfig",
    "Training",
    "TrainingDiverged",
    "TrainingInterrupted",
    "TriesExhausted",
    "UsageError",
    "make_engine",
    "make_rng",
    "settings_of",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module 'motegpt' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
