"""Named arrays in a safetensors file with a digest of its contents.

The header is checked before any data are read, so that reading takes no more memory than the expected model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from motegpt.errors import RunFolderError

if TYPE_CHECKING:
    from motegpt.engines.base import Arrays

    Shapes = Mapping[str, tuple[int, ...] | None]

ENTRY = "motegpt"  # a single metadata entry, as the library writes several in varying order
FLOATS, INTEGERS = ("F32", "F64"), ("I64",)
UNSIGNED = ("U8", "U16", "U32", "U64")
MAX_FREE_BYTES = 2**33  # of a file with a tensor of any shape
MAX_HEADER = 2**24  # bytes; the largest possible model has 8 million


def tensor_bytes(tensors: Mapping[str, Any], metadata: Mapping[str, Any]) -> bytes:
    """The contents of a file with these tensors, this metadata and their digest."""
    from safetensors.numpy import save

    return save(dict(tensors), {ENTRY: json.dumps({**metadata, "sha256": digest(tensors, metadata)})})


def read_tensors(
    path: Path, shapes: Shapes, check: Callable[[Any], None], dtypes: Collection[str] = FLOATS
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The tensors with these names, shapes (None: any) and one of the dtypes, and the metadata.

    check: called with the metadata before tensors are read; raises if they are invalid. Raises RunFolderError
    if the file is damaged, has other tensors, does not match its digest, or has values that are not finite.
    """
    from safetensors import SafetensorError, safe_open

    try:
        _check_sizes(path, shapes)
        with safe_open(path, framework="numpy") as file:
            metadata = json.loads((file.metadata() or {}).get(ENTRY, "{}"))
            check(metadata)
            _check_shapes(path, file, shapes, dtypes)
            tensors = {name: file.get_tensor(name) for name in shapes}
        matches = metadata.pop("sha256", None) == digest(tensors, metadata)
    except (SafetensorError, OSError, TypeError, ValueError, KeyError, RecursionError) as error:
        raise RunFolderError(f"{path}: is not a complete safetensors file ({error})") from None
    if not matches:
        raise RunFolderError(f"{path}: contents do not match the digest; the file was changed")
    _check_finite(path, tensors)
    return tensors, metadata


def digest(tensors: Mapping[str, Any], metadata: Mapping[str, Any]) -> str:
    """SHA-256 of the names, dtypes, shapes and values of all tensors, and of the metadata."""
    import numpy as np

    total = hashlib.sha256(json.dumps(sorted(metadata.items())).encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        total.update(f"{name} {array.dtype} {array.shape}\n".encode())
        total.update(array.data)
    return total.hexdigest()


def _check_sizes(path: Path, shapes: Shapes) -> None:
    """ValueError if the file or its header is larger than that of any model with these shapes."""
    size = path.stat().st_size
    if size < 8:  # special files, whose reads may block, have size 0
        raise ValueError(f"expected at least 8 bytes, got {size}")
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > MAX_HEADER:
        raise ValueError(f"expected a header of at most {MAX_HEADER:,} bytes, got {length:,}")
    known = [shape for shape in shapes.values() if shape is not None]
    max_size = 8 + length + 8 * sum(map(prod, known)) if len(known) == len(shapes) else MAX_FREE_BYTES
    if size > max_size:
        raise ValueError(f"expected at most {max_size:,} bytes, got {size:,}")


def _check_shapes(path: Path, file: Any, shapes: Shapes, dtypes: Collection[str]) -> None:
    """RunFolderError unless the file has exactly these tensors, in one of the dtypes."""
    slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
    found = {name: tuple(one.get_shape()) for name, one in slices.items()}
    expected = {name: found.get(name, "any") if shape is None else shape for name, shape in shapes.items()}
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if wrong:
        name = wrong[0]
        raise RunFolderError(
            f"{path}: {_shortened(name)}: expected shape {expected.get(name)}, got {found.get(name)}; "
            "config.json belongs to another model"
        )
    for name, one in slices.items():
        if one.get_dtype() not in dtypes:
            raise RunFolderError(
                f"{path}: {name}: expected {' or '.join(dtypes)}, got {one.get_dtype()}; the file was changed"
            )


def _check_finite(path: Path, tensors: Arrays) -> None:
    """RunFolderError if a value is NaN or infinite."""
    import numpy as np

    for name, array in tensors.items():
        if not np.isfinite(array).all():
            raise RunFolderError(
                f"{path}: {name}: expected finite numbers, got NaN or infinity; the model diverged or the "
                "file was changed"
            )


def _shortened(name: str) -> str:
    """A name from a file, shortened for messages."""
    return name if len(name) <= 40 else name[:37] + "..."
