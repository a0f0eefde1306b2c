"""Build the Trainer of a new run (`prepare`) or of a saved one (`resume`)."""

from __future__ import annotations

import time
from array import array
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from motegpt.config.epochs import epochs_of, epochs_to_steps, merge_settings, seconds_of
from motegpt.config.sections import (
    DataConfig,
    ModelConfig,
    SampleConfig,
    TrainConfig,
    section_of,
    section_values,
)
from motegpt.data.plan import Plan, plan_of_sequences
from motegpt.data.source import Source, check_unchanged
from motegpt.engines import engine_class, make_engine
from motegpt.engines.budget import seconds_to_steps
from motegpt.errors import DataError, UsageError
from motegpt.generation.request import request_of
from motegpt.model.rng import make_rng
from motegpt.model.spec import initialize
from motegpt.ngrams.contexts import Contexts
from motegpt.sampling.training_texts import HashedTexts
from motegpt.system import ranks
from motegpt.training.data import Data
from motegpt.training.encoded import Encoded
from motegpt.training.loop import Trainer
from motegpt.training.losses import LossMeans
from motegpt.training.run_folder import RunFolder
from motegpt.training.state import RunConfig

if TYPE_CHECKING:
    from motegpt.data.corpus import Corpus
    from motegpt.engines.base import Engine
    from motegpt.model.rng import RunRng
    from motegpt.training.fine_tune import Base
    from motegpt.training.validation import ValidationSet

FIXED = ("seed", "rng", "batch_size", "optimizer", "kneser_ney")  # training settings that no resuming changes


def prepare(
    corpus: Corpus | Data, settings: dict[str, Any], engine: str, base: Base | None = None
) -> Trainer:
    """A new run. settings: by name, as from presets.settings_of; `epochs` overrides `steps`; base: a model to
    fine-tune, whose architecture and tokenizer the settings have.

    The generator is used in the order of the reference programs: shuffle, initialization, samples.
    """
    for name in settings:
        section_of(name)
    settings = {**settings, **corpus.found}
    data = DataConfig.of(section_values(settings, "data"))
    is_converted = epochs_of(settings) is not None or seconds_of(settings) is not None
    steps = {"steps": 1} if is_converted else {}  # replaced in _assemble
    train = TrainConfig.of({**section_values(settings, "train"), **steps})
    sample = SampleConfig.of(section_values(settings, "sample"))
    if isinstance(corpus, Data) and base is None:
        encoded = corpus.encoded(data, train.seed)
    else:
        corpus = corpus.corpus(data) if isinstance(corpus, Data) else corpus
        encoded = Encoded(corpus, data, train.seed, None if base is None else base.tokenizer)
    corpus, tokenizer = encoded.corpus, encoded.tokenizer
    found = {"vocab_size": tokenizer.vocab_size, "ngram_rows": base.contexts.sizes if base else ()}
    model = ModelConfig.of({**section_values(settings, "model"), **found})
    path, *others = corpus.paths or (None,)
    source = Source(
        kind=corpus.kind,
        path=path,
        others=tuple(others),
        sha256=corpus.sha256,
        documents=len(corpus.documents),
        optimum=corpus.documents.optimum,
    )
    config = RunConfig(
        engine=engine, model=model, data=data, train=train, sample=sample, source=source,
        base=None if base is None else base.origin,
    )  # fmt: skip
    request_of(config.sample, tokenizer, model.block_size)
    contexts = None if base is None else base.contexts
    trainer, rng = _assemble(config, encoded, settings, contexts)
    trainer.engine.load(initialize(trainer.config.model, rng) if base is None else base.initial(rng))
    if base is not None and base.known is not None and trainer.known is not None:
        trainer.known = trainer.known.union(base.known)
    return trainer


def resume(
    folder: RunFolder, corpus: Corpus, changes: dict[str, Any], engine: str | None, step: int | None = None
) -> Trainer:
    """The run in `folder` at its last checkpoint, with the settings in `changes`.

    step: use the kept checkpoint of that step instead, and forget the best evaluation.
    """
    before, tokenizer = folder.config(), folder.tokenizer()
    changes = merge_settings({}, changes)
    config = changed(before, changes, engine)
    check_unchanged(corpus, config.source, "pass the original data as `docs`, or start a new run")
    request_of(config.sample, tokenizer, config.model.block_size)
    if ranks.rank() == 0:
        folder.lock()
    contexts = folder.contexts(config, tokenizer)
    encoded = Encoded(corpus, config.data, config.train.seed, tokenizer)
    trainer, rng = _assemble(config, encoded, changes, contexts)
    config = trainer.config
    longest = max(before, config, key=lambda one: one.train.steps)
    state = folder.trainer_state(longest, tokenizer, step)
    if state.done > config.train.steps:
        raise UsageError(
            f"steps: expected at least {state.done}, the completed steps of {folder.path}, got "
            f"{config.train.steps}"
        )
    rng.restore(state.rng)
    trainer.engine.load(state.snapshot)
    trainer.folder, trainer.done, trainer.saved_at = folder, state.done, time.monotonic()
    trainer.losses = state.losses or LossMeans()
    if config.base is not None and trainer.known is not None:
        trainer.known = folder.known(config, tokenizer) or trainer.known
    if step is None:
        trainer.saved = state.done
        if trainer.validation is not None and state.best is not None:
            trainer.validation.best = state.best
            if state.losses is None:
                trainer.reevaluate_best()
    return trainer


