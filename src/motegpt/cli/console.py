"""Training reports: plain lines in a pipe, a live progress bar on a terminal, or JSON.

Every command prints with this module, so what reports alone need is imported where they need it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Self, TextIO

import click

from motegpt.cli.streams import discard_if_closed
from motegpt.system.terminals import is_live
from motegpt.views.text import one_line, short_number, with_flags

if TYPE_CHECKING:
    from motegpt.config.sections import TrainConfig
    from motegpt.training.loop import Trainer
    from motegpt.training.records import Progress, StepRecord
    from motegpt.training.state import Best

QUIET = "motegpt.quiet"
CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
INFERENCE = "--- inference (new, hallucinated names) ---"
INFERENCE_OF_IDS = "--- inference (new sequences of ids) ---"


def log(text: str) -> None:
    """Print a line to standard error, unless --quiet was given."""
    if not is_quiet():
        with discard_if_closed("stderr"):
            click.echo(escape_control_characters(with_flags(text)), err=True)


def print_result(text: str) -> None:
    """Print to standard output, with control characters escaped if it is a terminal."""
    click.echo(escape_control_characters(text) if is_terminal() else text)


def escape_control_characters(text: str) -> str:
    r"""Escape control characters, except newlines and tabs.

    Generated text can contain control sequences of the training data, which a terminal would execute.

    >>> escape_control_characters("anna \x1b[31m")
    'anna \\x1b[31m'
    """
    return text.translate(CONTROLS)


def is_quiet() -> bool:
    """Whether --quiet was given."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(QUIET))


def is_terminal() -> bool:
    """Whether standard output is a terminal; False if it is closed."""
    return sys.stdout is not None and sys.stdout.isatty()


class Screen:
    """A terminal to write text to, with control characters escaped."""

    def __init__(self, terminal: TextIO) -> None:
        self._terminal = terminal

    def write(self, text: str) -> int:
        return self._terminal.write(escape_control_characters(text))

    def writelines(self, lines: Iterable[str]) -> None:
        self._terminal.writelines(map(escape_control_characters, lines))

    def flush(self) -> None:
        self._terminal.flush()


def report_for(trainer: Trainer, as_json: bool) -> Report:
    """The report class that fits --json, --quiet, a terminal, or a pipe or a notebook."""
    if as_json:
        return JsonReport(trainer)
    if is_quiet():
        return Report(trainer)
    return LiveReport(trainer) if is_live(sys.stdout) else PlainReport(trainer)


def step_line(record: StepRecord, train: TrainConfig, one_step: bool) -> str:
    """step    1 / 1000 | loss 3.3660

    The loss is the mean since the previous line, or with `one_step` the loss of that step.
    """
    number = record.step - 1 + train.count_from
    loss = record.loss if one_step else record.mean_loss
    validation = "" if record.val_loss is None else f" | val {record.val_loss:.4f}"
    if record.val_accuracy is not None:
        validation += f" | accuracy {record.val_accuracy:.4f}"
    return f"step {number:4d} / {train.steps:4d} | loss {loss:.4f}{validation}"


def inference_line(trainer: Trainer) -> str:
    """The line above the samples."""
    return INFERENCE_OF_IDS if trainer.config.data.is_ids else INFERENCE


def sample_lines(samples: Sequence[str], trainer: Trainer) -> list[str]:
    """The samples, numbered; one line each unless the data are one long text."""
    is_list = not trainer.config.data.is_stream
    shown = map(one_line, samples) if is_list else samples
    return [f"sample {i:2d}: {text}" for i, text in enumerate(shown, 1)]


