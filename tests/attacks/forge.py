"""Forged run folders: files with arbitrary contents and valid digests."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.numpy import save

from motegpt import GPT
from motegpt.training.tensor_files import ENTRY, digest

DOCUMENTS = ["anna", "bob", "carla", "hanna"]
SMALL = {"n_embd": 4, "n_head": 2, "block_size": 6, "engine": "array", "n": 2, "val_fraction": 0.3}

DEEP: Any = []
for _ in range(400):
    DEEP = [DEEP]
ODD: list[Any] = [
    None, True, False, 0, -1, 1, 3, 2**31, 2**63, -(2**63), 10**30, 10**400, 0.5, -0.5, 1e308, -1e308, 1e-320,
    float("nan"), float("inf"), "", "x", "none", "\ud800", "\x1b[2J", "\0", "\n", "a" * 5000, "../../x",
    "/dev/zero", [], [[]], [1, 2], {}, {"a": {}}, DEEP,
]  # fmt: skip


def make_run(folder: Path, steps: int = 4, **settings: Any) -> Path:
    """A small run and its training data, both in `folder`."""
    (folder / "list.txt").write_text("\n".join(DOCUMENTS) + "\n")
    model = GPT.train(folder / "list.txt", steps=steps, **{**SMALL, **settings}, preset="microgpt")
    model.save(folder / "run")
    return folder / "run"


def copied(run: Path, to: Path) -> Path:
    """Copy a run, replacing an existing copy."""
    shutil.rmtree(to, ignore_errors=True)
    return Path(shutil.copytree(run, to))


def leaves(values: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of keys to every value and object in nested objects."""
    if path:
        yield path
    if isinstance(values, dict):
        for key, value in values.items():
            yield from leaves(value, (*path, key))


def changed(values: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """A copy with one value replaced."""
    head, *rest = path
    return {**values, head: changed(values[head], tuple(rest), value) if rest else value}


def edit_json(path: Path, *keys: Any, value: Any) -> None:
    """Replace one value of a JSON file."""
    path.write_text(json.dumps(changed(json.loads(path.read_text()), keys, value)))


def forge(
    path: Path,
    tensors: Callable[[dict[str, Any]], None] = lambda _: None,
    metadata: Callable[[dict[str, Any]], None] = lambda _: None,
) -> None:
    """Change a safetensors file of a run and update its digest."""
    with safe_open(path, "numpy") as file:
        entry = json.loads(file.metadata()[ENTRY])
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    del entry["sha256"]
    tensors(arrays)
    metadata(entry)
    path.write_bytes(save(arrays, {ENTRY: json.dumps({**entry, "sha256": digest(arrays, entry)})}))


def file_of(header: bytes | dict[str, Any], data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file with this header. length: the recorded length of the header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data
