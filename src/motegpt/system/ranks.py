"""Which of the processes of one training this one is. torchrun says it, in the environment alone.

Standard library only: the command line asks before anything heavy is imported.
"""

from __future__ import annotations

import os


def world_size() -> int:
    """How many processes train together; 1 without torchrun."""
    return _number("WORLD_SIZE", 1)


def rank() -> int:
    """Which of them this is; rank 0 writes the run and speaks."""
    return _number("RANK", 0)


def local_rank() -> int:
    """Which of those on this machine it is."""
    return _number("LOCAL_RANK", 0)


def _number(name: str, otherwise: int) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else otherwise
