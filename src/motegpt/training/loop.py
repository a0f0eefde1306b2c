"""The training loop. It knows only the contract of an engine.

`prepare` and `resume` make a Trainer; `Trainer.run` yields its Progress after each chunk of steps. A chunk
ends where something is to be done (samples, a checkpoint, the last step) and otherwise after about
CHUNK_SECONDS, so that a fast engine is left alone and an interrupt is answered soon.
"""

from __future__ import annotations

import math
import time
from array import array
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from motegpt.config.epochs import epochs_of, in_steps, laid_over
from motegpt.config.sections import (
    DataConfig,
    ModelConfig,
    SampleConfig,
    TrainConfig,
    section_of,
    section_values,
)
from motegpt.config.text import concise_repr
from motegpt.data.cut import Cut, cut_of, sizes_of
from motegpt.data.plan import Plan, plan_of
from motegpt.data.repeats import all_alike
from motegpt.data.source import Source, check_unchanged
from motegpt.data.split import split
from motegpt.data.tokenizers import Tokenizer
from motegpt.engines import engine_class, make_engine
from motegpt.errors import TrainingDiverged, UsageError
from motegpt.evaluation.nll import whole_sequences
from motegpt.generation.request import request_of
from motegpt.model.rng import make_rng
from motegpt.model.schedule import learning_rate
from motegpt.model.spec import initialize
from motegpt.sampling.generate import generate_in_turn
from motegpt.system import ranks
from motegpt.training.losses import LossMeans
from motegpt.training.run_folder import RunFolder
from motegpt.training.state import Best, RunConfig, TrainerState
from motegpt.training.validation import Validation

if TYPE_CHECKING:
    from motegpt.data.corpus import Corpus
    from motegpt.engines.base import Arrays, Engine, Values
    from motegpt.model.rng import RunRng

CHUNK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One logged step: counted from 1; loss in nats before its update; tokens learned from so far.

    mean_loss: the mean of the losses of all steps since the last record; val_loss: the loss on the held-out
    data, or on a sample of them, after the step's update, if it was evaluated then.
    """

    step: int
    loss: float
    mean_loss: float
    lr: float
    tokens: int
    val_loss: float | None = None

    __repr__ = concise_repr

    def values(self) -> dict[str, Any]:
        """What there is, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Progress:
    """What a chunk of steps has brought.

    done: steps of the run so far; samples: drawn after the last of them; ended: nothing follows it.
    """

    done: int
    losses: list[float]
    tokens: int
    records: list[StepRecord]
    samples: list[str] | None
    ended: bool


