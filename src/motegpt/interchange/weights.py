"""Read the safetensors files of another program's folder, which is untrusted input.

Names, shapes and dtypes are checked before any number is read. A pickle is never opened.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from motegpt.config.text import shortened
from motegpt.errors import RunFolderError
from motegpt.system.files import read_bounded_file
from motegpt.training.tensor_files import MAX_HEADER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from motegpt.engines.base import Arrays

MODEL, INDEX = "model.safetensors", "model.safetensors.index.json"
MAX_JSON_BYTES, MAX_SHARDS = 2**26, 1000
FLOATS = ("F16", "BF16", "F32", "F64")
WIDE = "F64"  # the one dtype that single precision does not hold


@dataclass(frozen=True)
class Found:
    """A tensor in a file: shape and dtype, and where its bytes are."""

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: str


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; RunFolderError if it is missing, a link, or no such file."""
    check_regular(path)
    try:
        values = json.loads(read_bounded_file(path, MAX_JSON_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RunFolderError(f"{path}: expected JSON, got {shortened(str(reason))}") from None
    if not isinstance(values, dict):
        raise RunFolderError(f"{path}: expected a JSON object, got {shortened(values)}")
    return values


def check_regular(path: Path) -> None:
    """RunFolderError for a symbolic link, which may lead anywhere, and for a missing file."""
    if path.is_symlink():
        raise RunFolderError(
            f"{path}: expected a file, got a symbolic link; copy the folder with `cp -rL` and import the copy"
        )
    if not path.is_file():
        raise RunFolderError(f"{path}: expected a file, got none")


def tensors_in(folder: Path) -> dict[str, Found]:
    """Every tensor of a model's files by name; RunFolderError if they are damaged or are not as indexed."""
    if not (folder / MODEL).exists() and not (folder / INDEX).exists():
        pickles = sorted(path.name for path in folder.glob("*.bin"))
        if pickles:
            raise RunFolderError(
                f"{folder / pickles[0]}: expected {MODEL}, got a pickle, which can execute anything; let "
                "transformers write the model again with save_pretrained"
            )
    if (folder / MODEL).exists() or not (folder / INDEX).exists():
        return _listed(folder / MODEL)
    shards = _shards(folder / INDEX)
    found: dict[str, Found] = {}
    for shard in sorted(set(shards.values())):
        found.update(_listed(folder / shard))
    for name in sorted(shards.keys() | found.keys()):
        if name not in found or found[name].path.name != shards.get(name):
            raise RunFolderError(
                f"{folder / INDEX}: {shortened(name)}: expected it in {shortened(shards.get(name))}, got "
                f"{found[name].path.name if name in found else 'no such tensor'}"
            )
    return found


def _shards(path: Path) -> dict[str, str]:
    """The file of each tensor, from an index."""
    shards = read_json(path).get("weight_map")
    if not isinstance(shards, dict) or len(set(map(str, shards.values()))) > MAX_SHARDS:
        raise RunFolderError(f"{path}: expected a weight_map of at most {MAX_SHARDS:,} files, got another")
    for file in shards.values():
        if not isinstance(file, str) or not file.endswith(".safetensors") or Path(file).name != file:
            raise RunFolderError(f"{path}: expected names of safetensors files, got {shortened(file)}")
    return shards


def _listed(path: Path) -> dict[str, Found]:
    """The tensors of a file."""
    check_regular(path)
    with _opened(path) as file:
        found = {}
        for name in file.keys():  # noqa: SIM118
            one = file.get_slice(name)
            found[name] = Found(path, name, tuple(one.get_shape()), one.get_dtype())
        return found


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The opened file; RunFolderError if it is damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with path.open("rb") as file:
            if int.from_bytes(file.read(8), "little") > MAX_HEADER:
                raise ValueError(f"a header of more than {MAX_HEADER:,} bytes")
        with safe_open(path, framework="numpy") as file:
            yield file
    except (SafetensorError, OSError, TypeError, ValueError, KeyError, RecursionError) as error:
        raise RunFolderError(f"{path}: is not a complete safetensors file ({error})") from None


def read_floats(wanted: Mapping[str, Found]) -> Arrays:
    """The tensors as float32, or as float64 if one of them is; both hold 16-bit numbers exactly.

    RunFolderError for numbers of another kind, or NaN or infinity.
    """
    import numpy as np

    for name, found in wanted.items():
        if found.dtype not in FLOATS:
            raise RunFolderError(
                f"{found.path}: {name}: expected {', '.join(FLOATS)}, got {shortened(found.dtype)}"
            )
    dtype = np.float64 if any(found.dtype == WIDE for found in wanted.values()) else np.float32
    arrays = {name: _read(found).astype(dtype, copy=False) for name, found in wanted.items()}
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise RunFolderError(f"{wanted[name].path}: {name}: expected finite numbers, got NaN or infinity")
    return arrays


def read_integers(found: Found) -> Any:
    """A tensor of 64-bit integers; RunFolderError for another dtype."""
    if found.dtype != "I64":
        raise RunFolderError(f"{found.path}: {found.name}: expected I64, got {shortened(found.dtype)}")
    return _read(found)


def _read(found: Found) -> Any:
    """The array of a tensor; bfloat16, which NumPy lacks, are the upper halves of float32."""
    import numpy as np

    with _opened(found.path) as file:
        if found.dtype != "BF16":
            return file.get_tensor(found.name)
    with found.path.open("rb") as raw:
        length = int.from_bytes(raw.read(8), "little")
        start, end = json.loads(raw.read(length))[found.name]["data_offsets"]
        raw.seek(8 + length + start)
        upper = np.frombuffer(raw.read(end - start), "<u2").astype(np.uint32)
    return (upper << 16).view(np.float32).reshape(found.shape)
