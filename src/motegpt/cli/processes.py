"""Training in several processes from the command line: rank 0 leads, the others follow."""

from __future__ import annotations

import shlex
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from motegpt.cli.console import log
from motegpt.errors import RankLost
from motegpt.system.interrupts import TERMINATION_SIGNALS
from motegpt.views.utilization import speed_line

if TYPE_CHECKING:
    from motegpt.training.loop import Trainer

REPORT_SECONDS = 1.0  # a shorter training does not show the speed of a device


def lead(trainer: Trainer, train: Callable[[], int]) -> int:
    """Train, log the utilization if the engine knows its peak, and release the other processes."""
    first, began = trainer.done, time.perf_counter()
    try:
        code = train()
        seconds = time.perf_counter() - began
        if seconds > REPORT_SECONDS:
            tokens = trainer.plan.tokens(first, trainer.done - first)
            line = speed_line(trainer, tokens / seconds)
            if line is not None:
                log(line)
        return code
    except RankLost as error:
        raise RankLost(f"train: {error}; {what_is_left(trainer)}") from error
    finally:
        trainer.engine.close()


def what_is_left(trainer: Trainer) -> str:
    """How to continue a training that lost a process."""
    if trainer.folder is None or trainer.saved is None:
        return "nothing was saved; --out RUN would have"
    return (
        f"last good checkpoint: after step {trainer.saved} in {trainer.folder.path}; go on with "
        f"--resume {shlex.quote(str(trainer.folder.path))}, in as many processes as you like"
    )


def follow(trainer: Trainer) -> int:
    """Do what rank 0 does, ignoring signals: rank 0 finishes its step and ends the others."""
    for number in TERMINATION_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    try:
        trainer.engine.follow(trainer.plan)
    finally:
        trainer.engine.close()
    return 0
