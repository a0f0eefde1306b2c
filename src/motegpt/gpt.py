"""The Python API: train, generate, save and load, a line each."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from motegpt.checkpoint import RunFolder
from motegpt.config import DataConfig, SampleConfig, section_of, section_values
from motegpt.documents import corpus_of, read_corpus
from motegpt.engines import check_settings, default_engine
from motegpt.errors import DataError, SettingError
from motegpt.evaluate import Evaluation, Score, evaluate, score_texts
from motegpt.presets import DEFAULT_PRESET, settings_of
from motegpt.sampling import draw_texts
from motegpt.sampling.known import Known, known_documents
from motegpt.settings import shortened
from motegpt.split import split
from motegpt.train import StepRecord, Trainer, engine_from, fitting_dtype, prepare

if TYPE_CHECKING:
    from motegpt.engines.base import Engine
    from motegpt.state import RunConfig
    from motegpt.tokenizer import Tokenizer

Documents = Iterable[str] | str | Path | None
Callback = Callable[[StepRecord], object]
Model = TypeVar("Model", bound="GPT")


class GPT:
    """A trained model.

    >>> model = GPT.train(["anna", "hanna", "nan"], steps=50, seed=1, engine="array")
    >>> model.generate(n=3, seed=7)
    ['nan', 'nan', 'nanna']
    >>> model.generate(n=2, seed=7, prefix="ha", unique=True)
    ['hanna', 'han']
    >>> [score.text for score in model.score(["hanna", "nnh"]) if score.bits_per_character < 2]
    ['hanna']
    >>> model.save("runs/anna")                                                 # doctest: +SKIP
    >>> model = GPT.load("runs/anna")                                           # doctest: +SKIP

    records: the logged steps, if it was trained here.
    """

    def __init__(self, config: RunConfig, tokenizer: Tokenizer, engine: Engine) -> None:
        self.config, self.tokenizer, self.engine = config, tokenizer, engine
        self.records: list[StepRecord] = []
        self._trainer: Trainer | None = None
        self._done = 0  # how far that was when it made this model
        self._documents: list[str] | None = None

    @classmethod
    def train(
        cls,
        docs: Documents = None,
        *,
        preset: str = DEFAULT_PRESET,
        engine: str | None = None,
        out: str | Path | None = None,
        callbacks: Sequence[Callback] = (),
        **settings: Any,
    ) -> Self:
        """Train on documents, on a file of them (text, CSV, JSONL), or on the built-in names.

        With format="stream" the file, or the documents joined by newlines, are one text to be continued.
        `settings` are those of motegpt.config by name, laid over the preset; engine None takes the fastest
        that is installed. out: a run folder to save to on the way. Each callback is called with the record
        of every logged step; one that returns True ends the training there. Where something is held out
        (val_fraction), the model is the best by it. Raises SettingError, DataError, EngineUnavailable,
        RunFolderError, TrainingDiverged or, on a device that is too small, OutOfMemory.
        """
        training = cls.training(docs, preset=preset, engine=engine, out=out, **settings)
        for record in training:
            answers = [callback(record) for callback in callbacks]
            if any(answer is True for answer in answers):
                break
        return training.model

    @classmethod
    def training(
        cls,
        docs: Documents = None,
        *,
        preset: str = DEFAULT_PRESET,
        engine: str | None = None,
        out: str | Path | None = None,
        **settings: Any,
    ) -> Training[Self]:
        """The same, step by step: iterate over it for the records, and take its `model` when you like.

        >>> training = GPT.training(["anna", "hanna"], steps=40, log_every=20, engine="array")
        >>> for record in training:
        ...     print(record.step, f"{record.loss:.1f}")
        1 1.5
        20 0.3
        40 0.1
        >>> model = training.model
        """
        engine = engine or default_engine()
        for name in settings:
            section_of(name)
        check_settings(engine, settings)
        if "vocab_size" in settings:
            raise SettingError("vocab_size is found from the data and cannot be set")
        merged = fitting_dtype(engine, {**settings_of(preset), **settings}, asked="dtype" in settings)
        data = DataConfig.of(section_values(merged, "data"))
        from_file = docs is None or isinstance(docs, str | Path)
        if not (from_file or isinstance(docs, Iterable)):
            raise DataError(f"documents: expected strings, or the name of a file, got {shortened(docs)}")
        corpus = read_corpus(docs, data) if from_file else corpus_of(list(docs), data)  # type: ignore[arg-type]
        trainer = prepare(corpus, merged, engine)
        if out is not None:
            trainer.folder = RunFolder.create(out, trainer.config, trainer.tokenizer)
        return Training(cls, trainer, corpus.documents)

    @classmethod
    def load(cls, path: str | Path, engine: str | None = None, checkpoint: str | int | None = None) -> Self:
        """The model in a run folder; RunFolderError if there is none, or it is damaged.

        checkpoint: "best" by the held-out data, "last", or the step of a kept one; None takes the best
        where something was held out, else the last.
        """
        folder = RunFolder(path)
        config, tokenizer = folder.config(), folder.tokenizer()
        train = config.train.replace(device=None)  # the one it was trained on may be gone
        if engine is not None:
            train = train.replace(**fitting_dtype(engine, train.values(), asked=False))
        config = config.replace(engine=engine or config.engine, train=train)
        parameters = folder.parameters(config, tokenizer, checkpoint)
        model = cls(config, tokenizer, engine_from(config))
        model.engine.load(parameters)
        return model

    def generate(
        self,
        n: int | None = None,
        *,
        seed: int | None = None,
        unique: bool = False,
        novel: bool = False,
        data: str | Path | None = None,
        **settings: Any,
    ) -> list[str]:
        """n texts. The same seed gives the same texts; None draws a new one.

        `settings` are those of SampleConfig; what is not given is as the model was trained. unique: no text
        twice; novel: none from the training data, which are read again, or from the file `data`. Candidate i
        depends on the seed and on i alone, and the texts are the first n that may be kept. Raises
        SettingError, PrefixError, DataError or, after `tries` texts in a row that could not, TriesExhausted.
        """
        groups = self.samples(n, seed=seed, unique=unique, novel=novel, data=data, **settings)
        return [text for group in groups for text in group]

    def samples(
        self,
        n: int | None = None,
        *,
        seed: int | None = None,
        unique: bool = False,
        novel: bool = False,
        data: str | Path | None = None,
        **settings: Any,
    ) -> Iterator[list[str]]:
        """The texts of `generate` in groups, each as soon as it is drawn; at most `beams` with beams.

        With on_cut="mark" every text has an attribute `cut`: whether the end of the block cut it off.
        """
        given = {**settings, **({} if n is None else {"n": n})}
        sample = SampleConfig.of({**self.config.sample.values(), **given})
        if "beams" in settings and n is not None and sample.beams is not None and n > sample.beams:
            raise SettingError(f"n: expected at most beams = {sample.beams}, got {n}; try `beams={n}`")
        if seed is not None and type(seed) is not int:
            raise SettingError(f"seed: expected a whole number, got {seed!r}")
        root = secrets.randbits(64) if seed is None else seed
        known = Known(self._known_documents(data), self.tokenizer) if novel else None
        return draw_texts(self.engine, self.tokenizer, sample, root, unique, known)

    def _known_documents(self, data: str | Path | None) -> list[str]:
        """What the model was made from: at hand after a training, read again after loading."""
        if self._documents is not None and data is None:
            return self._documents
        return known_documents(self.config, data)

    def score(self, texts: Sequence[str]) -> list[Score]:
        """How likely the model finds each text: log-probability in nats, and bits a character.

        Its own probabilities, at temperature 1 and with no filters, the end of the text included; a text
        with a character that the model never saw has probability zero.
        """
        return score_texts(self.engine, self.tokenizer, _strings("score", texts))

    def evaluate(self, docs: Iterable[str]) -> Evaluation:
        """The loss on documents, in nats a token and in bits a character.

        Beside uniform, unigram, bigram and trigram predictors, if the training data can be read again.
        """
        docs = _strings("evaluate", docs)
        try:
            learned, _ = split(self._known_documents(None), self.config.data, self.config.train.seed)
        except DataError:
            learned = []
        return evaluate(self.engine, self.tokenizer, docs, learned)

    def save(self, path: str | Path, overwrite: bool = False) -> None:
        """Write a run folder that `load` and `motegpt sample` read.

        A model trained here can be resumed, unless its training has gone on since. Raises RunFolderError if
        a run is there already, unless `overwrite`.
        """
        folder = RunFolder.create(path, self.config, self.tokenizer, overwrite)
        folder.append_metrics(record.values() for record in self.records)
        if self._trainer is not None and self._trainer.done == self._done:
            self._trainer.save_to(folder)
        folder.save_parameters(self.engine.export()[0], self.tokenizer)


class Training(Generic[Model]):
    """A training in progress: iterate for the records of the logged steps.

    Leaving the loop stops it, and saves it if it has a folder; iterating again goes on. `model` is what it
    has made so far: the best by what was held out, or the newest. `records` are those of all steps done.
    """

    def __init__(self, kind: type[Model], trainer: Trainer, documents: list[str]) -> None:
        self._kind, self._trainer, self._documents = kind, trainer, documents
        self._trainer.by_record = True
        self.records: list[StepRecord] = []

    def __iter__(self) -> Iterator[StepRecord]:
        with closing(self._trainer.run()) as chunks:
            for chunk in chunks:
                self.records += chunk.records
                yield from chunk.records

    @property
    def model(self) -> Model:
        """The model so far. It keeps its parameters if the training goes on."""
        trainer = self._trainer
        engine = engine_from(trainer.config)
        engine.load(trainer.best_parameters())
        model = self._kind(trainer.config, trainer.tokenizer, engine)
        model.records, model._documents = list(self.records), self._documents
        model._trainer, model._done = trainer, trainer.done
        return model


def _strings(what: str, texts: Iterable[str]) -> list[str]:
    """The texts as a list; DataError for one alone, which is a sequence of strings too, or for no strings."""
    found = [] if isinstance(texts, str) else list(texts)
    if isinstance(texts, str) or not all(isinstance(text, str) for text in found):
        raise DataError(f"{what}: expected a list of strings, got {shortened(texts)}")
    return found
