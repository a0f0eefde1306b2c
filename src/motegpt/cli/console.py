"""How a training shows itself: plain lines in a pipe, a live bar on a terminal, JSON for a machine."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Self, TextIO

import click

from motegpt.cli.streams import unread
from motegpt.model.spec import parameter_count
from motegpt.training.losses import Mean
from motegpt.training.reference import matching_preset
from motegpt.views.text import one_line, short_number, with_flags
from motegpt.views.utilisation import utilisation

if TYPE_CHECKING:
    from motegpt.config.sections import TrainConfig
    from motegpt.training.loop import Trainer
    from motegpt.training.records import Progress, StepRecord
    from motegpt.training.state import Best

QUIET = "motegpt.quiet"
CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
INFERENCE = "--- inference (new, hallucinated names) ---"


def remark(text: str) -> None:
    """Something beside the results: a line on standard error, unless --quiet was said."""
    if not is_quiet():
        with unread("stderr"):
            click.echo(harmless(with_flags(text)), err=True)


def say(text: str) -> None:
    """A result: as it is in a pipe or a file, harmless on a terminal."""
    click.echo(harmless(text) if is_terminal() else text)


def harmless(text: str) -> str:
    r"""A text with its control characters as escapes, newlines and tabs aside.

    A model writes what it was taught, and a terminal obeys what it reads: colours, titles, keys to press.

    >>> harmless("anna \x1b[31m")
    'anna \\x1b[31m'
    """
    return text.translate(CONTROLS)


def is_quiet() -> bool:
    """Whether --quiet was said."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(QUIET))


def is_terminal() -> bool:
    """Whether standard output is one; it may be closed altogether."""
    return sys.stdout is not None and sys.stdout.isatty()


class Screen:
    """A terminal to write to, harmlessly."""

    def __init__(self, terminal: TextIO) -> None:
        self._terminal = terminal

    def write(self, text: str) -> int:
        return self._terminal.write(harmless(text))

    def writelines(self, lines: Iterable[str]) -> None:
        self._terminal.writelines(map(harmless, lines))

    def flush(self) -> None:
        self._terminal.flush()


def report_for(trainer: Trainer, as_json: bool) -> Report:
    """The report that fits who is reading."""
    if as_json:
        return JsonReport(trainer)
    if is_quiet():
        return Report(trainer)
    return LiveReport(trainer) if is_terminal() else PlainReport(trainer)


def step_line(record: StepRecord, train: TrainConfig, one_step: bool) -> str:
    """step    1 / 1000 | loss 3.3660

    The loss is the mean since the line before, or with `one_step` that of the step.
    """
    number = record.step - 1 + train.count_from
    loss = record.loss if one_step else record.mean_loss
    judged = "" if record.val_loss is None else f" | val {record.val_loss:.4f}"
    return f"step {number:4d} / {train.steps:4d} | loss {loss:.4f}{judged}"


def sample_lines(samples: Sequence[str], trainer: Trainer) -> list[str]:
    """The samples, numbered, each in one line unless they are parts of a long text."""
    is_list = trainer.config.data.format != "stream"
    shown = map(one_line, samples) if is_list else samples
    return [f"sample {i:2d}: {text}" for i, text in enumerate(shown, 1)]


