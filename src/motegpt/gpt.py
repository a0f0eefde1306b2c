"""The Python API: train, generate, save and load, a line each."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from motegpt.checkpoint import RunFolder
from motegpt.config import SampleConfig, section_of
from motegpt.documents import corpus_of, read_corpus
from motegpt.engines import check_settings, default_engine
from motegpt.errors import SettingError
from motegpt.presets import DEFAULT_PRESET, settings_of
from motegpt.rng import Lcg
from motegpt.sampling import generate
from motegpt.train import StepRecord, Trainer, engine_from, fitting_dtype, prepare

if TYPE_CHECKING:
    from motegpt.checkpoint import RunConfig
    from motegpt.engines.base import Engine
    from motegpt.tokenizer import Tokenizer


class GPT:
    """A trained model.

    >>> model = GPT.train(["anna", "hanna", "nan"], steps=20, seed=1)
    >>> names = model.generate(n=3, seed=7)
    >>> model.save("names")                                                     # doctest: +SKIP
    """

    def __init__(self, config: RunConfig, tokenizer: Tokenizer, engine: Engine) -> None:
        self.config, self.tokenizer, self.engine = config, tokenizer, engine
        self.records: list[StepRecord] = []
        self._trainer: Trainer | None = None

    @classmethod
    def train(
        cls,
        docs: Iterable[str] | str | Path | None = None,
        *,
        preset: str = DEFAULT_PRESET,
        engine: str | None = None,
        **settings: Any,
    ) -> Self:
        """Train on documents, on the lines of a file, or on the built-in names.

        `settings` are those of motegpt.config by name, laid over the preset; engine None takes the fastest
        that is installed. The logged steps are kept in
        `records`. Raises SettingError, DataError, EngineUnavailable or TrainingDiverged.
        """
        engine = engine or default_engine()
        merged = fitting_dtype(engine, {**settings_of(preset), **settings}, asked="dtype" in settings)
        for name in settings:
            section_of(name)
        check_settings(engine, settings)
        if "vocab_size" in settings:
            raise SettingError("vocab_size is found from the data and cannot be set")
        deduplicate = bool(merged.get("deduplicate", False))
        from_file = docs is None or isinstance(docs, str | Path)
        corpus = read_corpus(docs, deduplicate) if from_file else corpus_of(list(docs), deduplicate)  # type: ignore[arg-type]
        trainer = prepare(corpus, merged, engine)
        records = [record for chunk in trainer.run() for record in chunk.records]
        model = cls(trainer.config, trainer.tokenizer, trainer.engine)
        model.records, model._trainer = records, trainer
        return model

    @classmethod
    def load(cls, path: str | Path, engine: str | None = None) -> Self:
        """The model in a run folder; RunFolderError if there is none, or it is damaged."""
        folder = RunFolder(path)
        config, tokenizer = folder.config(), folder.tokenizer()
        config = config.replace(
            train=config.train.replace(device=None)
        )  # the one it was trained on may be gone
        if engine is not None:
            train = config.train.replace(**fitting_dtype(engine, config.train.values(), asked=False))
            config = config.replace(engine=engine, train=train)
        parameters = folder.parameters(config, tokenizer)
        model = cls(config, tokenizer, engine_from(config))
        model.engine.load(parameters)
        return model

    def generate(self, n: int | None = None, *, seed: int | None = None, **settings: Any) -> list[str]:
        """n texts. The same seed gives the same texts; None draws a new one.

        `settings` are those of SampleConfig (temperature, prefix); what is not given is as the model was
        trained. Text i depends on the seed and on i alone. Raises SettingError or PrefixError.
        """
        given = {**settings, **({} if n is None else {"n": n})}
        sample = SampleConfig.of({**self.config.sample.values(), **given})
        if seed is not None and type(seed) is not int:
            raise SettingError(f"seed: expected a whole number, got {seed!r}")
        root = secrets.randbits(64) if seed is None else seed
        rngs = [Lcg.stream(root, i) for i in range(sample.n)]
        return generate(self.engine, self.tokenizer, sample, rngs)

    def save(self, path: str | Path, overwrite: bool = False) -> None:
        """Write a run folder that `load` and `motegpt sample` read; a model trained here can be resumed.

        Raises RunFolderError if one is there already, unless `overwrite`.
        """
        folder = RunFolder.create(path, self.config, self.tokenizer, overwrite)
        if self._trainer is None:
            folder.save_parameters(self.engine.export()[0], self.tokenizer)
            return
        folder.append_metrics(vars(record) for record in self.records)
        self._trainer.folder = folder
        self._trainer.save()
