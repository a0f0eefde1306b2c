"""The Python API: train, generate, score, evaluate, save and load."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Container, Iterable, Iterator, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Self

from motegpt.api.class_only import class_only
from motegpt.api.exchange import Exchange
from motegpt.api.fine_tuning import FineTuning
from motegpt.api.loaded import Loaded
from motegpt.api.notebook import form, report_facts
from motegpt.api.progress import display_for
from motegpt.api.requests import Requests, prepared_request
from motegpt.api.training import Callback, Training, completed, prepared
from motegpt.api.warn import warn
from motegpt.config.arguments import flag, functions, path_of, strings
from motegpt.config.fields import checked_seed, plain
from motegpt.config.text import concise
from motegpt.data.documents import normalize_document
from motegpt.data.ids.documents import IdDocuments
from motegpt.data.ids.given import source_of
from motegpt.data.source import training_documents
from motegpt.data.split import split
from motegpt.engines import averaged
from motegpt.errors import (
    DataError,
    RunFolderError,
    TriesExhausted,
    UsageError,
)
from motegpt.evaluation.nll import Evaluation, Scores, evaluate, score_texts
from motegpt.model.spec import parameter_count
from motegpt.sampling.collect import draw_texts
from motegpt.sampling.training_texts import HashedTexts, TrainingTexts
from motegpt.system.runs import ENDING
from motegpt.training.begin import AnyPath, Documents
from motegpt.training.build import build_engine, with_engine
from motegpt.training.loop import Trainer
from motegpt.training.records import Report, StepRecord
from motegpt.training.run_archive import folder_for
from motegpt.training.run_folder import RunFolder
from motegpt.training.write_run import Trained

if TYPE_CHECKING:
    from motegpt.data.tokenizers import Tokenizer
    from motegpt.engines.base import Engine, LanguageModel
    from motegpt.ngrams.average import Average
    from motegpt.training.state import RunConfig

# Attributes left out of copies.
NOT_COPIED = {"engine", "_trainer", "_done", "_step", "_loaded", "_documents", "_lock", "_requests"}


class GPT(FineTuning, Exchange):
    """A trained GPT: make one with GPT.train, GPT.training, GPT.load or GPT.from_hf.

    A model may be used from several threads, which take turns. Copies and pickles hold its parameters,
    settings, tokenizer and records, but neither the documents nor the state of the training.

    >>> model = GPT.train(["anna", "hanna", "nan"], steps=50, seed=1, engine="array", preset="microgpt")
    >>> model.generate(n=3, seed=7)
    ['nan', 'nan', 'nanna']
    >>> model.generate(n=2, seed=7, prefix="ha", unique=True)
    ['hanna', 'han']
    >>> [score.text for score in model.score(["hanna", "nnh"]) if score.bits_per_character < 2]
    ['hanna']
    >>> model.save("runs/anna")                                                 # doctest: +SKIP
    >>> model = GPT.load("runs/anna")                                           # doctest: +SKIP

    config: the settings, a RunConfig; tokenizer: the mapping between characters and ids; engine: the compute
    engine, which holds the parameters; records: the logged steps, empty for a loaded model; average: the
    n-grams that the GPT is averaged with (`kneser_ney`), and their weight; report: what a complete training
    with the preset "auto" measured, a Report: bits per character of Kneser-Ney n-grams, a uniform guess, the
    GPT and both, the novelty of samples, the weight; None for a loaded model and for a named preset.
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
        average: Average | None = None,
        known: HashedTexts | None = None,
        report: Report | None = None,
    ) -> None:
        """trainer, documents: of the training that made the model; None if it was loaded.

        known: the training texts of a run that excludes them from its samples.
        """
        self.config, self.tokenizer, self.engine, self.average = config, tokenizer, engine, average
        self.records, self.report = list(records), report
        self._trainer, self._documents, self.known = trainer, documents, known
        self._done = 0 if trainer is None else trainer.done  # the step of this model
        best = None if trainer is None else trainer.best
        self._step = self._done if best is None else best.step  # the step of its parameters
        self._loaded: Loaded | None = None
        self._requests = Requests()
        self._lock = Lock()  # held while a thread uses the engine

    @property
    def language_model(self) -> LanguageModel:
        """The model that generates and scores: the engine, averaged with n-grams if there are any."""
        return averaged(self.engine, self.average)

    def __getstate__(self) -> dict[str, Any]:
        """The contents of a copy or a pickle: all attributes but NOT_COPIED, and the parameters."""
        with self._lock:
            parameters = self.engine.parameters()
        kept = {name: value for name, value in vars(self).items() if name not in NOT_COPIED}
        return {**kept, "parameters": parameters, "contexts": self.engine.contexts}

    def __setstate__(self, state: dict[str, Any]) -> None:
        kept = dict(state)
        parameters, config = kept.pop("parameters"), without_device(kept.pop("config"))
        engine = build_engine(config, kept.pop("contexts"), inference=True)
        GPT.__init__(self, config, kept.pop("tokenizer"), engine)
        self.engine.load(parameters)
        vars(self).update(kept)

    def __repr__(self) -> str:
        model, last = self.config.model, self.records[-1] if self.records else None
        shape = {name: getattr(model, name) for name in ("n_layer", "n_embd", "block_size")}
        values = {"parameters": parameter_count(model), **shape, "engine": self.config.engine}
        return concise(type(self).__name__, {**values, "loss": None if last is None else last.mean_loss})

    def _repr_html_(self) -> str:
        """The summary that notebooks show."""
        rows = report_facts(self.report)
        return form(type(self).__name__, self.config, self.tokenizer, self.records, self.average, rows)

    @class_only
    def train(
        cls,
        docs: Documents = None,
        *,
        ids: Any = None,
        mask: Any = None,
        vocab_size: int | None = None,
        preset: str | None = None,
        engine: str | None = None,
        out: AnyPath | None = None,
        overwrite: bool = False,
        resume: AnyPath | None = None,
        checkpoint: int | None = None,
        callbacks: Callback | Iterable[Callback] = (),
        progress: bool | None = None,
        **settings: Any,
    ) -> Self:
        """Train a model and return it.

        docs: strings; a file (text, CSV, JSONL) or folder of documents, or several as paths; None: the
        built-in names, or the data of the resumed run. With format="stream", a file or the documents joined
        by newlines are one continuous text.
        ids: instead of docs, sequences of token ids: an array (N, T) of integers, or lists; a flat list is
        one long sequence. mask: for each id, or each but the first of a sequence, whether it counts in the
        loss as a target, or its weight there (default: all are 1). vocab_size: above every id (default: the
        largest plus one).
        preset: a named set of settings. engine: the compute engine (default: the fastest installed).
        out: a run folder for checkpoints; overwrite: whether it may replace an existing run.
        resume: the folder of a run to continue; checkpoint: the step of a kept checkpoint to continue from
        (default: the last).
        callbacks: a function or several, called with the StepRecord of each logged step, losses in nats per
        token; training stops if one returns True.
        progress: whether to show the progress in a notebook or on a terminal (standard error); None: after
        half a second; True: at once.
        settings: fields of ModelConfig, DataConfig, TrainConfig and SampleConfig by name; they override the
        preset, or the settings of the resumed run.

        With a validation set (val_fraction), the model is the best evaluated on it, else the last.

        Raises SettingError, DataError, EngineUnavailable, LibraryUnavailable, RunFolderError, UsageError
        (arguments that exclude each other, or a completed run), TrainingDiverged, OutOfMemory, and
        TrainingInterrupted on Ctrl-C. Warns with UserWarning before training, for example of truncated
        documents, and with RuntimeWarning if the last losses are far above that of uniform guessing.
        """
        hooks, display = functions("callbacks", callbacks), display_for(progress)
        training = cls.training(
            docs,
            ids=ids,
            mask=mask,
            vocab_size=vocab_size,
            preset=preset,
            engine=engine,
            out=out,
            overwrite=overwrite,
            resume=resume,
            checkpoint=checkpoint,
            **settings,
        )
        return completed(training, hooks, display)

    @class_only
    def training(
        cls,
        docs: Documents = None,
        *,
        ids: Any = None,
        mask: Any = None,
        vocab_size: int | None = None,
        preset: str | None = None,
        engine: str | None = None,
        out: AnyPath | None = None,
        overwrite: bool = False,
        resume: AnyPath | None = None,
        checkpoint: int | None = None,
        **settings: Any,
    ) -> Training[Self]:
        """Prepare a training to iterate over; arguments, errors and warnings are those of `train`.

        The Training yields a StepRecord for each logged step; its `model` is the model so far.

        >>> few = {"steps": 40, "log_every": 20, "engine": "array"}
        >>> training = GPT.training(["anna", "hanna"], preset="microgpt", **few)
        >>> for record in training:
        ...     print(record.step, f"{record.loss:.1f}")
        1 1.5
        20 0.3
        40 0.1
        >>> model = training.model
        """
        return prepared(
            cls,
            cls.train,
            source_of(docs, ids, mask, vocab_size),
            settings,
            preset=preset,
            engine=engine,
            out=out,
            overwrite=overwrite,
            resumed=resume,
            checkpoint=checkpoint,
        )

    @class_only
    def load(cls, path: AnyPath, engine: str | None = None, checkpoint: str | int | None = None) -> Self:
        """Load the model in a run folder, or in a run that is one file.

        engine: the compute engine (default: the one it was trained with).
        checkpoint: "best" on the validation set, "last", or the step of a kept checkpoint (default: the best
        if there is a validation set, else the last).

        Raises RunFolderError if the folder or checkpoint does not exist or is damaged, and EngineUnavailable
        or LibraryUnavailable.
        """
        folder, engine = RunFolder(path_of("load", path, RunFolderError)), plain(engine)
        loaded = Loaded.of(folder, checkpoint)
        config, tokenizer = without_device(folder.config()), folder.tokenizer()
        if engine is not None:
            config = with_engine(config, engine)
        parameters = folder.parameters(config, tokenizer, checkpoint)
        average, known = folder.average(config, tokenizer), folder.known(config, tokenizer)
        untrained = build_engine(config, folder.contexts(config, tokenizer), inference=True)
        model = cls(config, tokenizer, untrained, average=average, known=known)
        model.engine.load(parameters)
        model._loaded = loaded
        return model

    def generate(
        self,
        n: int | None = None,
        *,
        seed: int | None = None,
        data: AnyPath | None = None,
        **settings: Any,
    ) -> list[str]:
        """Generate n texts.

        n: number of texts (default: that of the model's settings).
        seed: the same seed gives the same texts; None: a random one.
        data: a file with the training data, for `novel` after loading (default: as recorded by the run).
        settings: fields of SampleConfig (temperature, prefix, unique, ...); others are as in training.

        Candidate i depends only on the seed and i; the first n that meet the conditions are returned. Raises
        SettingError, PrefixError, DataError, UsageError (`data` without `novel`), and TriesExhausted after
        `tries` consecutive candidates that do not meet them. Where `unique` and `novel` are settings of the
        run, it returns fewer texts instead, with a RuntimeWarning.
        """
        found: list[str] = []
        try:
            for texts in self.samples(n, seed=seed, data=data, **settings):
                found += texts
        except TriesExhausted as error:
            if not self._conditions_are_default(settings):
                raise
            warn(f"{error}", RuntimeWarning)
        return found

    def _conditions_are_default(self, settings: Collection[str]) -> bool:
        """Whether samples are unique or novel only because the settings of the run say so."""
        sample = self.config.sample
        return (sample.unique or sample.novel) and not {"unique", "novel", "suffix"} & set(settings)

    def samples(
        self,
        n: int | None = None,
        *,
        seed: int | None = None,
        data: AnyPath | None = None,
        **settings: Any,
    ) -> Iterator[list[str]]:
        """Yield the texts of `generate` in groups, as soon as each is complete; with `beams`, one group.

        With on_cut="mark", each text has an attribute `cut`: whether block_size truncated it. Arguments and
        errors are those of `generate`.
        """
        model = self.config, self.tokenizer, self.language_model
        sample, starts = self._requests.of(
            {**settings, "": n},  # n, which may be among the settings too
            (self.config, self.tokenizer, self.engine.model),
            lambda: prepared_request(*model, n, settings, self.samples),
        )
        root = secrets.randbits(64) if seed is None else checked_seed(seed)
        if data is not None and not sample.novel:
            raise UsageError("data: is used only with `novel`; set `novel=True`, or omit `data`")
        known = self._training_texts(data) if sample.novel else None
        texts = draw_texts(self.language_model, self.tokenizer, sample, root, known, starts)
        return self._with_lock(texts)

    def _with_lock(self, groups: Iterator[list[str]]) -> Iterator[list[str]]:
        """The groups, each generated under the lock, which is free between two groups."""
        while True:
            with self._lock:
                group = next(groups, None)
            if group is None:
                return
            yield group

    def _training_texts(self, data: AnyPath | None) -> Container[str]:
        """The training texts, to reject copies of them: as hashes if the run folder has these, or those of
        the model that was fine-tuned.
        """
        if data is None and self.known is not None and (self._documents is None or self.config.base):
            return self.known
        return TrainingTexts(self._training_documents(data), self.tokenizer)

    def _training_documents(self, data: AnyPath | None = None) -> Sequence[str]:
        """The documents of the run: from memory after training, read again after loading or from `data`."""
        if data is None and self._documents is not None:
            return self._documents
        path = None if data is None else path_of("data", data, DataError)
        return training_documents(self.config.source, self.config.data, path)

    def score(self, texts: Iterable[str]) -> Scores:
        """A list with a Score of each text: log-probability in nats, and bits per character.

        At temperature 1 without sampling filters, including the end token. A text with characters outside
        the vocabulary has log-probability -inf. Texts are first stripped, and normalized if the training
        texts were. Raises DataError unless `texts` are strings.
        """
        documents = self._normalized("score", texts)
        with self._lock:
            return score_texts(self.language_model, self.tokenizer, documents)

    def evaluate(self, docs: Iterable[str] | None = None, *, ids: Any = None, mask: Any = None) -> Evaluation:
        """Evaluate the mean loss on documents, in nats per token and in bits per character.

        If the training data can be read, the losses of uniform, unigram, bigram, trigram and Kneser-Ney
        baselines are included; with `kneser_ney`, those of its n-grams and of the GPT alone. Documents with
        characters outside the vocabulary are skipped. Raises DataError unless `docs` are strings, or if all
        are skipped.

        ids, mask: instead of docs, of a model of token ids: as in `train`. Then there is also the accuracy,
        and losses and accuracy are those of the targets that count.
        """
        evaluated = self._evaluated(docs, ids, mask)
        try:
            documents = self._training_documents()
            training_set: Sequence[str] = split(documents, self.config.data, self.config.train.seed)[0]
        except DataError:
            training_set = []
        with self._lock:
            return evaluate(self.engine, self.tokenizer, evaluated, training_set, self.average)

    def _evaluated(self, docs: Iterable[str] | None, ids: Any, mask: Any) -> Sequence[str]:
        """The documents to evaluate on, normalized, or ids."""
        given = source_of(docs, ids, mask, None)
        if isinstance(given, IdDocuments):
            return given
        return self._normalized("evaluate", given, ", or ids= and mask=, as np.load has them of a file")

    def _normalized(self, name: str, texts: Any, or_ids: str = "") -> list[str]:
        """The texts as the training texts were; DataError unless they are strings.

        or_ids: how else ids can be given.
        """
        expected = f"strings of ids, as in ['0 1']{or_ids}" if self.tokenizer.is_ids else "a list of strings"
        return [normalize_document(text, self.config.data) for text in strings(name, texts, expected)]

    def save(self, path: AnyPath, overwrite: bool = False) -> None:
        """Write a run folder, to be read by `load` and `motegpt sample`; one file if it ends in ".motegpt".

        A folder can be resumed if this model was trained in this process and its training has not continued
        since. Raises RunFolderError if a run already exists, unless `overwrite`, or if the folder holds other
        files, and if the run that this model was loaded from is damaged.
        """
        out, overwrite = path_of("save", path, RunFolderError), flag("overwrite", overwrite)
        if out.suffix == ENDING and not out.is_dir():
            with folder_for(out, overwrite) as inner:
                self._save(inner, overwrite=False)
        else:
            self._save(out, overwrite)

    def _save(self, out: Path, overwrite: bool) -> None:
        """Write a run folder."""
        with self._lock:
            parameters = self.engine.parameters()
        trained = Trained(
            self.config, self.tokenizer, parameters, self.engine.contexts, *self._history(),
            self.average, self.known,
        )  # fmt: skip
        is_current = self._trainer is not None and self._trainer.done == self._done
        trained.write(out, overwrite, self._trainer if is_current else None)


def without_device(config: RunConfig) -> RunConfig:
    """The settings without the training device, which may not exist here."""
    return config.replace(train=config.train.replace(device=None))
