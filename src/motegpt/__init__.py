"""motegpt: a GPT small enough to see all of, and fast enough to be of use.

The public names are listed here and imported when first used, so that `import motegpt` costs nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False  # that of typing costs more than all else here
if TYPE_CHECKING:
    from typing import Any

    from motegpt.api.gpt import GPT
    from motegpt.api.training import Training
    from motegpt.config.presets import settings_of
    from motegpt.config.sections import DataConfig, ModelConfig, SampleConfig, TrainConfig
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
    from motegpt.evaluation.nll import Evaluation, Score
    from motegpt.model.rng import make_rng
    from motegpt.training.records import StepRecord

_HOMES = {
    "motegpt.config.sections": ("DataConfig", "ModelConfig", "SampleConfig", "TrainConfig"),
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
    "motegpt.evaluation.nll": ("Evaluation", "Score"),
    "motegpt.api.gpt": ("GPT",),
    "motegpt.api.training": ("Training",),
    "motegpt.config.presets": ("settings_of",),
    "motegpt.model.rng": ("make_rng",),
    "motegpt.training.records": ("StepRecord",),
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
