"""A training in progress."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from motegpt.api.names import check_names
from motegpt.api.notebook import form, loss_curve
from motegpt.api.pictures import MemoryView, plot_loss
from motegpt.api.progress import NotebookDisplay
from motegpt.api.warn import warn
from motegpt.config.fields import current_names, kinds, plain
from motegpt.config.needs import check_needs
from motegpt.config.sections import REQUESTS
from motegpt.config.text import concise
from motegpt.errors import MotegptError, TrainingInterrupted
from motegpt.system.interrupts import DeferredSignals, default_interrupt, deferring
from motegpt.system.terminals import is_notebook
from motegpt.training.begin import Documents, begin
from motegpt.training.losses import Mean

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from motegpt.api.progress import Display
    from motegpt.training.loop import Trainer
    from motegpt.training.records import StepRecord

Model = TypeVar("Model")
Callback = Callable[["StepRecord"], object]


class Training(Generic[Model]):
    """A training in progress, as returned by GPT.training: iterate over it for the logged steps.

    Leaving the loop pauses the training, and writes a checkpoint if it has a run folder; iterating again
    continues it.

    records: the StepRecord of each logged step so far; losses are in nats per token.
    displays: what shows its progress.
    is_torn: whether a step was aborted, which leaves no valid state; iterating and `model` then raise
    MotegptError.

    In a notebook it is shown as a table with the losses, which is updated while the training goes on.

    Iterating raises TrainingDiverged if a loss or parameter is not finite. In the main thread, unless the
    program handles SIGINT itself, Ctrl-C completes the current step and raises TrainingInterrupted; a second
    Ctrl-C aborts the step with KeyboardInterrupt.
    """

    def __init__(self, kind: Callable[..., Model], trainer: Trainer, documents: Sequence[str]) -> None:
        self._kind, self._trainer, self._documents = kind, trainer, documents
        self._trainer.every_record, self._trainer.has_samples = True, False
        self.records: list[StepRecord] = []
        self.is_torn = False
        self.displays: list[Display] = []
        self._losses: Sequence[float] = ()  # of the last chunk of steps
        self._start: tuple[float, int] | None = None  # time and steps done, while it runs

    def __repr__(self) -> str:
        trainer, last = self._trainer, self.records[-1] if self.records else None
        values = {"step": trainer.done, "steps": trainer.config.train.steps, "engine": trainer.config.engine}
        values["out"] = None if trainer.folder is None else str(trainer.folder.path)
        return concise(type(self).__name__, {**values, "loss": None if last is None else last.mean_loss})

    def _repr_html_(self) -> str:
        trainer = self._trainer
        state = [("training", self.status())]
        if trainer.folder is not None:
            state.append(("saved in", str(trainer.folder.path)))
        title, average = type(self).__name__, trainer.average if trainer.ended else None
        return form(title, trainer.config, trainer.tokenizer, self.records, average, state)

    def _ipython_display_(self) -> None:
        """Shown in a notebook, and updated when the training goes on; elsewhere its repr is printed."""
        if not is_notebook():
            print(repr(self))
            return
        self.displays.append(NotebookDisplay())
        self.displays[-1].show(self)

    def status(self) -> str:
        """step 1,200 of 2,000 · loss 2.311 · 4 s left"""
        trainer = self._trainer
        steps, done = trainer.config.train.steps, trainer.done
        if trainer.ended and trainer.measure is not None:
            return f"step {done:,} of {steps:,} · measuring on documents that were held out"
        words = [f"step {done:,} of {steps:,}"]
        if self._losses:
            words.append(f"loss {Mean().extended(self._losses).value:.3f}")
        if self._start is not None and self._start[1] < done < steps:
            began, first = self._start
            seconds = (time.monotonic() - began) / (done - first) * (steps - done)
            words.append(f"{math.ceil(seconds):,} s left")
        return " · ".join(words)

    def curve(self) -> str:
        """The losses so far as an SVG."""
        return loss_curve(self.records, self._trainer.config.train.steps)

    def __len__(self) -> int:
        """The number of records of the complete training, without early stopping."""
        return len(self.records) + self._trainer.records_to_come()

    def __iter__(self) -> Generator[StepRecord, None, None]:
        self._check_not_torn()
        signals = DeferredSignals(default_interrupt())
        self._start = time.monotonic(), self._trainer.done
        try:
            with closing(deferring(self._trainer.run(interrupted=signals.__bool__), signals)) as chunks:
                for chunk in chunks:
                    self.records += chunk.records
                    self._losses = chunk.losses or self._losses
                    for display in self.displays:
                        display.update(self)
                    yield from chunk.records
        finally:
            self.is_torn = signals.is_torn
            self._start = None
            for display in self.displays:
                display.end(self)
        if signals:
            raise self.interruption()
        diverged = self._trainer.divergence_message()
        if diverged is not None:
            warn(diverged, RuntimeWarning)

    @property
    def model(self) -> Model:
        """The model so far: the best on the validation set, or the newest without one.

        An independent GPT, which does not change when the training continues. Raises MotegptError if a step
        was aborted.
        """
        self._check_not_torn()
        trainer = self._trainer
        return self._kind(
            trainer.config,
            trainer.tokenizer,
            trainer.new_best_engine(),
            records=self.records,
            trainer=trainer,
            documents=self._documents,
            average=trainer.average,
            known=trainer.known,
            report=trainer.report,
        )

    def plot(
        self,
        *,
        ax: Any = None,
        label: str | None = None,
        baselines: Mapping[str, float] | None = None,
        window: int | None = None,
        along: Literal["step", "tokens"] = "step",
    ) -> Figure | Any:
        """The losses so far; arguments, result and errors are those of GPT.plot_loss."""
        trainer, name = self._trainer, type(self).__name__
        view = MemoryView(name, trainer.config, trainer.tokenizer, self.records, {}, trainer.engine.contexts)
        return plot_loss(view, ax, label, baselines, window, along)

    def interruption(self) -> TrainingInterrupted:
        """The exception to raise after an interrupt between two steps."""
        done, steps = self._trainer.done, self._trainer.config.train.steps
        message = f"train: interrupted after step {done:,} of {steps:,}; .model is the model so far"
        return TrainingInterrupted("; ".join([message, *self._resume_hint()]), self.model)

    def _check_not_torn(self) -> None:
        if self.is_torn:
            repair = ", or ".join(["train again", *self._resume_hint()])
            raise MotegptError(f"training: was stopped in the middle of a step; {repair}")

    def _resume_hint(self) -> list[str]:
        """One sentence if there is a folder to resume from, else none."""
        folder = self._trainer.folder
        return [] if folder is None else [f"resume the run with `resume={str(folder.path)!r}`"]


def prepared(
    kind: Callable[..., Model],
    method: Callable[..., Any],
    docs: Documents,
    settings: Mapping[str, Any],
    **how: Any,
) -> Training[Model]:
    """A training of a `kind` of model, with warnings about its data; SettingError for unknown settings.

    method: of the API that was called, for messages; how: arguments of `begin`.
    """
    settings = current_names(settings)
    check_names(settings, [name for one in REQUESTS.values() for name in kinds(one)], method)
    check_needs(settings, {"samples": "call `Training.model.generate` between steps"})
    trainer, corpus, remarks, _ = begin(docs, settings, **how)
    for remark in remarks:
        warn(remark, UserWarning)
    return Training(kind, trainer, corpus.documents)


def completed(training: Training[Model], hooks: Sequence[Callback], display: Display | None) -> Model:
    """Train to the end, or until a callback returns True, and return the model."""
    training.displays += [] if display is None else [display]
    training._trainer.every_record = bool(hooks or training.displays)
    try:
        with closing(iter(training)) as records:
            for record in records:
                if display is not None and hooks:
                    display.clear()
                answers = [plain(callback(record)) for callback in hooks]
                if any(answer is True for answer in answers):
                    break
    except TrainingInterrupted:
        raise
    except KeyboardInterrupt:  # in a callback, or in the middle of a step
        if training.is_torn:
            raise
        raise training.interruption() from None
    return training.model
