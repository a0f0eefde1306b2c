"""Name -> engine. An engine's module, and the library under it, is imported only when asked for."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from motegpt.config.fields import kinds, plain
from motegpt.config.sections import ModelConfig, TrainConfig
from motegpt.config.text import shortened
from motegpt.engines.base import refuse, why_not_setting
from motegpt.errors import EngineUnavailable, SettingError
from motegpt.model.rng import make_rng
from motegpt.model.spec import initialize
from motegpt.system.libraries import imports_for

if TYPE_CHECKING:
    from motegpt.engines.base import Engine
    from motegpt.engines.cost import Memory

ENGINES: dict[str, str] = {
    "scalar": "motegpt.engines.scalar.engine:ScalarEngine",
    "array": "motegpt.engines.array.engine:ArrayEngine",
    "native": "motegpt.engines.native.engine:NativeEngine",
    "torch": "motegpt.engines.torch.engine:TorchEngine",
}
PREFERRED, FALLBACK = "native", "array"
WITH_KNOWN_MEMORY = ("array", "native", "torch")  # those that have a module `memory`
MANY_PROCESSES = "torch"  # the engine that trains in all the processes torchrun starts


def engine_class(name: str) -> type[Engine]:
    """The class of the engine called `name`; EngineUnavailable if what it needs cannot be imported."""
    name = plain(name)
    if not isinstance(name, str) or name not in ENGINES:
        raise SettingError(f"engine: expected one of {', '.join(ENGINES)}, got {shortened(name)}")
    module, _, attribute = ENGINES[name].partition(":")
    with imports_for(f"the {name} engine", EngineUnavailable):
        engine: type[Engine] = getattr(import_module(module), attribute)
    return engine


def why_unavailable(name: str) -> str | None:
    """Why an engine cannot run here, in a line that says what to install; None if it can."""
    try:
        engine_class(name)
    except EngineUnavailable as error:
        return str(error)
    return None


def default_engine() -> str:
    """The engine that is used when none is asked for: the fastest that was installed."""
    return FALLBACK if why_unavailable(PREFERRED) else PREFERRED


def check_settings(engine: str, given: Mapping[str, Any], over: Mapping[str, Any] = {}) -> None:
    """SettingError for a setting that was given and that the engine or the optimizer does not have.

    A setting's default may be given to all. over: the settings of the preset or run that `given` changes.
    """
    refuse(engine_class(engine).why_not(given=given))
    default = over.get("optimizer", TrainConfig.optimizer)
    optimizer = kinds(TrainConfig)["optimizer"].check("optimizer", given.get("optimizer", default))
    for name, value in given.items():
        refuse(why_not_setting("optimizer", optimizer, name, value))


def make_engine(name: str, model: ModelConfig, train: TrainConfig) -> Engine:
    """A fresh engine, its parameters still to be loaded; SettingError for settings that are none of these."""
    for what, given, kind in (("model", model, ModelConfig), ("train", train, TrainConfig)):
        if not isinstance(given, kind):
            raise SettingError(f"{what}: expected a {kind.__name__}, got {shortened(given)}")
    return engine_class(name)(model, train)


def fresh_engine(name: str, model: ModelConfig, train: TrainConfig) -> Engine:
    """An engine with newly drawn parameters, by the generator and the seed of the settings."""
    engine = make_engine(name, model, train)
    engine.load(initialize(model, make_rng(train.rng, train.seed)))
    return engine


def training_memory(
    engine: str, model: ModelConfig, train: TrainConfig, positions: float, ranks: int = 1
) -> Memory:
    """The most that each device holds while training on sequences of so many positions, padding not counted.

    ranks: processes that share a step. It needs no library of the engine, which is one of WITH_KNOWN_MEMORY.
    """
    memory: Memory = import_module(f"motegpt.engines.{engine}.memory").training_memory(
        model, train, positions, ranks
    )
    return memory
