"""Engines by name. An engine's module and its libraries are imported only when it is used."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from motegpt.config.fields import kinds, plain
from motegpt.config.sections import SECTIONS, DataConfig, ModelConfig, TrainConfig, section_of
from motegpt.config.text import shortened
from motegpt.engines.base import refuse, why_not_setting
from motegpt.errors import EngineUnavailable, SettingError
from motegpt.model.rng import make_rng
from motegpt.model.spec import initialize
from motegpt.ngrams.contexts import Contexts
from motegpt.system.libraries import imports_for

if TYPE_CHECKING:
    from motegpt.engines.base import Engine, LanguageModel
    from motegpt.engines.cost import Memory
    from motegpt.ngrams.average import Average

ENGINES: dict[str, str] = {
    "scalar": "motegpt.engines.scalar.engine:ScalarEngine",
    "array": "motegpt.engines.array.engine:ArrayEngine",
    "native": "motegpt.engines.native.engine:NativeEngine",
    "torch": "motegpt.engines.torch.engine:TorchEngine",
}
PREFERRED, FALLBACK = "native", "array"
WITH_KNOWN_MEMORY = ("array", "native", "torch")  # engines with a module `memory`
OF_NGRAMS = {  # settings without use unless `ngram_orders` is set, with their defaults
    "ngram_min_count": DataConfig.ngram_min_count,
    "ngram_dropout": TrainConfig.ngram_dropout,
    "ngram_weight_decay": TrainConfig.ngram_weight_decay,
}
MULTI_PROCESS = "torch"  # the engine that can train in several processes, started by torchrun


def engine_class(name: str) -> type[Engine]:
    """The class of an engine; EngineUnavailable if its dependencies cannot be imported."""
    name = plain(name)
    if not isinstance(name, str) or name not in ENGINES:
        raise SettingError(f"engine: expected one of {', '.join(ENGINES)}, got {shortened(name)}")
    module, _, attribute = ENGINES[name].partition(":")
    with imports_for(f"the {name} engine", EngineUnavailable):
        engine: type[Engine] = getattr(import_module(module), attribute)
    return engine


def why_unavailable(name: str) -> str | None:
    """Why an engine cannot run here, with the command that installs it; None if it can."""
    try:
        engine_class(name)
    except EngineUnavailable as error:
        return str(error)
    return None


def default_engine() -> str:
    """The fastest installed engine."""
    return FALLBACK if why_unavailable(PREFERRED) else PREFERRED


def check_settings(engine: str, given: Mapping[str, Any], over: Mapping[str, Any] = {}) -> None:
    """SettingError for a given setting that the engine or the optimizer does not have, or of no use.

    Default values are always accepted. over: the settings of the preset or run that `given` overrides.
    """
    refuse(engine_class(engine).why_not(given=given))
    default = over.get("optimizer", TrainConfig.optimizer)
    optimizer = kinds(TrainConfig)["optimizer"].check("optimizer", given.get("optimizer", default))
    for name, value in given.items():
        refuse(why_not_setting("optimizer", optimizer, name, value))
    if given.get("ngram_orders", over.get("ngram_orders")) is None:
        for name, default in OF_NGRAMS.items():
            section = SECTIONS[section_of(name)]
            if kinds(section)[name].check(name, given.get(name, default)) != default:
                raise SettingError(f"{name}: expected an n-gram embedding, got none; set `ngram_orders=5`")


def make_engine(
    name: str,
    model: ModelConfig,
    train: TrainConfig,
    contexts: Contexts | None = None,
    *,
    inference: bool = False,
) -> Engine:
    """A new engine without parameters, for `load`; SettingError for arguments of other types.

    contexts: of the n-gram embedding, with the sizes in model.ngram_rows; inference: for generation and
    evaluation, as Engine.inference.
    """
    arguments: list[tuple[str, object, type]] = [("model", model, ModelConfig), ("train", train, TrainConfig)]
    if contexts is not None:
        arguments.append(("contexts", contexts, Contexts))
    for argument, given, kind in arguments:
        if not isinstance(given, kind):
            raise SettingError(f"{argument}: expected a {kind.__name__}, got {shortened(given)}")
    kind = engine_class(name)
    return kind.inference(model, train, contexts) if inference else kind(model, train, contexts)


def averaged(engine: Engine, average: Average | None) -> LanguageModel:
    """The engine, averaged with n-grams if there are any."""
    if average is None:
        return engine
    from motegpt.engines.average import Averaged

    return Averaged(engine, average)


def fresh_engine(
    name: str, model: ModelConfig, train: TrainConfig, contexts: Contexts | None = None
) -> Engine:
    """An engine with parameters initialized by the generator and seed of the settings."""
    engine = make_engine(name, model, train, contexts)
    engine.load(initialize(model, make_rng(train.rng, train.seed)))
    return engine


def training_memory(
    engine: str, model: ModelConfig, train: TrainConfig, positions: float, ranks: int = 1
) -> Memory:
    """Peak memory of each device while training on sequences of `positions` tokens, without padding.

    engine: one of WITH_KNOWN_MEMORY, which need not be installed; ranks: number of processes.
    """
    memory: Memory = import_module(f"motegpt.engines.{engine}.memory").training_memory(
        model, train, positions, ranks
    )
    return memory
