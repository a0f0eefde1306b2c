"""A training in progress: iterate for its records, take its model at any time."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Generic, TypeVar

from motegpt.api.warn import warn
from motegpt.config.text import concise
from motegpt.errors import MotegptError, TrainingInterrupted
from motegpt.system.interrupts import DeferredSignals, default_interrupt, deferring
from motegpt.training.build import build_engine

if TYPE_CHECKING:
    from motegpt.training.loop import Trainer
    from motegpt.training.records import StepRecord

Model = TypeVar("Model")


class Training(Generic[Model]):
    """A training in progress: iterate for the records of the logged steps.

    Leaving the loop stops it, and saves it if it has a folder; iterating again goes on. `model` is what it
    has made so far: the best by what was held out, or the newest. `records` are those of all steps done here.
    Ctrl-C while a step is done lets that be finished and raises TrainingInterrupted, in the main thread and
    where the program has no handler of its own; a second one stops at once, and is_torn is True from then on.
    """

    def __init__(self, kind: Callable[..., Model], trainer: Trainer, documents: Sequence[str]) -> None:
        self._kind, self._trainer, self._documents = kind, trainer, documents
        self._trainer.every_record = True
        self.records: list[StepRecord] = []
        self.is_torn = False  # between two steps: what the engine holds belongs to none

    def __repr__(self) -> str:
        trainer, last = self._trainer, self.records[-1] if self.records else None
        values = {"step": trainer.done, "steps": trainer.config.train.steps, "engine": trainer.config.engine}
        values["out"] = None if trainer.folder is None else str(trainer.folder.path)
        return concise(type(self).__name__, {**values, "loss": None if last is None else last.mean_loss})

    def __len__(self) -> int:
        """How many records there are when it is done; early stopping may leave some out."""
        return len(self.records) + self._trainer.records_to_come()

    def __iter__(self) -> Generator[StepRecord, None, None]:
        self._check_whole()
        noted = DeferredSignals(default_interrupt())
        try:
            with closing(deferring(self._trainer.run(interrupted=noted.__bool__), noted)) as chunks:
                for chunk in chunks:
                    self.records += chunk.records
                    yield from chunk.records
        finally:
            self.is_torn = noted.is_torn
        if noted:
            raise self.interruption()
        diverged = self._trainer.divergence_message()
        if diverged is not None:
            warn(diverged, RuntimeWarning)

    @property
    def model(self) -> Model:
        """The model so far. It keeps its parameters if the training goes on."""
        self._check_whole()
        trainer = self._trainer
        engine = build_engine(trainer.config)
        engine.load(trainer.best_parameters())
        return self._kind(
            trainer.config,
            trainer.tokenizer,
            engine,
            records=self.records,
            trainer=trainer,
            documents=self._documents,
        )

    def interruption(self) -> TrainingInterrupted:
        """What to raise where it was interrupted and is whole."""
        done, steps = self._trainer.done, self._trainer.config.train.steps
        said = f"train: interrupted after step {done:,} of {steps:,}; .model is the model so far"
        return TrainingInterrupted("; ".join([said, *self._how_to_go_on()]), self.model)

    def _check_whole(self) -> None:
        """MotegptError if it was stopped in the middle of a step."""
        if self.is_torn:
            again = ", or: ".join(["begin it again", *self._how_to_go_on()])
            raise MotegptError(f"training: it was stopped in the middle of a step; {again}")

    def _how_to_go_on(self) -> list[str]:
        """With what was saved, if anything was."""
        folder = self._trainer.folder
        return [] if folder is None else [f"`resume={str(folder.path)!r}` goes on"]
