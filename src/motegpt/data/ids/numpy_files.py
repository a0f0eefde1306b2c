"""The files of NumPy, .npy and .npz, as untrusted input: parsed here, without pickle, and bounded.

A .npy is a magic, a version, the length of a header, the header, which is the text of a Python dictionary of
three entries, and the numbers. Only integers and floats are read, and no more of them than the file has. A
.npz is a zip of these.
"""

from __future__ import annotations

import ast
import io
import struct
import zlib
from collections.abc import Collection
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from motegpt.config.text import shortened
from motegpt.data.decoding import LARGEST_EXPANSION, LARGEST_FILE, LARGEST_RATIO
from motegpt.errors import DataError

if TYPE_CHECKING:
    from zipfile import ZipInfo

    from numpy.typing import NDArray

NPY, ZIP = b"\x93NUMPY", b"PK\3\4"
MAX_HEADER, MAX_AXES, MAX_MEMBERS = 2**12, 4, 64  # bytes; axes of an array; files in a zip
LENGTHS = {1: "<H", 2: "<I"}  # version -> the length of the header
KINDS = "biuf"  # of dtypes: bool, integers, floats
HEADER = {"descr", "fortran_order", "shape"}
DAMAGED = (
    zlib.error, struct.error, OSError, EOFError, ValueError, KeyError, RuntimeError, OverflowError
)  # fmt: skip


def read_npy(data: bytes, where: str) -> NDArray[Any]:
    """The array in the contents of a .npy; DataError if it is none, or not one of numbers."""
    if not data.startswith(NPY) or len(data) < 8 or data[6] not in LENGTHS:
        raise DataError(f"{where}: expected a .npy of version 1 or 2, got other bytes")
    form = LENGTHS[data[6]]
    start = 8 + struct.calcsize(form)
    length = int.from_bytes(data[8:start], "little")
    header = data[start : start + length]
    if length > MAX_HEADER or len(header) < length:
        raise DataError(
            f"{where}: expected a complete header of at most {MAX_HEADER:,} bytes, got {length:,}"
        )
    dtype, shape, is_fortran = _header(header, where)
    expected = prod(shape) * dtype.itemsize
    body = memoryview(data)[start + length :]
    if len(body) != expected:
        raise DataError(
            f"{where}: expected {expected:,} bytes, as shape {shape} of {dtype} has, got {len(body):,}"
        )
    array = np.frombuffer(body, dtype)
    return array.reshape(shape[::-1]).T if is_fortran else array.reshape(shape)


def _header(header: bytes, where: str) -> tuple[np.dtype[Any], tuple[int, ...], bool]:
    """dtype, shape and order of an array. The text is parsed as a literal, never executed."""
    try:
        values = ast.literal_eval(header.decode("latin-1").strip())
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        values = None
    if (
        not isinstance(values, dict)
        or values.keys() != HEADER
        or not isinstance(values["fortran_order"], bool)
    ):
        raise DataError(f"{where}: expected a header with {', '.join(sorted(HEADER))}, got another")
    shape, descr = values["shape"], values["descr"]
    is_shape = isinstance(shape, tuple) and all(type(n) is int and 0 <= n < 2**48 for n in shape)
    if not is_shape or len(shape) > MAX_AXES:
        raise DataError(f"{where}: expected a shape of at most {MAX_AXES} axes, got {shortened(shape)}")
    try:
        dtype = np.dtype(descr) if isinstance(descr, str) else None
    except (TypeError, ValueError):
        dtype = None
    if dtype is None or dtype.kind not in KINDS:
        raise DataError(f"{where}: expected integers, got {shortened(descr)} values, which are not read")
    return dtype, shape, values["fortran_order"]


def read_npz(data: bytes, where: str, names: Collection[str]) -> dict[str, NDArray[Any]]:
    """The arrays in the contents of a .npz by name; DataError if one has none of the names, or is damaged."""
    import zipfile

    most = min(LARGEST_FILE, max(LARGEST_EXPANSION, LARGEST_RATIO * len(data)))
    arrays = dict[str, Any]()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            _check_entries(entries, where, names, most)
            for entry in entries:
                with archive.open(entry) as member:
                    content = member.read(entry.file_size + 1)
                arrays[_name_of(entry)] = read_npy(content, f"{where}: {_name_of(entry)}")
    except (zipfile.BadZipFile, *DAMAGED) as error:
        raise DataError(f"{where}: expected a .npz, got a damaged one ({shortened(str(error))})") from None
    return arrays


def _check_entries(entries: list[ZipInfo], where: str, names: Collection[str], most: int) -> None:
    from zipfile import ZIP_DEFLATED, ZIP_STORED

    methods, found = (ZIP_STORED, ZIP_DEFLATED), [_name_of(entry) for entry in entries]
    if len(set(found)) != len(found) or len(found) > MAX_MEMBERS:
        raise DataError(f"{where}: expected each array once, got {len(found):,} arrays")
    unknown = next((name for name in found if name not in names), None)
    if unknown is not None:
        raise DataError(f"{where}: expected arrays named {', '.join(names)}, got {shortened(unknown)}")
    if any(entry.compress_type not in methods or entry.flag_bits & 1 for entry in entries):
        raise DataError(f"{where}: expected arrays that are stored or deflated, as NumPy writes them")
    if (size := sum(entry.file_size for entry in entries)) > most:
        raise DataError(f"{where}: expected arrays of at most {most:,} bytes, got {size:,}")


def _name_of(entry: ZipInfo) -> str:
    return entry.filename.removesuffix(".npy")
