"""Named arrays in a safetensors file with a digest of its contents.

The header is checked before any data are read, so that reading takes no more memory than the expected model.
Arrays are views of the file, which is mapped if it is large; tensors are written in the order given, so that
the data of a file of parameters are one flat array (P,) in canonical order.

The format: the length of the header in 8 bytes, little-endian; the header, JSON that gives each tensor its
dtype, shape and place in the data; the data, in which tensors follow one another without gaps.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from motegpt.errors import RunFolderError
from motegpt.system.files import Buffer, view_file

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from motegpt.engines.base import Arrays

    Shapes = Mapping[str, tuple[int, ...] | None]

ENTRY = "motegpt"  # a single metadata entry, whose order is fixed
METADATA = "__metadata__"
DTYPES = {  # of safetensors -> of NumPy
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip
FLOATS, INTEGERS = ("F32", "F64"), ("I64",)
UNSIGNED = ("U8", "U16", "U32", "U64")
MAX_FREE_BYTES = 2**33  # of a file with a tensor of any shape
MAX_HEADER = 2**24  # bytes; the largest possible model has 8 million
ALIGNMENT = 8  # bytes, of the data in a file
FINITE_AT_ONCE = 2**16  # numbers checked at once: so many that their temporary array stays in the cache


class Entry(NamedTuple):
    """A tensor in the data: numbers of this dtype from byte `start` to `stop`."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


def tensor_bytes(tensors: Mapping[str, Any], metadata: Mapping[str, Any]) -> bytes:
    """The contents of a file with these tensors, this metadata and their digest.

    Wider dtypes come first, so that all are aligned; else in the order given.
    """
    import numpy as np

    names = {np.dtype(numpy): name for name, numpy in DTYPES.items()}
    arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    header: dict[str, Any] = {
        METADATA: {ENTRY: json.dumps({**metadata, "sha256": digest(tensors, metadata)})}
    }
    start = 0
    ordered = sorted(arrays, key=lambda name: -arrays[name].itemsize)
    for name in ordered:
        array = arrays[name]
        stop = start + array.nbytes
        header[name] = {"dtype": names[array.dtype], "shape": array.shape, "data_offsets": [start, stop]}
        start = stop
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    data = (arrays[name].reshape(-1).view(np.uint8).data for name in ordered)
    return b"".join([len(text).to_bytes(8, "little"), text, *data])