def changed(config: RunConfig, changes: dict[str, Any], engine: str | None) -> RunConfig:
    """The settings of a run with some replaced; UsageError for those that cannot change in a run."""
    for name in changes:
        if section_of(name) in ("model", "data") or name in FIXED:
            raise UsageError(f"resume: {name} cannot change within a run; start a new one with `out`")
    return config.replace(
        engine=engine or config.engine,
        train=config.train.replace(**section_values(changes, "train")),
        sample=config.sample.replace(**section_values(changes, "sample")),
    )


def build_engine(config: RunConfig, contexts: Contexts | None = None, *, inference: bool = False) -> Engine:
    """The engine of a run, before its parameters are loaded; inference: as Engine.inference."""
    return make_engine(config.engine, config.model, config.train, contexts, inference=inference)


def with_engine(config: RunConfig, engine: str) -> RunConfig:
    """The settings of a run on another engine, with a dtype that it supports."""
    train = config.train.replace(**default_dtype(engine, config.train.values(), is_set=False))
    return config.replace(engine=engine, train=train)


def default_dtype(engine: str, settings: dict[str, Any], is_set: bool) -> dict[str, Any]:
    """The settings with a dtype that the engine supports. is_set: the user set a dtype, which is kept."""
    dtypes = engine_class(engine).dtypes
    if is_set or settings["dtype"] in dtypes:
        return settings
    return {**settings, "dtype": dtypes[0]}


def _assemble(
    config: RunConfig, encoded: Encoded, given: Mapping[str, Any], contexts: Contexts | None = None
) -> tuple[Trainer, RunRng]:
    """A trainer before step 1, and its generator after the shuffle.

    given: settings, whose `epochs` or `seconds` override config's steps; contexts: of a saved run; None to
    find them in the data, if the settings want any.
    """
    rng, block_size = make_rng(config.train.rng, config.train.seed), config.model.block_size
    count = len(encoded.training)
    order = rng.permutation(count) if config.data.shuffle else array("I", range(count))
    plan = plan_of_sequences(encoded.ids, config.data, config.train, block_size, order)
    if contexts is None and config.model.ngram_orders is not None:
        contexts = find_contexts(plan, config.model, config.data)
        config = config.replace(model=config.model.replace(ngram_rows=contexts.sizes))
    if (steps := _steps(config, plan, given)) != config.train.steps:
        config = config.replace(train=config.train.replace(steps=steps))
    validation = sample = None
    if encoded.held_out:
        from motegpt.training.validation import Validation

        validation = Validation(_with_targets(encoded.validation(block_size)), config.train.patience)
        sample = encoded.training_sample(block_size) if encoded.tokenizer.is_ids else None
    engine, cut = build_engine(config, contexts), encoded.cut(block_size, config.data.cut)
    config = config.replace(level=engine.level(config.train.level) or None)
    trainer = Trainer(config, encoded.tokenizer, plan, engine, rng, validation, cut, encoded.identical)
    trainer.training_sample = sample
    if config.train.kneser_ney is not None:
        from motegpt.training.averaging import Averaging, count_n_grams

        n_grams = count_n_grams(encoded.training, encoded.tokenizer, config.train.kneser_ney)
        trainer.averaging = Averaging(n_grams, config.train.kneser_ney_weight)
    if config.sample.novel and not config.data.is_stream:
        trainer.known = HashedTexts.of(encoded.corpus.documents)
    return trainer, rng


def _with_targets(data: ValidationSet) -> ValidationSet:
    """The validation set; DataError if a mask leaves none of its targets."""
    if not data.targets:
        raise DataError(
            "mask: expected at least one unmasked target in the validation data, got none; try a larger "
            "`val_fraction`"
        )
    return data


def find_contexts(plan: Plan, model: ModelConfig, data: DataConfig) -> Contexts:
    """The contexts of the n-gram embedding in the data of a plan; none longer than the block."""
    assert model.ngram_orders is not None
    return Contexts.of_plan(plan, min(model.ngram_orders, model.block_size), data.ngram_min_count)


def _steps(config: RunConfig, plan: Plan, given: Mapping[str, Any]) -> int:
    """The number of steps in the given `epochs` or `seconds`, else those of the settings."""
    epochs, seconds = epochs_of(given), seconds_of(given)
    if epochs is not None:
        return epochs_to_steps(epochs, plan.epoch)
    if seconds is not None:
        level = engine_class(config.engine).level(config.train.level)
        return seconds_to_steps(seconds, config.engine, level, config.model, config.train, plan)
    return config.train.steps
