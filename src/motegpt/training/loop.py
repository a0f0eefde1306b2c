"""The training loop.

build.py makes a Trainer; `Trainer.run` yields Progress after each chunk of steps. A chunk ends at an event
(samples, an evaluation, a checkpoint, the last step), else after about CHUNK_SECONDS (events.py): long enough
not to slow down a fast engine, short enough to respond to interrupts.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from motegpt.data.cut import Cut
from motegpt.data.plan import Plan
from motegpt.data.tokenizers import Tokenizer
from motegpt.engines import averaged, engine_class
from motegpt.engines.base import all_finite
from motegpt.errors import TrainingDiverged
from motegpt.model.schedule import learning_rate
from motegpt.sampling.generate import generate_sequentially
from motegpt.training.events import Events, first_chunk_size, next_chunk_size
from motegpt.training.losses import LossMeans
from motegpt.training.records import Progress, Report, StepRecord
from motegpt.training.state import RunConfig, TrainerState

if TYPE_CHECKING:
    from motegpt.engines.base import Arrays, Engine, LanguageModel
    from motegpt.model.rng import RunRng
    from motegpt.ngrams.average import Average
    from motegpt.sampling.training_texts import HashedTexts
    from motegpt.training.averaging import Averaging
    from motegpt.training.run_folder import RunFolder
    from motegpt.training.state import Best
    from motegpt.training.statistics import Watch
    from motegpt.training.validation import Validation, ValidationSet


@dataclass
class Trainer:
    """A run in memory, as built by `prepare` or `resume`.

    cut: documents truncated by block_size; identical: whether all documents are the same; every_record: end a
    chunk after every logged step; done: completed steps; saved: step of the last checkpoint; saved_at: its
    time; averaging: the n-grams that the model is averaged with; measure: what is still to be measured at the
    end, and report: what was; budget: seconds of the run, measurement included; known: the training texts, if
    samples must be novel; start: of a fine-tuning, the parameters that its second model starts from too;
    has_samples: whether samples are generated when they are due; training_sample: training data that are ids,
    to evaluate the accuracy on.
    """

    config: RunConfig
    tokenizer: Tokenizer
    plan: Plan
    engine: Engine
    rng: RunRng
    validation: Validation | None = None
    cut: Cut | None = None
    identical: bool = False
    folder: RunFolder | None = None
    every_record: bool = False
    losses: LossMeans = field(default_factory=LossMeans)
    done: int = 0
    saved: int | None = None
    saved_at: float = field(default_factory=time.monotonic)
    averaging: Averaging | None = None
    measure: Callable[[Trainer, Callable[[], bool]], Report] | None = None
    budget: float | None = None
    report: Report | None = None
    known: HashedTexts | None = None
    start: Arrays | None = None
    has_samples: bool = True
    training_sample: ValidationSet | None = None

    def run(
        self, until: int | None = None, interrupted: Callable[[], bool] = lambda: False
    ) -> Generator[Progress, None, None]:
        """Train to step `until` (default: the last), or until `interrupted()`; saves when it stops or is
        closed.

        Raises TrainingDiverged if a loss is not finite.
        """
        if self.folder is None:
            yield from self._run(until, interrupted)
            return
        self.folder.lock()
        try:
            self.folder.forget_after(self.done)
            yield from self._run(until, interrupted)
        finally:
            self.folder.unlock()

    def _run(self, until: int | None, interrupted: Callable[[], bool]) -> Generator[Progress, None, None]:
        last = self.config.train.steps if until is None else min(until, self.config.train.steps)
        if self.saved is None and self.folder is not None:
            self.save()
        self._keep_parameters()
        size = first_chunk_size(self.config.engine, self.config.model, self.config.train, self.plan)
        while self.done < last and not self.ended and not interrupted():
            count = min(size, self.events.steps_until_event(self.done, last))
            start = time.perf_counter()
            chunk = self._advance(count, interrupted)
            size = next_chunk_size(count, time.perf_counter() - start)
            self._keep_parameters()
            if self.done == last or self._checkpoint_is_due():
                self._save_progress()
            try:
                yield chunk
            except GeneratorExit:
                self._save_progress()
                raise
        self._save_progress()
        if self.ended and self.measure is not None and not interrupted():
            yield self._finish(interrupted)

    def _finish(self, interrupted: Callable[[], bool]) -> Progress:
        """Measure the model, save the weight found by it, and generate the samples."""
        assert self.measure is not None
        self.report = self.measure(self, interrupted)
        if self.folder is not None and (bits := self.report.bits()):
            self.folder.write_report(bits)
        if not interrupted():
            self.measure = None
        self.save()
        samples = self.sample_best(interrupted) if self.has_samples else None
        return Progress(self.done, [], 0, [], samples, ended=True)

    @property
    def events(self) -> Events:
        """The schedule of records, evaluations, samples and checkpoints."""
        return Events(self.config.train, self.validation is not None, self.every_record)

    @property
    def ended(self) -> bool:
        """Whether the last step is done, or early stopping ended the run."""
        return self.done == self.config.train.steps or (
            self.validation is not None and self.validation.out_of_patience
        )

    def records_to_come(self) -> int:
        """The number of remaining records, without early stopping."""
        return 0 if self.ended else self.events.records_to_come(self.done)

    def _save_progress(self) -> None:
        if self.saved != self.done:
            self.save()

    def _advance(self, count: int, interrupted: Callable[[], bool]) -> Progress:
        """Do `count` steps, and the evaluation and samples due after them."""
        start = self.done
        watch = self._watch(start)
        losses = self.engine.train(self.plan, start, count)
        self._check_finite(start, losses)
        self.done = start + count
        records = self._records(start, losses, None if watch is None else watch.statistics())
        if self.folder is not None:
            self.folder.append_metrics(record.values() for record in records)
        is_last = self.ended and self.measure is not None  # samples follow the measurement
        samples = self._samples(interrupted) if self._samples_are_due() and not is_last else None
        return Progress(self.done, losses, self.plan.tokens(start, count), records, samples, self.ended)

    def _watch(self, step: int) -> Watch | None:
        """For the statistics of step `step` (from 0); None if there are none. Such a step is a chunk."""
        if not (self.config.train.log_statistics and self.events.is_recorded(step)):
            return None
        from motegpt.training.statistics import Watch

        return Watch(self.engine, self.plan, step)

    def _samples_are_due(self) -> bool:
        is_due = self.ended or self.events.is_due_after(self.config.train.sample_every, self.done)
        return self.has_samples and is_due

    def _records(
        self, start: int, losses: list[float], statistics: Mapping[str, float] | None
    ) -> list[StepRecord]:
        """The records of the logged steps, and of the last one if it is followed by an evaluation."""
        train, events = self.config.train, self.events
        logged = events.logged_steps(train.log_every, start, len(losses))
        val_loss = accuracy = val_accuracy = None
        if self.validation is not None and events.is_due_after(events.eval_every, self.done):
            found = self.validation.data.means(self.engine)
            val_loss = found.loss
            self._check_finite(self.done - 1, [val_loss], "validation loss")
            self.validation.update(val_loss, self.engine, self.done)
            if self.training_sample is not None:
                val_accuracy, accuracy = found.accuracy, self.training_sample.means(self.engine).accuracy
            logged = sorted({*logged, self.done - 1})
        self.losses, means = self.losses.after(start, losses, logged, train.steps)
        return [
            StepRecord(
                step + 1,
                losses[step - start],
                mean_loss,
                learning_rate(train, step),
                self.plan.tokens(0, step + 1),
                *((val_loss, accuracy, val_accuracy) if step + 1 == self.done else (None, None, None)),
                statistics,
            )
            for step, mean_loss in zip(logged, means, strict=True)
        ]

    def _samples(self, interrupted: Callable[[], bool]) -> list[str]:
        """Generate samples; at the end of the run, with the best parameters.

        The final state is saved first, as generation may take long or be interrupted.
        """
        if self.ended:
            self.save()
            return self.sample_best(interrupted)
        return self._generate(self.engine, interrupted)

    def sample_best(self, interrupted: Callable[[], bool] = lambda: False) -> list[str]:
        """Generate samples with the best parameters so far."""
        return self._generate(self.best_engine(), interrupted)

    def _generate(self, engine: Engine, interrupted: Callable[[], bool]) -> list[str]:
        model = self._averaged(engine)
        return generate_sequentially(
            model, self.tokenizer, self.config.sample, self.rng, interrupted, self.known
        )

    @property
    def average(self) -> Average | None:
        """The n-grams that the best parameters are averaged with, and their weight; None without n-grams."""
        if self.averaging is None:
            return None
        return self.averaging.average(self.validation, self.best_engine)

    def _averaged(self, engine: Engine) -> LanguageModel:
        return averaged(engine, self.average)

    def best_val_loss(self) -> float | None:
        """The loss of the model with the best parameters on the entire validation set, in nats per token, as
        in `motegpt eval`; None before the first evaluation.
        """
        if self.validation is None or self.best is None:
            return None
        return self.validation.full_loss(self._averaged(self.best_engine()))

    def reevaluate_best(self) -> None:
        """Recompute the best loss: old checkpoints recorded a mean over documents."""
        if self.validation is not None and self.validation.best is not None:
            loss = self.validation.data.means(self.best_engine()).loss
            self.validation.best = self.validation.best.replace(loss=loss)

    def best_model(self) -> LanguageModel:
        """The best parameters, averaged with the n-grams if there are any."""
        return self._averaged(self.best_engine())

    def best_engine(self) -> Engine:
        """An engine with the best parameters; without a validation set, the training engine."""
        if self.validation is None:
            return self.engine
        return self.new_best_engine()

    def new_best_engine(self) -> Engine:
        """An engine for inference with the best parameters, which further training does not change."""
        kind, contexts = engine_class(self.config.engine), self.engine.contexts
        engine = kind.inference(self.config.model, self.config.train, contexts)
        engine.load(self.best_parameters())
        return engine

    def _checkpoint_is_due(self) -> bool:
        """Whether to write a checkpoint after this chunk."""
        train = self.config.train
        is_multiple = train.checkpoint_every is not None and self.done % train.checkpoint_every == 0
        return is_multiple or time.monotonic() - self.saved_at > 60.0 * train.checkpoint_minutes

    def _check_finite(self, start: int, losses: list[float], name: str = "loss") -> None:
        if all(map(math.isfinite, losses)):
            return
        step, loss = next((s, x) for s, x in enumerate(losses, start + 1) if not math.isfinite(x))
        raise self._diverged(f"the {name} of step {step} is {loss}", step)

    def _diverged(self, reason: str, step: int) -> TrainingDiverged:
        checkpoint = (
            f"after step {self.saved} in {self.folder.path}" if self.folder and self.saved else "none"
        )
        return TrainingDiverged(
            f"train: {reason}; last good checkpoint: {checkpoint}; {self._divergence_repair()}", step
        )

    def _divergence_repair(self) -> str:
        return f"try a smaller `lr` (it was {self.config.train.lr:g}) or `clip_norm=1`"

    def divergence_message(self) -> str | None:
        """A warning if a completed run ended with losses far above uniform guessing, else None."""
        vocab_size, tail = self.config.model.vocab_size, self.losses.tail
        if not self.ended or not self.losses.has_diverged(vocab_size):
            return None
        return (
            f"train: the run has diverged: the mean loss of its last {tail.count:,} steps is "
            f"{tail.value:.4g}, that of uniform guessing {math.log(vocab_size):.4g}; "
            f"{self._divergence_repair()}"
        )

    def save(self) -> None:
        """Write a checkpoint if the run has a folder; TrainingDiverged if parameters or slots are not finite.

        The parameters to sample from are the best on the validation set, or the newest without one. They are
        written before the trainer's state, so a resumed run rewrites them if the process is killed in
        between. Before the first step they are written last, so that an incomplete folder can be resumed or
        replaced.
        """
        if self.folder is None:
            self._check_state(self.engine.is_finite())
        else:
            self._save(self.folder)
        self.saved, self.saved_at = self.done, time.monotonic()

    def _keep_parameters(self) -> None:
        """Write the parameters of this step if they are to be kept, unless the folder already has them."""
        if self.folder is None or not self.events.keeps_parameters(self.done):
            return
        if self.done not in self.folder.steps_of_parameters():
            parameters = self.engine.parameters()
            self._check_state(all_finite(parameters))
            self.folder.keep_parameters(self.done, parameters, self.tokenizer)

    def _check_state(self, is_finite: bool) -> None:
        if not is_finite:
            raise self._diverged(f"step {self.done} left parameters that are not finite", self.done)

    def _save(self, folder: RunFolder) -> None:
        snapshot = self.engine.export()
        self._check_state(snapshot.is_finite())
        state = TrainerState(self.done, snapshot, self.rng.state(), self.best, self.losses)
        keep = self.config.train.keep if self._checkpoint_is_due() else 1
        self._save_average(folder)
        if self.known is not None and self.saved is None:
            folder.save_known(self.known.hashes, self.tokenizer)
        if self.start is not None and self.saved is None:
            folder.save_start(self.start, self.tokenizer)
        if self.done:
            self._save_best_parameters(snapshot.parameters)
        folder.save(state, self.tokenizer, keep)
        if not self.done:
            self._save_best_parameters(snapshot.parameters)
        folder.write_config(self.config)

    def _save_best_parameters(self, newest: Arrays) -> None:
        """Write the parameters to sample from, unless the folder already has them."""
        assert self.folder is not None
        if self.validation is None or self.best is None:
            self.folder.save_parameters(newest, self.tokenizer)
        elif self.validation.unsaved and self.validation.parameters is not None:
            self.folder.save_parameters(self.validation.parameters, self.tokenizer)
            self.validation.unsaved = False

    def _save_average(self, folder: RunFolder) -> None:
        """Write the n-grams and their weight, unless the folder already has them."""
        average = self.average
        if average is not None and self.averaging is not None and self.averaging.saved != average.weight:
            folder.save_average(average, self.tokenizer)
            self.averaging.saved = average.weight

    def save_copy(self, folder: RunFolder) -> None:
        """Write the current state to another folder, without marking it as saved in the own folder."""
        validation = None if self.validation is None else replace(self.validation, unsaved=True)
        averaging = self.averaging and replace(self.averaging, saved=None)
        copy = replace(self, folder=folder, validation=validation, averaging=averaging, saved=None)
        copy.save()

    @property
    def best(self) -> Best | None:
        """The best evaluation so far, or None."""
        return None if self.validation is None else self.validation.best

    def best_parameters(self) -> Arrays:
        """The parameters of the best evaluation; without a validation set, the current ones."""
        if self.validation is None or self.best is None:
            return self.engine.parameters()
        if self.validation.parameters is not None:
            return self.validation.parameters
        assert self.folder is not None, "the best parameters of a resumed run are in its folder"
        return self.folder.parameters(self.config, self.tokenizer)
