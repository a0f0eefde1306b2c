"""The formats to export to, by name."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from motegpt.config.text import shortened
from motegpt.errors import UsageError
from motegpt.system.runs import ENDING

if TYPE_CHECKING:
    from motegpt.interchange.model import PortableModel

# Name -> the function that writes a model to a path, and returns lines for the user; imported when used.
TARGETS = {"hf": "motegpt.interchange.hf.export_hf", "gguf": "motegpt.interchange.gguf.export_gguf"}
DEFAULT = "hf"
FILE = "file"  # a run as one file, which is for motegpt itself: training/run_archive.py


def export(model: PortableModel, to: object, out: Path) -> list[str]:
    """Write a model in a format; lines for the user. UsageError if it cannot be written, or exists."""
    if not isinstance(to, str) or to not in TARGETS:
        raise UsageError(f"to: expected {' or '.join([*TARGETS, FILE])}, got {shortened(to)}")
    if out.suffix == ENDING:
        raise UsageError(
            f"out: expected a name for another program, got {out}, a run in one file; choose another, or "
            f"`to={FILE!r}`"
        )
    module, _, name = TARGETS[to].rpartition(".")
    write: Callable[[PortableModel, Path], list[str]] = getattr(import_module(module), name)
    return write(model, out)
