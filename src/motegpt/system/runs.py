"""Which paths are runs: a folder by its config.json, or one file by its name; and which are sweeps."""

from __future__ import annotations

import json
import os
from pathlib import Path

from motegpt.system.files import read_bounded_file

CONFIG, ENDING = "config.json", ".motegpt"  # of a folder; of the name of a file
SWEEP = "sweep.json"  # of the folder of a sweep
KEPT = {"best": "best", "all": "models"}  # `keep` of a sweep -> its folder of models
MAX_JSON_BYTES = 2**26


def is_archive(path: Path) -> bool:
    """Whether a run is one file, by its name; folders may have any name."""
    return path.suffix == ENDING and os.path.isfile(path)  # unlike Path.is_file, accepts any string


def is_sweep(path: str | Path) -> bool:
    """Whether a path is the folder of a sweep."""
    return os.path.isfile(os.path.join(path, SWEEP))


def instead_of_sweep(path: Path) -> str:
    """The runs that a sweep has kept, in a message to someone who gave the sweep as a run."""
    kept = [file for name in KEPT.values() for file in sorted((path / name).glob(f"*{ENDING}"))]
    if not kept:
        return "it has kept no model; run it again with `keep='best'`"
    return f"give one of its {len(kept):,} models, as {kept[0]}" if kept[1:] else f"give {kept[0]}"


def is_run(path: Path) -> bool:
    """Whether a path looks like a run, not like data to train on."""
    return is_archive(path) or (path / CONFIG).is_file()


def is_run_folder(path: Path) -> bool:
    """Whether config.json is that of a run, in any version of the format."""
    try:
        values = json.loads(read_bounded_file(path / CONFIG, MAX_JSON_BYTES))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(values, dict) and {"format", "engine", "model", "train"} <= values.keys()


def ways_to_train(path: Path) -> str:
    """How to train a run, in a message to someone who gave it as data."""
    fine_tuning = f"training fine-tunes it with {fine_tuning_of(path)}"
    return fine_tuning if is_archive(path) else f"{fine_tuning}, and continues it with `resume={str(path)!r}`"


def fine_tuning_of(path: str | Path) -> str:
    """How to fine-tune a run, in a message: the command line shows --from in its place (views/text.py)."""
    return f"`GPT.load({str(path)!r}).fine_tune`"
