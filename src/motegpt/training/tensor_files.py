"""Named arrays in a safetensors file with a digest over all it says.

What the header promises is checked before a single number is read, so that a file costs no more memory
than the model that is asked for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from motegpt.errors import RunFolderError

if TYPE_CHECKING:
    from motegpt.engines.base import Arrays

    Shapes = Mapping[str, tuple[int, ...]]

ENTRY = "motegpt"  # one entry of metadata: the library writes several in an order that changes
DTYPES = ("F32", "F64")
LARGEST_HEADER = 2**24  # bytes; the largest model there may be has 8 million


def tensor_bytes(tensors: Arrays, metadata: Mapping[str, Any]) -> bytes:
    """The file."""
    from safetensors.numpy import save

    return save(dict(tensors), {ENTRY: json.dumps({**metadata, "sha256": digest(tensors, metadata)})})


def read_tensors(path: Path, shapes: Shapes, check: Callable[[Any], None]) -> tuple[Arrays, dict[str, Any]]:
    """The tensors, of these names and shapes and all numbers finite, and the metadata.

    check: raises for metadata that cannot be of such a file, before anything else is looked at.
    RunFolderError if the file is not whole, is of another model, or does not match its digest.
    """
    from safetensors import SafetensorError, safe_open

    try:
        _check_sizes(path, shapes)
        with safe_open(path, framework="numpy") as file:
            metadata = json.loads((file.metadata() or {}).get(ENTRY, "{}"))
            check(metadata)
            _check_shapes(path, file, shapes)
            tensors: Arrays = {name: file.get_tensor(name) for name in shapes}
        right = metadata.pop("sha256", None) == digest(tensors, metadata)
    except (SafetensorError, OSError, TypeError, ValueError, KeyError, RecursionError) as error:
        raise RunFolderError(f"{path}: is not a whole safetensors file ({error})") from None
    if not right:
        raise RunFolderError(f"{path}: its contents do not match its digest; the file was changed")
    _check_finite(path, tensors)
    return tensors, metadata


def digest(tensors: Mapping[str, Any], metadata: Mapping[str, Any]) -> str:
    """SHA-256 over names, types, shapes and numbers of all tensors, and over the metadata."""
    import numpy as np

    total = hashlib.sha256(json.dumps(sorted(metadata.items())).encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        total.update(f"{name} {array.dtype} {array.shape}\n".encode())
        total.update(array.data)
    return total.hexdigest()


def _check_sizes(path: Path, shapes: Shapes) -> None:
    """ValueError unless the file is as large as its tensors, with a header as small as that of any model."""
    size = path.stat().st_size
    if size < 8:  # a file of the kernel's, which might keep us waiting, says 0
        raise ValueError("it is too short")
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > LARGEST_HEADER:
        raise ValueError(f"expected a header of at most {LARGEST_HEADER:,} bytes, got {length:,}")
    most = 8 + length + 8 * sum(map(prod, shapes.values()))
    if size > most:
        raise ValueError(f"expected at most {most:,} bytes, got {size:,}")


def _check_shapes(path: Path, file: Any, expected: Shapes) -> None:
    """RunFolderError unless the file has these tensors and no others, in single or double precision."""
    slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
    found = {name: tuple(one.get_shape()) for name, one in slices.items()}
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if wrong:
        raise RunFolderError(
            f"{path}: {shown(wrong[0])} expected shape {expected.get(wrong[0])}, got {found.get(wrong[0])}; "
            "config.json belongs to another model"
        )
    for name, one in slices.items():
        if one.get_dtype() not in DTYPES:
            raise RunFolderError(
                f"{path}: {name} expected {' or '.join(DTYPES)}, got {one.get_dtype()}; the file was changed"
            )


def _check_finite(path: Path, tensors: Arrays) -> None:
    import numpy as np

    for name, array in tensors.items():
        if not np.isfinite(array).all():
            raise RunFolderError(
                f"{path}: {name} expected finite numbers, got others; a model that diverged, or the file "
                "was changed"
            )


def shown(name: str) -> str:
    """A name that a file gave, short enough for a message."""
    return name if len(name) <= 40 else name[:37] + "..."