class Report:
    """What the train command tells of its progress; this one results and errors alone, for --quiet."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *ending: object) -> None:
        pass

    def begin(self) -> None:
        """What is trained on what; said before the report is entered."""

    def show(self, chunk: Progress) -> None:
        """Some steps were done."""
        if chunk.ended and chunk.samples is not None:
            self.show_samples(chunk.samples)

    def show_samples(self, samples: Sequence[str]) -> None:
        """What the model generates at the end of the training; not while the report is entered."""
        for line in sample_lines(samples, self.trainer):
            say(line)

    def end(self, interrupted: bool) -> None:
        """The run has stopped, and is saved if it has a folder; said after the report was left."""
        if interrupted:
            click.echo(harmless(f"interrupted after step {self.trainer.done}; {self._next()}"), err=True)

    def _next(self) -> str:
        """What to type to go on."""
        if self.trainer.folder is None:
            return "nothing was saved"
        path = shlex.quote(str(self.trainer.folder.path))
        return f"motegpt sample {path}" if self.trainer.ended else f"motegpt train --resume {path}"


class PlainReport(Report):
    """One line a logged step; the last samples under their heading; remarks on standard error.

    A run that is one of a reference program prints its lines: the losses of single steps.
    """

    def __init__(self, trainer: Trainer) -> None:
        super().__init__(trainer)
        self._one_step = matching_preset(trainer.config) is not None

    def begin(self) -> None:
        click.echo(f"num docs: {self.trainer.config.source.documents}")
        click.echo(f"vocab size: {self.trainer.config.model.vocab_size}")
        click.echo(f"num params: {parameter_count(self.trainer.config.model)}")
        click.echo("Training...")
        if self.trainer.done:
            click.echo(f"resumed after step {self.trainer.done}")

    def show(self, chunk: Progress) -> None:
        for line in self.lines(chunk):
            click.echo(line)

    def lines(self, chunk: Progress) -> list[str]:
        """Everything there is to say of a chunk."""
        train = self.trainer.config.train
        lines = [step_line(record, train, self._one_step) for record in chunk.records]
        if chunk.samples is not None:
            lines += [INFERENCE] * chunk.ended + sample_lines(chunk.samples, self.trainer)
        return lines

    def show_samples(self, samples: Sequence[str]) -> None:
        say(INFERENCE)
        super().show_samples(samples)

    def end(self, interrupted: bool) -> None:
        folder, best, done = self.trainer.folder, self.trainer.best, self.trainer.done
        if folder is not None:
            remark(f"saved {folder.path} after step {done}")
        if best is not None:
            if best.is_out_of_patience(self.trainer.config.train.patience):
                since = best.evaluations_since_best
                remark(f"stopped early after step {done}: {since} evaluations without a better one")
            remark(f"best after step {best.step}: {self._loss_of_best(best, interrupted)}")
            train = self.trainer.config.train
            if best.step == 1 and best.evaluations_since_best and (train.eval_every or train.log_every) > 1:
                remark("that model has hardly begun: a smaller --eval-every may find a better one")
        super().end(interrupted)

    def _loss_of_best(self, best: Best, interrupted: bool) -> str:
        """validation loss 2.0006: on all held-out data, unless the user is waiting for the end."""
        validation = self.trainer.validation
        loss = best.loss if interrupted else self.trainer.best_val_loss()
        of = ""
        if validation is not None and validation.is_sampled:
            some = f"{validation.sampled_targets:,} of" if interrupted else "all"
            of = f" on {some} {validation.targets:,} held-out tokens"
        return f"validation loss {loss:.4f}{of}"


class LiveReport(PlainReport):
    """The same lines, above a bar with loss, speed and time left."""

    def __enter__(self) -> Self:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._progress: Any = Progress(
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(compact=True),
            transient=True,
        )
        total, done = self.trainer.config.train.steps, self.trainer.done
        self._task = self._progress.add_task("", total=total, completed=done, status="")
        self._began: float = time.perf_counter()
        self._first, self._tokens = done, 0
        self._progress.__enter__()
        return self

    def __exit__(self, *ending: object) -> None:
        self._progress.__exit__(*ending)

    def show(self, chunk: Progress) -> None:
        self._tokens += chunk.tokens
        seconds = max(time.perf_counter() - self._began, 1e-9)
        steps, tokens = (chunk.done - self._first) / seconds, self._tokens / seconds
        share = utilisation(self.trainer, tokens)
        words = [f"loss {Mean().extended(chunk.losses).value:.3f}", f"{short_number(steps)} steps/s"]
        words += [f"{short_number(tokens)} tokens/s", *([] if share is None else [f"{share:.0%} MFU"])]
        self._progress.update(self._task, completed=chunk.done, status=" · ".join(words))
        for line in self.lines(chunk):
            self._progress.console.print(harmless(line), markup=False, highlight=False, soft_wrap=True)


class JsonReport(Report):
    """One JSON object a line: the event begin, then step and samples as they come, then end."""

    def begin(self) -> None:
        config = self.trainer.config
        self._say(
            "begin",
            documents=config.source.documents,
            vocab_size=config.model.vocab_size,
            parameters=parameter_count(config.model),
            engine=config.engine,
            steps=config.train.steps,
            done=self.trainer.done,
            cut=None if self.trainer.cut is None else asdict(self.trainer.cut),
            validation=self._validation(),
        )

    def show(self, chunk: Progress) -> None:
        for record in chunk.records:
            self._say("step", **record.values())
        if chunk.samples is not None:
            self.show_samples(chunk.samples)

    def show_samples(self, samples: Sequence[str]) -> None:
        self._say("samples", step=self.trainer.done, samples=samples)

    def end(self, interrupted: bool) -> None:
        folder, best = self.trainer.folder, self.trainer.best
        loss = None if interrupted else self.trainer.best_val_loss()
        self._say(
            "end",
            done=self.trainer.done,
            interrupted=interrupted,
            run=None if folder is None else str(folder.path),
            best=None if best is None else {"step": best.step, "val_loss": loss},
            diverged=self.trainer.divergence_message() is not None,
        )

    def _validation(self) -> dict[str, int] | None:
        """How many tokens were held out, and how many of them are evaluated on the way."""
        validation = self.trainer.validation
        if validation is None:
            return None
        return {"tokens": validation.targets, "sample": validation.sampled_targets}

    @staticmethod
    def _say(event: str, **values: Any) -> None:
        click.echo(json.dumps({"event": event, **values}))
