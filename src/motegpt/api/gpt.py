"""The Python API: train, generate, save and load, a line each."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import closing
from threading import Lock
from typing import TYPE_CHECKING, Any, Self

from motegpt.api.onclass import on_class
from motegpt.api.training import Training
from motegpt.api.warn import warn
from motegpt.config.arguments import flag, functions, path_of, strings
from motegpt.config.fields import checked_seed, current_names, kinds, plain, unknown_setting
from motegpt.config.sections import REQUESTS, SampleConfig
from motegpt.config.text import concise
from motegpt.data.documents import normalize_document, normalize_sample_texts
from motegpt.data.source import training_documents
from motegpt.data.split import split
from motegpt.errors import (
    DataError,
    RunFolderError,
    SettingError,
    TrainingInterrupted,
    UsageError,
)
from motegpt.evaluation.nll import Evaluation, Score, evaluate, score_texts
from motegpt.model.spec import parameter_count
from motegpt.sampling.collect import draw_texts
from motegpt.sampling.training_texts import TrainingTexts
from motegpt.training.begin import AnyPath, Documents, begin
from motegpt.training.build import build_engine, default_dtype
from motegpt.training.loop import Trainer
from motegpt.training.records import StepRecord
from motegpt.training.run_folder import RunFolder

if TYPE_CHECKING:
    from motegpt.data.tokenizers import Tokenizer
    from motegpt.engines.base import Engine
    from motegpt.training.state import RunConfig

Callback = Callable[[StepRecord], object]
NOT_COPIED = {"engine", "_trainer", "_done", "_documents", "_lock"}  # attributes of a model


class GPT:
    """A trained model. Several threads may use it; copies and pickles of it hold what `save` writes.

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

    def __init__(
        self,
        config: RunConfig,
        tokenizer: Tokenizer,
        engine: Engine,
        *,
        records: Iterable[StepRecord] = (),
        trainer: Trainer | None = None,
        documents: Sequence[str] | None = None,
    ) -> None:
        """trainer, documents: of the training that made the model, if it was made here."""
        self.config, self.tokenizer, self.engine = config, tokenizer, engine
        self.records = list(records)
        self._trainer, self._documents = trainer, documents
        self._done = 0 if trainer is None else trainer.done  # whether that has gone on since
        self._lock = Lock()  # held by the thread that uses the engine

    def __getstate__(self) -> dict[str, Any]:
        """What a copy or a pickle holds: what `save` writes, and not the documents or the training."""
        with self._lock:
            parameters = self.engine.export().parameters
        kept = {name: value for name, value in vars(self).items() if name not in NOT_COPIED}
        return {**kept, "parameters": parameters}

    def __setstate__(self, state: dict[str, Any]) -> None:
        kept = dict(state)
        parameters, config = kept.pop("parameters"), without_device(kept.pop("config"))
        GPT.__init__(self, config, kept.pop("tokenizer"), build_engine(config))
        self.engine.load(parameters)
        vars(self).update(kept)

    def __repr__(self) -> str:
        model, last = self.config.model, self.records[-1] if self.records else None
        shape = {name: getattr(model, name) for name in ("n_layer", "n_embd", "block_size")}
        values = {"parameters": parameter_count(model), **shape, "engine": self.config.engine}
        return concise(type(self).__name__, {**values, "loss": None if last is None else last.mean_loss})

    @on_class
    def train(
        cls,
        docs: Documents = None,
        *,
        preset: str | None = None,
        engine: str | None = None,
        out: AnyPath | None = None,
        overwrite: bool = False,
        resume: AnyPath | None = None,
        checkpoint: int | None = None,
        callbacks: Callback | Iterable[Callback] = (),
        **settings: Any,
    ) -> Self:
        """Train on documents, on a file of them (text, CSV, JSONL), or on the built-in names.

        With format="stream" the file, or the documents joined by newlines, are one text to be continued.
        Where something is held out (val_fraction), the model is the best by it.

        settings: those of motegpt.config by name, laid over the preset, or over those of a run that goes on.
        engine: the fastest that is installed, if None.
        out: a run folder to save to on the way; with `overwrite` it may replace a run.
        resume: the folder of a run to go on with; its data are read again unless they are given. checkpoint:
        the step of one that was kept, to go back to.
        callbacks: a function, or several, called with the record of every logged step; one that returns True
        ends the training there.

        Raises SettingError, DataError, EngineUnavailable, RunFolderError, TrainingDiverged or, on a device
        that is too small, OutOfMemory. What should be known beforehand, as that documents are cut, is a
        UserWarning; that its last losses are far above guessing, a RuntimeWarning.
        """
        called = functions("callbacks", callbacks)
        training = cls.training(
            docs,
            preset=preset,
            engine=engine,
            out=out,
            overwrite=overwrite,
            resume=resume,
            checkpoint=checkpoint,
            **settings,
        )
        try:
            with closing(iter(training)) as records:
                for record in records:
                    answers = [plain(callback(record)) for callback in called]
                    if any(answer is True for answer in answers):
                        break
        except TrainingInterrupted:
            raise
        except KeyboardInterrupt:  # in a callback, or in the middle of a step
            if training.is_torn:
                raise
            raise training.interruption() from None
        return training.model

    @on_class
    def training(
        cls,
        docs: Documents = None,
        *,
        preset: str | None = None,
        engine: str | None = None,
        out: AnyPath | None = None,
        overwrite: bool = False,
        resume: AnyPath | None = None,
        checkpoint: int | None = None,
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
        settings = current_names(settings)
        _check_names(settings, [name for one in REQUESTS.values() for name in kinds(one)], cls.train)
        trainer, corpus, remarks = begin(
            docs,
            settings,
            preset=preset,
            engine=engine,
            out=out,
            overwrite=overwrite,
            resumed=resume,
            checkpoint=checkpoint,
        )
        for remark in remarks:
            warn(remark, UserWarning)
        return Training(cls, trainer, corpus.documents)

    @on_class
    def load(cls, path: AnyPath, engine: str | None = None, checkpoint: str | int | None = None) -> Self:
        """The model in a run folder; RunFolderError if there is none, or it is damaged.

        checkpoint: "best" by the held-out data, "last", or the step of a kept one; None takes the best
        where something was held out, else the last.
        """
        folder, engine = RunFolder(path_of("load", path, RunFolderError)), plain(engine)
        config, tokenizer = without_device(folder.config()), folder.tokenizer()
        if engine is not None:
            train = config.train.replace(**default_dtype(engine, config.train.values(), is_set=False))
            config = config.replace(engine=engine, train=train)
        parameters = folder.parameters(config, tokenizer, checkpoint)
        model = cls(config, tokenizer, build_engine(config))
        model.engine.load(parameters)
        return model

    def generate(
        self,
        n: int | None = None,
        *,
        seed: int | None = None,
        unique: bool = False,
        novel: bool = False,
        data: AnyPath | None = None,
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
        data: AnyPath | None = None,
        **settings: Any,
    ) -> Iterator[list[str]]:
        """The texts of `generate` in groups, each as soon as it is drawn; at most `beams` with beams.

        With on_cut="mark" every text has an attribute `cut`: whether the end of the block cut it off.
        """
        _check_names(settings, kinds(SampleConfig), self.samples)
        given = {**settings, **({} if n is None else {"n": n})}
        sample = SampleConfig.of({**self.config.sample.values(), **given})
        sample = normalize_sample_texts(sample, self.config.data)
        if "beams" in settings and n is not None and sample.beams is not None and n > sample.beams:
            raise SettingError(f"n: expected at most beams = {sample.beams}, got {n}; try `beams={n}`")
        root = secrets.randbits(64) if seed is None else checked_seed(seed)
        unique, novel = flag("unique", unique), flag("novel", novel)
        if data is not None and not novel:
            raise UsageError("data: the training data are for `novel`; expected both or neither")
        known = TrainingTexts(self._training_documents(data), self.tokenizer) if novel else None
        return self._in_turn(draw_texts(self.engine, self.tokenizer, sample, root, unique, known))

    def _in_turn(self, groups: Iterator[list[str]]) -> Iterator[list[str]]:
        """The groups, each drawn while no other thread uses the engine, which is free in between."""
        while True:
            with self._lock:
                group = next(groups, None)
            if group is None:
                return
            yield group

    def _training_documents(self, data: AnyPath | None = None) -> Sequence[str]:
        """The documents of the run: in memory after a training, read again after loading."""
        if data is None and self._documents is not None:
            return self._documents
        path = None if data is None else path_of("data", data, DataError)
        return training_documents(self.config.source, self.config.data, path)

    def score(self, texts: Iterable[str]) -> list[Score]:
        """How likely the model finds each text: log-probability in nats, and bits per character.

        Its own probabilities, at temperature 1 and with no filters, the end of the text included; a text
        with a character that the model never saw has probability zero. Texts are brought into the form of
        the training texts first: stripped, and normalized if those were.
        """
        found = [normalize_document(text, self.config.data) for text in strings("score", texts)]
        with self._lock:
            return score_texts(self.engine, self.tokenizer, found)

    def evaluate(self, docs: Iterable[str]) -> Evaluation:
        """The loss on documents, in nats a token and in bits a character.

        Beside uniform, unigram, bigram and trigram predictors, if the training data can be read again.
        """
        docs = [normalize_document(text, self.config.data) for text in strings("evaluate", docs)]
        try:
            known = self._training_documents()
            learned: Sequence[str] = split(known, self.config.data, self.config.train.seed)[0]
        except DataError:
            learned = []
        with self._lock:
            return evaluate(self.engine, self.tokenizer, docs, learned)

    def save(self, path: AnyPath, overwrite: bool = False) -> None:
        """Write a run folder that `load` and `motegpt sample` read.

        A model trained here can be resumed, unless its training has gone on since. Raises RunFolderError if
        a run is there already, unless `overwrite`.
        """
        place, overwrite = path_of("save", path, RunFolderError), flag("overwrite", overwrite)
        folder = RunFolder.create(place, self.config, self.tokenizer, overwrite)
        try:
            folder.append_metrics(record.values() for record in self.records)
            if self._trainer is not None and self._trainer.done == self._done:
                self._trainer.save_copy(folder)
            with self._lock:
                parameters = self.engine.export().parameters
            folder.save_parameters(parameters, self.tokenizer)
        finally:
            folder.unlock()


def without_device(config: RunConfig) -> RunConfig:
    """The settings without their device, as the one a model was trained on may not be here."""
    return config.replace(train=config.train.replace(device=None))


def _check_names(given: Iterable[str], known: Collection[str], method: Callable[..., object]) -> None:
    """SettingError for a keyword that is no setting; it may have been meant for an argument of the method."""
    unknown = [name for name in given if name not in known]
    if unknown:
        from inspect import signature

        arguments = [one.name for one in signature(method).parameters.values() if one.kind != one.VAR_KEYWORD]
        raise unknown_setting(unknown[0], [*known, *arguments])