class Report:
    """Base of the training reports; prints results and errors only, as for --quiet."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *ending: object) -> None:
        pass

    def begin(self) -> None:
        """Report the data and the model; called before the `with` block."""

    def show(self, chunk: Progress) -> None:
        """Report a chunk of steps."""
        if chunk.ended and chunk.samples is not None:
            self.show_samples(chunk.samples)

    def show_samples(self, samples: Sequence[str]) -> None:
        """Print the samples at the end of training; called after the `with` block."""
        for line in sample_lines(samples, self.trainer):
            print_result(line)

    def end(self, interrupted: bool) -> None:
        """Report how the run ended and where it is saved; called after the `with` block."""
        if interrupted:
            click.echo(
                escape_control_characters(
                    f"interrupted after step {self.trainer.done}; {self._continue_command()}"
                ),
                err=True,
            )

    def _continue_command(self) -> str:
        """The command that continues the run."""
        if self.trainer.folder is None:
            return "nothing was saved"
        import shlex

        path = shlex.quote(str(self.trainer.folder.path))
        return f"motegpt sample {path}" if self.trainer.ended else f"motegpt train --resume {path}"


class PlainReport(Report):
    """One line per logged step, then the samples under a heading; log messages go to standard error.

    Runs with the settings of a reference program print losses of single steps, as that program does.
    """

    def __init__(self, trainer: Trainer) -> None:
        from motegpt.training.reference import matching_preset

        super().__init__(trainer)
        self._one_step = matching_preset(trainer.config) is not None
        self._samples: int | None = None  # drawn at the end

    def begin(self) -> None:
        from motegpt.model.spec import parameter_count

        name = "num sequences" if self.trainer.config.data.is_ids else "num docs"
        click.echo(f"{name}: {self.trainer.config.source.documents}")
        click.echo(f"vocab size: {self.trainer.config.model.vocab_size}")
        click.echo(f"num params: {parameter_count(self.trainer.config.model)}")
        click.echo("Training...")
        if self.trainer.done:
            click.echo(f"resumed after step {self.trainer.done}")

    def show(self, chunk: Progress) -> None:
        for line in self.lines(chunk):
            click.echo(line)

    def lines(self, chunk: Progress) -> list[str]:
        """The lines for a chunk of steps."""
        train = self.trainer.config.train
        lines = [step_line(record, train, self._one_step) for record in chunk.records]
        if chunk.ended and self.trainer.measure is not None and self.trainer.config.check == "second model":
            from motegpt.training.auto import whole

            data = whole(self.trainer.config.data.is_stream)
            lines.append(f"measuring: a second model learns 7/8 of {data}")
        if chunk.samples is not None:
            self._samples = len(chunk.samples)
            lines += [inference_line(self.trainer)] * chunk.ended + sample_lines(chunk.samples, self.trainer)
        return lines

    def show_samples(self, samples: Sequence[str]) -> None:
        print_result(inference_line(self.trainer))
        super().show_samples(samples)

    def end(self, interrupted: bool) -> None:
        folder, best, done = self.trainer.folder, self.trainer.best, self.trainer.done
        if folder is not None:
            log(f"saved {folder.path} after step {done}")
        if best is not None:
            if best.is_out_of_patience(self.trainer.config.train.patience):
                since = best.evaluations_since_best
                log(f"stopped early after step {done}: {since} evaluations without improvement")
            log(f"best after step {best.step}: {self._loss_of_best(best, interrupted)}")
            train = self.trainer.config.train
            if best.step == 1 and best.evaluations_since_best and (train.eval_every or train.log_every) > 1:
                log("that model has trained for one step only; a smaller --eval-every may find a better one")
            elif (
                folder is not None
                and not self.trainer.ended
                and best.evaluations_since_best == 0
                and best.step < done
            ):
                log(
                    f"step {done} was not evaluated, so step {best.step} is what {folder.path} samples with; "
                    "--checkpoint last samples with the last step"
                )
        sample = self.trainer.config.sample
        wanted = sample.n if sample.beams is None else min(sample.n, sample.beams)
        if not interrupted and self._samples is not None and self._samples < wanted:
            log(f"{self._samples} of {wanted} samples, as others were repeated, in the list or refused")
        if (average := self.trainer.average) is not None:
            order, weight = average.kneser_ney.order, average.weight
            log(f"averaged with Kneser-Ney n-grams of order {order}, weight {weight:.2f}")
        if self.trainer.report is not None:
            from motegpt.views.report import report_lines

            for line in report_lines(self.trainer.report):
                log(line)
        super().end(interrupted)

    def _loss_of_best(self, best: Best, interrupted: bool) -> str:
        """validation loss 2.0006, on the whole validation set unless the run was interrupted."""
        validation = self.trainer.validation
        loss = best.loss if interrupted else self.trainer.best_val_loss()
        scope = ""
        if validation is not None and validation.is_sampled:
            count = f"{validation.data.sampled_targets:,} of" if interrupted else "all"
            scope = f" on {count} {validation.data.targets:,} held-out tokens"
        return f"validation loss {loss:.4f}{scope}"


class LiveReport(PlainReport):
    """Plain lines above a progress bar with loss, speed and remaining time."""

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
        from motegpt.training.losses import Mean
        from motegpt.views.utilization import utilization

        self._tokens += chunk.tokens
        seconds = max(time.perf_counter() - self._began, 1e-9)
        steps, tokens = (chunk.done - self._first) / seconds, self._tokens / seconds
        share = utilization(self.trainer, tokens)
        words = [f"loss {Mean().extended(chunk.losses).value:.3f}", f"{short_number(steps)} steps/s"]
        words += [f"{short_number(tokens)} tokens/s", *([] if share is None else [f"{share:.0%} MFU"])]
        self._progress.update(self._task, completed=chunk.done, status=" · ".join(words))
        for line in self.lines(chunk):
            self._progress.console.print(
                escape_control_characters(line), markup=False, highlight=False, soft_wrap=True
            )


class JsonReport(Report):
    """One JSON object per line: the events begin, step, samples and end."""

    def begin(self) -> None:
        from dataclasses import asdict

        from motegpt.model.spec import parameter_count

        config = self.trainer.config
        self._emit(
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
            self._emit("step", **record.values())
        if chunk.samples is not None:
            self.show_samples(chunk.samples)

    def show_samples(self, samples: Sequence[str]) -> None:
        self._emit("samples", step=self.trainer.done, samples=samples)

    def end(self, interrupted: bool) -> None:
        from motegpt.views.report import report_values

        folder, best = self.trainer.folder, self.trainer.best
        loss, average = None if interrupted else self.trainer.best_val_loss(), self.trainer.average
        self._emit(
            "end",
            done=self.trainer.done,
            interrupted=interrupted,
            run=None if folder is None else str(folder.path),
            best=None if best is None else {"step": best.step, "val_loss": loss},
            diverged=self.trainer.divergence_message() is not None,
            **({} if average is None else {"kneser_ney_weight": average.weight}),
            **({} if self.trainer.report is None else {"report": report_values(self.trainer.report)}),
        )

    def _validation(self) -> dict[str, int] | None:
        """Tokens of the validation set, and the number evaluated during training."""
        validation = self.trainer.validation
        if validation is None:
            return None
        return {"tokens": validation.data.targets, "sample": validation.data.sampled_targets}

    @staticmethod
    def _emit(event: str, **values: Any) -> None:
        import json

        click.echo(json.dumps({"event": event, **values}))
