"""Training in several processes: rank 0 leads, the others follow."""

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

REPORT_SECONDS = 1.0  # a shorter training is not representative


def lead(trainer: Trainer, train: Callable[[], int]) -> int:
    """Train, log the utilization if the engine's peak is known, and release the other processes."""
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
        raise RankLost(f"train: {error}; {recovery_hint(trainer)}") from error
    finally:
        trainer.engine.close()


def recovery_hint(trainer: Trainer) -> str:
    """How to continue after another process was lost."""
    if trainer.folder is None or trainer.saved is None:
        return "nothing was saved; --out RUN would have"
    return (
        f"last good checkpoint: after step {trainer.saved} in {trainer.folder.path}; continue with "
        f"--resume {shlex.quote(str(trainer.folder.path))}, in any number of processes"
    )


def follow(trainer: Trainer) -> int:
    """Follow rank 0 and ignore signals: on a signal rank 0 finishes its step and stops the others."""
    for number in TERMINATION_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    try:
        trainer.engine.follow(trainer.plan)
    finally:
        trainer.engine.close()
    return 0
