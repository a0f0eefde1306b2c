"""Rank and world size of a distributed training, from the environment variables of torchrun.

Standard library only: the command line needs them before it imports anything large.
"""

from __future__ import annotations

import os


def world_size() -> int:
    """Number of processes in the training; 1 without torchrun."""
    return _number("WORLD_SIZE", 1)


def rank() -> int:
    """Index of this process; rank 0 writes the run folder and the log."""
    return _number("RANK", 0)


def local_rank() -> int:
    """Index of this process on its machine."""
    return _number("LOCAL_RANK", 0)


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else default
