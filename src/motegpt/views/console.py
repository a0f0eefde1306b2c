"""How a training shows itself: plain lines in a pipe, a live bar on a terminal."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import click

from motegpt.views.utilisation import utilisation

if TYPE_CHECKING:
    from types import TracebackType

    from motegpt.train import Chunk, StepRecord, Trainer

INFERENCE = "--- inference (new, hallucinated names) ---"


class Report(Protocol):
    """What the train command tells of its progress."""

    def __enter__(self) -> Report: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, chunk: Chunk) -> None:
        """Some steps were done."""


def begin(trainer: Trainer, parameters: int) -> None:
    """What is trained on what."""
    click.echo(f"num docs: {trainer.config.source.documents}")
    click.echo(f"vocab size: {trainer.config.model.vocab_size}")
    click.echo(f"num params: {parameters}")
    click.echo("Training...")


def report_for(trainer: Trainer, live: bool) -> Report:
    """The report for a terminal, or for a pipe."""
    return LiveReport(trainer) if live else PlainReport(trainer)


def step_line(record: StepRecord, trainer: Trainer) -> str:
    """step    1 / 1000 | loss 3.3660"""
    train = trainer.config.train
    number = record.step - 1 + train.count_from
    return f"step {number:4d} / {train.steps:4d} | loss {record.loss:.4f}"


def sample_lines(samples: Sequence[str]) -> list[str]:
    """The samples, numbered."""
    return [f"sample {i:2d}: {text}" for i, text in enumerate(samples, 1)]


class PlainReport:
    """One line a logged step; the last samples under their heading."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer

    def __enter__(self) -> PlainReport:
        return self

    def __exit__(self, *ending: object) -> None:
        pass

    def show(self, chunk: Chunk) -> None:
        for line in self.lines(chunk):
            click.echo(line)

    def lines(self, chunk: Chunk) -> list[str]:
        """Everything there is to say of a chunk."""
        lines = [step_line(record, self._trainer) for record in chunk.records]
        if chunk.samples is not None:
            last = chunk.done == self._trainer.config.train.steps
            lines += [INFERENCE] * last + sample_lines(chunk.samples)
        return lines


class LiveReport(PlainReport):
    """The same lines, above a bar with loss, speed and time left."""

    def __init__(self, trainer: Trainer) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        super().__init__(trainer)
        self._progress: Any = Progress(
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            BarColumn(bar_width=None),
            TextColumn("loss {task.fields[loss]:.3f} · {task.fields[speed]}"),
            TimeRemainingColumn(compact=True),
            transient=True,
        )
        total, done = trainer.config.train.steps, trainer.done
        self._task = self._progress.add_task("", total=total, completed=done, loss=float("nan"), speed="")
        self._began: float = time.perf_counter()
        self._first, self._tokens = done, 0

    def __enter__(self) -> LiveReport:
        self._progress.__enter__()
        return self

    def __exit__(self, *ending: object) -> None:
        self._progress.__exit__(*ending)

    def show(self, chunk: Chunk) -> None:
        self._tokens += chunk.tokens
        seconds = max(time.perf_counter() - self._began, 1e-9)
        steps, tokens = (chunk.done - self._first) / seconds, self._tokens / seconds
        share = utilisation(self._trainer, tokens)
        speed = f"{_short(steps)} steps/s · {_short(tokens)} tokens/s"
        speed += "" if share is None else f" · {share:.0%} MFU"
        self._progress.update(self._task, completed=chunk.done, loss=chunk.losses[-1], speed=speed)
        for line in self.lines(chunk):
            self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)


def _short(x: float) -> str:
    """1234567 -> 1.2M"""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if x >= size:
            return f"{x / size:.1f}{unit}"
    return f"{x:.0f}"