def read_tensors(
    path: Path,
    shapes: Shapes,
    check: Callable[[Any], None],
    dtypes: Collection[str] = FLOATS,
    read: Callable[[int], Buffer] | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The tensors with these names, shapes (None: any) and one of the dtypes, and the metadata.

    check: called with the metadata before tensors are read; raises if they are invalid. read: gives the
    contents, of at most so many bytes; None: those of `path`. The arrays are read-only views of them. Raises
    RunFolderError if the file is damaged, has other tensors, does not match its digest, or has values that
    are not finite.
    """
    import numpy as np

    known = [shape for shape in shapes.values() if shape is not None]
    most = 8 * sum(map(prod, known)) if len(known) == len(shapes) else MAX_FREE_BYTES
    try:
        data = (read or (lambda max_bytes: view_file(path, max_bytes)))(8 + MAX_HEADER + most)
        header, entries, start = read_header(data)
        metadata = json.loads(header.get(ENTRY, "{}"))
        check(metadata)
        _check_entries(path, entries, shapes, dtypes)
        whole = np.frombuffer(data, np.uint8, offset=start)  # the base of all views, which flat_view() finds
        tensors = {name: _view(whole, entries[name]) for name in shapes}
        matches = metadata.pop("sha256", None) == digest(tensors, metadata)
    except (OSError, TypeError, ValueError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise RunFolderError(f"{path}: is not a complete safetensors file ({error})") from None
    if not matches:
        raise RunFolderError(f"{path}: contents do not match the digest; the file was changed")
    _check_finite(path, tensors)
    return tensors, metadata


def read_header(data: Buffer) -> tuple[dict[str, str], dict[str, Entry], int]:
    """The metadata, the tensors, and where the data begin, of a safetensors file.

    Raises ValueError or RecursionError unless the header is valid and its tensors are all of the data.
    """
    if len(data) < 8:
        raise ValueError(f"expected at least 8 bytes, got {len(data)}")
    length = int.from_bytes(data[:8], "little")
    if length > min(MAX_HEADER, len(data) - 8):
        raise ValueError(
            f"expected a header of at most {min(MAX_HEADER, len(data) - 8):,} bytes, got {length:,}"
        )
    header = json.loads(bytes(data[8 : 8 + length]), object_pairs_hook=_without_duplicates)
    if not isinstance(header, dict):
        raise ValueError("expected an object in the header")
    metadata = header.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise ValueError("expected texts in the metadata")
    entries = {name: _entry(name, values) for name, values in header.items()}
    at = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1][2:]):
        if entry.start != at:
            raise ValueError(f"expected tensors without gaps, got {_shortened(name)} at {entry.start}")
        at = entry.stop
    if 8 + length + at != len(data):
        raise ValueError(f"expected {8 + length + at:,} bytes, got {len(data):,}")
    return metadata, entries, 8 + length


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice in the header")
    return found


def _entry(name: str, values: Any) -> Entry:
    """The entry of a tensor; ValueError unless its dtype, shape and place are valid and agree."""
    if not isinstance(values, dict) or values.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{_shortened(name)}: expected dtype, shape and data_offsets")
    dtype, shape, place = values["dtype"], values["shape"], values["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"{_shortened(name)}: expected a dtype, got {_shortened(str(dtype))}")
    if not (_are_counts(shape) and _are_counts(place) and len(place) == 2):
        raise ValueError(f"{_shortened(name)}: expected whole numbers in shape and data_offsets")
    if place[1] - place[0] != prod(shape) * int(DTYPES[dtype][-1]):
        raise ValueError(f"{_shortened(name)}: expected data_offsets that fit its shape")
    return Entry(dtype, tuple(shape), *place)


def _view(data: NDArray[np.uint8], entry: Entry) -> NDArray[Any]:
    """A tensor in the data."""
    return data[entry.start : entry.stop].view(DTYPES[entry.dtype]).reshape(entry.shape)


def _are_counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 2**63 for value in values)


def digest(tensors: Mapping[str, Any], metadata: Mapping[str, Any]) -> str:
    """SHA-256 of the names, dtypes, shapes and values of all tensors, and of the metadata."""
    import numpy as np

    total = hashlib.sha256(json.dumps(sorted(metadata.items())).encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        total.update(f"{name} {array.dtype} {array.shape}\n".encode())
        total.update(array.data)
    return total.hexdigest()


def _check_entries(path: Path, entries: Mapping[str, Entry], shapes: Shapes, dtypes: Collection[str]) -> None:
    """RunFolderError unless the file has exactly these tensors, in one of the dtypes."""
    found = {name: entry.shape for name, entry in entries.items()}
    expected = {name: found.get(name, "any") if shape is None else shape for name, shape in shapes.items()}
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if wrong:
        name = wrong[0]
        raise RunFolderError(
            f"{path}: {_shortened(name)}: expected shape {expected.get(name)}, got {found.get(name)}; "
            "config.json belongs to another model"
        )
    for name, entry in entries.items():
        if entry.dtype not in dtypes:
            raise RunFolderError(
                f"{path}: {name}: expected {' or '.join(dtypes)}, got {entry.dtype}; the file was changed"
            )


def _check_finite(path: Path, tensors: Arrays) -> None:
    """RunFolderError if a value is NaN or infinite."""
    import numpy as np

    for name, array in tensors.items():
        flat = array.reshape(-1)
        parts = (flat[i : i + FINITE_AT_ONCE] for i in range(0, flat.size, FINITE_AT_ONCE))
        if not all(np.isfinite(part).all() for part in parts):
            raise RunFolderError(
                f"{path}: {name}: expected finite numbers, got NaN or infinity; the model diverged or the "
                "file was changed"
            )


def _shortened(name: str) -> str:
    """A name from a file, shortened for messages."""
    return name if len(name) <= 40 else name[:37] + "..."
