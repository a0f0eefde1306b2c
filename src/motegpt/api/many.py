"""Many trainings on the same data, in the threads of one process."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from threading import Event
from typing import TYPE_CHECKING, Any, Literal

from motegpt.api.gpt import GPT
from motegpt.config.arguments import flag
from motegpt.config.fields import Kind
from motegpt.config.text import shortened
from motegpt.errors import SettingError
from motegpt.system.processors import MAX_THREADS, available_processors
from motegpt.training.data import Data
from motegpt.training.many import KEEP, Ended, check_given, train_one

if TYPE_CHECKING:
    from motegpt.training.begin import Documents

Settings = Mapping[str, Any]
THREADS = Kind(int, "", optional=True, at_least=1, at_most=MAX_THREADS)


def train_many(
    settings: Iterable[Settings],
    data: Documents = None,
    *,
    threads: int | None = None,
    curves: bool = False,
    keep: Literal["best", "all"] | None = None,
) -> Iterator[dict[str, Any]]:
    """Train a model with each of many settings, and yield a row for each as it ends.

    settings: of each training the settings of `GPT.train` by name, with a `preset` and maybe an `engine`;
    "auto" is refused, as it would choose what the others leave open. Those of an iterator are read as
    trainings begin.
    data: a Data, or documents as of `GPT.train`. threads: trainings at a time (default: one per processor);
    each has one thread, unless its settings have others. Results do not depend on it, nor on the order.
    curves: add `curve`, and with `log_statistics` also `statistics`, of the logged steps.
    keep: add `model`, a GPT, which cannot be resumed; "best": only where it is better than all before it.

    A row is a plain dictionary of `index`, `status` ("ok", "diverged", "refused" or "failed") and `reason`,
    every setting by name, and numbers, such as `loss` and `val_loss` in nats per token: docs/sweeps.md lists
    them under "Rows".

    Raises SettingError for other arguments, an unknown setting and one without effect, such as
    `checkpoint_every`, and DataError for unreadable data, but not for values that no training can have.

    >>> rates = [{"preset": "microgpt", "steps": 50, "lr": lr, "engine": "array"} for lr in (0.01, 0.03, -1)]
    >>> rows = sorted(train_many(rates, ["anna", "hanna", "nan"]), key=lambda row: row["index"])
    >>> [(row["lr"], row["status"], row["loss"] and round(row["loss"], 2)) for row in rows]
    [(0.01, 'ok', 0.27), (0.03, 'ok', 0.23), (-1, 'refused', None)]
    """
    count: int = THREADS.check("threads", threads) or available_processors()
    curves, keep = flag("curves", curves), KEEP.check("keep", keep)
    if isinstance(settings, Mapping | str) or not isinstance(settings, Iterable):
        raise SettingError(
            f"settings: expected a list of settings by name, one for each training, got {shortened(settings)}"
        )
    checked = _checked(settings, curves, keep)
    if isinstance(settings, Sequence):
        checked = iter(list(checked))  # before any training begins
    shared = data if isinstance(data, Data) else Data(data)
    return _rows(checked, shared, count, curves, keep)


def _checked(settings: Iterable[Settings], curves: bool, keep: str | None) -> Iterator[Settings]:
    """The settings by their current names; SettingError for an item that is not a mapping or has others."""
    for index, one in enumerate(settings):
        if not isinstance(one, Mapping):
            raise SettingError(
                f"settings: expected settings by name, got {shortened(one)} at index {index}; give one "
                "dictionary for each training"
            )
        yield check_given(one, curves, keep)


def _rows(
    settings: Iterator[Settings], data: Data, threads: int, curves: bool, keep: str | None
) -> Generator[dict[str, Any], None, None]:
    """The rows, with the models to keep."""
    best = float("inf")
    for ended in _ended(settings, data, threads, curves):
        row, is_best = ended.row, ended.score < best
        best = min(best, ended.score)
        if keep is not None:
            row["model"] = _model(ended, data) if keep == "all" or is_best else None
        yield row


def _ended(
    settings: Iterator[Settings], data: Data, threads: int, curves: bool
) -> Generator[Ended, None, None]:
    """The trainings as they end, twice as many submitted as there are threads; stops them if it is closed."""
    stop, numbered, waiting = Event(), enumerate(settings), set[Future[Ended | None]]()
    with ThreadPoolExecutor(threads, "motegpt") as pool:
        try:
            while True:
                for index, one in islice(numbered, 2 * threads - len(waiting)):
                    waiting.add(pool.submit(train_one, index, one, data, curves, stop.is_set))
                if not waiting:
                    return
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from filter(None, (future.result() for future in done))
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


def _model(ended: Ended, data: Data) -> GPT | None:
    """The model of a training, without the training; None if there is none."""
    trainer = ended.trainer
    if trainer is None or ended.row["status"] != "ok":
        return None
    documents = data.corpus(trainer.config.data).documents
    return GPT(
        trainer.config, trainer.tokenizer, trainer.new_best_engine(),
        records=ended.records, documents=documents, average=trainer.average, known=trainer.known,
    )  # fmt: skip