@dataclass
class Trainer:
    """A run in memory: everything `prepare` or `resume` put together.

    cut, alike: what block_size leaves of the documents, and whether they are all the same; by_record: a chunk
    ends with every logged step, for who wants to look at the model there.
    """

    config: RunConfig
    tokenizer: Tokenizer
    plan: Plan
    engine: Engine
    rng: RunRng
    validation: Validation | None = None
    cut: Cut | None = None
    alike: bool = False
    folder: RunFolder | None = None
    by_record: bool = False
    losses: LossMeans = field(default_factory=LossMeans)
    done: int = 0
    saved: int | None = None
    saved_at: float = field(default_factory=time.monotonic)

    def run(
        self, until: int | None = None, interrupted: Callable[[], bool] = lambda: False
    ) -> Generator[Progress, None, None]:
        """Train up to step `until` (the last if None), or until `interrupted()`; saves where it stops.

        Closing the iterator saves too. Raises TrainingDiverged at a loss that is not finite.
        """
        if self.folder is None:
            yield from self._run(until, interrupted)
            return
        self.folder.lock()
        try:
            self.folder.cut_metrics(self.done)
            yield from self._run(until, interrupted)
        finally:
            self.folder.unlock()

    def _run(self, until: int | None, interrupted: Callable[[], bool]) -> Generator[Progress, None, None]:
        last = self.config.train.steps if until is None else min(until, self.config.train.steps)
        if self.saved is None:
            self.save()
        size = 1
        while self.done < last and not self.ended and not interrupted():
            count, began = min(size, self._room(last)), time.perf_counter()
            chunk = self._advance(count, interrupted)
            size = next_size(count, time.perf_counter() - began)
            if self.done == last or self._is_due():
                self._save_progress()
            try:
                yield chunk
            except GeneratorExit:
                self._save_progress()
                raise
        self._save_progress()

    @property
    def ended(self) -> bool:
        """Whether the last step is done, or early stopping has ended the run."""
        return self.done == self.config.train.steps or (
            self.validation is not None and self.validation.exhausted
        )

    def records_to_come(self) -> int:
        """How many records the steps have that are still to be done; early stopping may leave some out."""
        train = self.config.train
        if self.ended:
            return 0
        first, last = (
            self.done + train.count_from,
            train.steps - 1 + train.count_from,
        )  # as `multiples` counts
        every = {number for number in (train.log_every, self._eval_every) if number is not None}
        both = {math.lcm(*every)} if len(every) > 1 else set()
        logged, twice = (sum(last // n - (first - 1) // n for n in numbers) for numbers in (every, both))
        ends = {number for number in (train.count_from, last) if number >= first}
        return logged - twice + sum(all(number % one for one in every) for number in ends)

    def _save_progress(self) -> None:
        if self.saved != self.done:
            self.save()

    def _advance(self, count: int, interrupted: Callable[[], bool]) -> Progress:
        """Do `count` steps, and what follows the last of them."""
        start = self.done
        losses = self.engine.train(self.plan, start, count)
        self._check_finite(start, losses)
        self.done = start + count
        records = self._records(start, losses)
        if self.folder is not None:
            self.folder.append_metrics(record.values() for record in records)
        samples = self._samples(interrupted) if self._wants_samples() else None
        return Progress(self.done, losses, self.plan.tokens(start, count), records, samples, self.ended)

    def _room(self, last: int) -> int:
        """How many steps may go by before something has to be done."""
        train = self.config.train
        ends = [last]
        if train.checkpoint_every is not None:
            ends.append((self.done // train.checkpoint_every + 1) * train.checkpoint_every)
        for every in (train.sample_every, self._eval_every, train.log_every if self.by_record else None):
            if every is not None:
                ends += [step + 1 for step in multiples(every, self.done, every, train)[:1]]
        return min(ends) - self.done

    @property
    def _eval_every(self) -> int | None:
        """How often the held-out data judge; None if there are none."""
        train = self.config.train
        return None if self.validation is None else train.eval_every or train.log_every

    def _follows(self, every: int | None) -> bool:
        """Whether what is done every so many steps follows the step just done."""
        return every is not None and bool(multiples(every, self.done - 1, 1, self.config.train))

    def _wants_samples(self) -> bool:
        return self.ended or self._follows(self.config.train.sample_every)

    def _records(self, start: int, losses: list[float]) -> list[StepRecord]:
        """The records of the steps that are logged, and of the last if the held-out data judge it."""
        train = self.config.train
        logged = multiples(train.log_every, start, len(losses), train)
        val_loss = None
        if self.validation is not None and self._follows(self._eval_every):
            val_loss = self.validation.loss(self.engine)
            self._check_finite(self.done - 1, [val_loss], "validation loss")
            self.validation.remember(val_loss, self.engine, self.done)
            logged = sorted({*logged, self.done - 1})
        self.losses, means = self.losses.after(start, losses, logged, train.steps)
        return [
            StepRecord(
                step + 1,
                losses[step - start],
                mean_loss,
                learning_rate(train, step),
                self.plan.tokens(0, step + 1),
                val_loss if step + 1 == self.done else None,
            )
            for step, mean_loss in zip(logged, means, strict=True)
        ]

    def _samples(self, interrupted: Callable[[], bool]) -> list[str]:
        """Draw samples, at the end of the run with its best parameters.

        What is at its end is saved first, and not again, as drawing may take long or be interrupted.
        """
        if self.ended:
            self.save()
            return self.samples_of_best(interrupted)
        return generate_in_turn(self.engine, self.tokenizer, self.config.sample, self.rng, interrupted)

    def samples_of_best(self, interrupted: Callable[[], bool] = lambda: False) -> list[str]:
        """Draw samples with the best parameters so far."""
        engine = self._engine_of_best()
        return generate_in_turn(engine, self.tokenizer, self.config.sample, self.rng, interrupted)

    def val_loss_of_best(self) -> float | None:
        """The loss of the best parameters on all held-out data, in nats per token, as `motegpt eval` has it;
        None if nothing was evaluated.
        """
        if self.validation is None or self.best is None:
            return None
        return self.validation.loss_on_all(self._engine_of_best())

    def evaluate_best_again(self) -> None:
        """Take the loss of the best parameters anew: that of an older checkpoint is a mean over documents."""
        if self.validation is not None and self.validation.best is not None:
            loss = self.validation.loss(self._engine_of_best())
            self.validation.best = self.validation.best.replace(loss=loss)

    def _engine_of_best(self) -> Engine:
        """The engine that trains, or one beside it where other parameters than its own may be the best."""
        if self.validation is None:
            return self.engine
        engine = engine_class(self.config.engine).alone(self.config.model, self.config.train)
        engine.load(self.best_parameters())
        return engine

    def _is_due(self) -> bool:
        """Whether it is time for a checkpoint."""
        train = self.config.train
        in_steps = train.checkpoint_every is not None and self.done % train.checkpoint_every == 0
        return in_steps or time.monotonic() - self.saved_at > 60.0 * train.checkpoint_minutes

    def _check_finite(self, start: int, losses: list[float], what: str = "loss") -> None:
        if all(map(math.isfinite, losses)):
            return
        step, loss = next((s, x) for s, x in enumerate(losses, start + 1) if not math.isfinite(x))
        raise self._diverged(f"the {what} of step {step} is {loss}")

    def _diverged(self, what: str) -> TrainingDiverged:
        good = f"after step {self.saved} in {self.folder.path}" if self.folder and self.saved else "none"
        return TrainingDiverged(f"train: {what}; last good checkpoint: {good}; {self._how_to_converge()}")

    def _how_to_converge(self) -> str:
        return f"try a smaller `lr` (it was {self.config.train.lr:g}) or `clip_norm=1`"

    def why_diverged(self) -> str | None:
        """Why a run that is at its end has not learned, though every number is finite; None if it has."""
        vocab_size, tail = self.config.model.vocab_size, self.losses.tail
        if not self.ended or not self.losses.has_diverged(vocab_size):
            return None
        return (
            f"train: the run has diverged: its last {tail.count:,} steps have a mean loss of "
            f"{tail.value:.4g}, where guessing has {math.log(vocab_size):.4g}; {self._how_to_converge()}"
        )

    def save(self) -> None:
        """Write a checkpoint, if the run has a folder; TrainingDiverged if it would not be finite.

        The parameters to sample from are the best by the held-out data, if there are any, else the newest.
        They are written first: a kill in between leaves them ahead of the state that resuming reads, and
        resuming comes by again. Before the first step they are written last: what a kill or a full disk
        leaves can be resumed, or is no run yet.
        """
        snapshot = self.engine.export()
        if not all_finite(snapshot.parameters, *snapshot.slots.values()):
            raise self._diverged(f"step {self.done} left parameters that are not finite")
        if self.folder is not None:
            state = TrainerState(self.done, snapshot, self.rng.state(), self.best, self.losses)
            keep = self.config.train.keep if self._is_due() else 1
            if self.done:
                self._save_to_sample(snapshot.parameters)
            self.folder.save(state, self.tokenizer, keep)
            if not self.done:
                self._save_to_sample(snapshot.parameters)
            self.folder.write_config(self.config)
        self.saved, self.saved_at = self.done, time.monotonic()

    def _save_to_sample(self, newest: Arrays) -> None:
        """Write the parameters to sample from, unless they are in the folder already."""
        assert self.folder is not None
        if self.validation is None or self.best is None:
            self.folder.save_parameters(newest, self.tokenizer)
        elif self.validation.unsaved and self.validation.parameters is not None:
            self.folder.save_parameters(self.validation.parameters, self.tokenizer)
            self.validation.unsaved = False

    def save_to(self, folder: RunFolder) -> None:
        """Write everything to another folder, as it stands; the own folder is still to be saved."""
        validation = None if self.validation is None else replace(self.validation, unsaved=True)
        replace(self, folder=folder, validation=validation).save()

    @property
    def best(self) -> Best | None:
        """The best evaluation so far; None if there was none."""
        return None if self.validation is None else self.validation.best

    def best_parameters(self) -> Arrays:
        """Those of the best evaluation; of now, if nothing was held out."""
        if self.validation is None or self.best is None:
            return self.engine.export().parameters
        if self.validation.parameters is not None:
            return self.validation.parameters
        assert self.folder is not None, "an evaluation of an earlier process is in the run's folder"
        return self.folder.parameters(self.config, self.tokenizer)


def multiples(every: int, start: int, count: int, train: TrainConfig) -> list[int]:
    """Those of `count` steps from `start` on (from 0) whose number is a multiple of `every`.

    A step's number is what the console gives it; the first and the last step of the run always count.
    """
    offset = -(start + train.count_from) % every
    ends = {step for step in (0, train.steps - 1) if start <= step < start + count}
    return sorted({*range(start + offset, start + count, every)} | ends)


def all_finite(*groups: Values) -> bool:
    """Whether every number of some named arrays is finite."""
    import numpy as np

    return all(bool(np.isfinite(array).all()) for group in groups for array in group.values())


def next_size(count: int, seconds: float) -> int:
    """How many steps the next chunk may have, after one of `count` steps that took `seconds`."""
    fitting = int(count * CHUNK_SECONDS / max(seconds, 1e-9))
    return max(1, min(fitting, 8 * count))


def prepare(corpus: Corpus, settings: dict[str, Any], engine: str) -> Trainer:
    """A fresh run: flat settings by name, as presets.settings_of gives them; epochs, if any, win over steps.

    The generator is used in the order of the reference programs: shuffle, initialization, samples.
    """
    for name in settings:
        section_of(name)
    data = DataConfig.of(section_values(settings, "data"))
    epochs, train_values = epochs_of(settings), section_values(settings, "train")
    train = TrainConfig.of(train_values if epochs is None else {**train_values, "steps": 1})  # for now
    sample = SampleConfig.of(section_values(settings, "sample"))
    tokenizer = Tokenizer.of(corpus.documents, data.framing, data.tokenizer)
    model = ModelConfig.of({**section_values(settings, "model"), "vocab_size": tokenizer.vocab_size})
    path, *others = corpus.paths or (None,)
    source = Source(
        kind=corpus.kind,
        path=path,
        others=tuple(others),
        sha256=corpus.sha256,
        documents=len(corpus.documents),
    )
    config = RunConfig(engine=engine, model=model, data=data, train=train, sample=sample, source=source)
    request_of(config.sample, tokenizer, model.block_size)
    trainer, rng = _assemble(config, tokenizer, corpus, epochs)
    trainer.engine.load(initialize(model, rng))
    return trainer


def resume(
    folder: RunFolder, corpus: Corpus, changes: dict[str, Any], engine: str | None, step: int | None = None
) -> Trainer:
    """The run in `folder` where its last checkpoint left it; `changes` may touch how it goes on.

    step: go back to the kept checkpoint of that step instead; the best so far is then judged anew.
    """
    before, tokenizer = folder.config(), folder.tokenizer()
    changes = laid_over({}, changes)
    config = changed(before, changes, engine)
    check_unchanged(corpus, config.source, "give the old data as `docs`, or start a new run")
    request_of(config.sample, tokenizer, config.model.block_size)
    if ranks.rank() == 0:
        folder.lock()
    trainer, rng = _assemble(config, tokenizer, corpus, epochs_of(changes))
    config = trainer.config
    longer = max(before, config, key=lambda one: one.train.steps)
    state = folder.trainer_state(longer, tokenizer, step)
    if state.done > config.train.steps:
        raise UsageError(
            f"steps: {folder.path} has done {state.done} already; expected at least as many, got "
            f"{config.train.steps}"
        )
    rng.restore(state.rng)
    trainer.engine.load(state.snapshot)
    trainer.folder, trainer.done, trainer.saved_at = folder, state.done, time.monotonic()
    trainer.losses = state.losses or LossMeans()
    if step is None:
        trainer.saved = state.done
        if trainer.validation is not None and state.best is not None:
            trainer.validation.best = state.best
            if state.losses is None:
                trainer.evaluate_best_again()
    return trainer


def changed(config: RunConfig, changes: dict[str, Any], engine: str | None) -> RunConfig:
    """The settings of a run with some replaced; UsageError for one that a run keeps for life."""
    for name in changes:
        if section_of(name) in ("model", "data") or name in ("seed", "rng", "batch_size", "optimizer"):
            raise UsageError(f"resume: {name} cannot change within a run; start a new one with `out`")
    return config.replace(
        engine=engine or config.engine,
        train=config.train.replace(**section_values(changes, "train")),
        sample=config.sample.replace(**section_values(changes, "sample")),
    )


def engine_from(config: RunConfig) -> Engine:
    """The engine a run's settings name, its parameters still to be loaded."""
    return make_engine(config.engine, config.model, config.train)


def fitting_dtype(engine: str, settings: dict[str, Any], asked: bool) -> dict[str, Any]:
    """The settings with a dtype the engine has, unless one was asked for."""
    dtypes = engine_class(engine).dtypes
    if asked or settings["dtype"] in dtypes:
        return settings
    return {**settings, "dtype": dtypes[0]}


def _assemble(
    config: RunConfig, tokenizer: Tokenizer, corpus: Corpus, epochs: float | None
) -> tuple[Trainer, RunRng]:
    """A trainer before its first step, and its generator just after the shuffle.

    epochs: if they are given, the run has their steps instead of those of `config`.
    """
    rng, block_size = make_rng(config.train.rng, config.train.seed), config.model.block_size
    training, held_out = split(corpus.documents, config.data, config.train.seed)
    is_list = config.data.format != "stream"
    cut = cut_of(sizes_of(training, tokenizer), block_size, config.data.cut) if is_list else None
    alike = is_list and all_alike(training)
    order = array("I", range(len(training)))
    if config.data.shuffle:
        rng.shuffle(order)
    plan = plan_of(training, tokenizer, config.data, config.train, block_size, order)
    if epochs is not None:
        config = config.replace(train=config.train.replace(steps=in_steps(epochs, plan.epoch)))
    validation = None
    if held_out:
        validation = Validation(whole_sequences(held_out, tokenizer), block_size, config.train.patience)
    return Trainer(config, tokenizer, plan, engine_from(config), rng, validation, cut, alike), rng
