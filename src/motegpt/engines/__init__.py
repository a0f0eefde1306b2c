"""Name -> engine. An engine's module, and the library under it, is imported only when asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from motegpt.errors import SettingError

if TYPE_CHECKING:
    from motegpt.config import ModelConfig, TrainConfig
    from motegpt.engines.base import Engine

ENGINES: dict[str, str] = {
    "scalar": "motegpt.engines.scalar.engine:ScalarEngine",
    "array": "motegpt.engines.array.engine:ArrayEngine",
}
DEFAULT_ENGINE = "array"


def engine_class(name: str) -> type[Engine]:
    """The class of the engine called `name`; EngineUnavailable if its library is missing."""
    if name not in ENGINES:
        raise SettingError(f"engine: expected one of {', '.join(ENGINES)}, got {name!r}")
    module, _, attribute = ENGINES[name].partition(":")
    engine: type[Engine] = getattr(import_module(module), attribute)
    return engine


def make_engine(name: str, model: ModelConfig, train: TrainConfig) -> Engine:
    """A fresh engine, its parameters still to be loaded."""
    return engine_class(name)(model, train)
