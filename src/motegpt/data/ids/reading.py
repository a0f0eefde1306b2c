"""Id sequences from the contents of files; which format they have, their first bytes say.

    .npz    ids (N, T), or tokens and offsets (n + 1); if any, mask, split (0 training, 1 validation),
            vocab_size, optimum
    .npy    ids (N, T), or a stream (T)
    JSON    an object on each line: {"ids": [3, 1, 2], "mask": [0, 1, 1]}, or an array alone
    .bin    a stream of 16 bits each, little-endian; with the header of llm.c also of 32 bits

A flat array is a stream.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from motegpt.config.text import shortened
from motegpt.data.decoding import GZIP
from motegpt.data.ids.detection import HEAD, IDS
from motegpt.data.ids.documents import IdDocuments, sequences_of
from motegpt.data.ids.memory import Parts, aligned, checked, ids_in_memory
from motegpt.data.ids.numpy_files import NPY, ZIP, read_npy, read_npz
from motegpt.errors import DataError

OF_NPZ = ("ids", "tokens", "offsets", "mask", "split", "vocab_size", "optimum")
MASK = "mask"  # key of a JSON object, as IDS
INTEGERS, NUMBERS = {int, bool}, {int, bool, float}  # types of their values
HEADER_BYTES, VERSION = 1024, 1  # of llm.c: 256 integers, the first of which are magic, version and count
MAGIC = {20240520: "<u2", 20240801: "<u4"}  # of llm.c: GPT-2's ids, and Llama 3's


def read_ids(data: bytes, name: str, form: str | None) -> IdDocuments:
    """The sequences in the contents of a file; DataError if they are none, or invalid.

    form: "ids" for sequences, "id_stream" for one; None: as the file has them.
    """
    if data.startswith(GZIP):
        raise DataError(f"{name}: expected token ids, got gzip; unpack it first")
    if not data:
        raise DataError(f"{name}: expected token ids, got an empty file")
    documents = _documents(data, name)
    if form == "ids" and documents.is_stream:
        raise DataError(
            f"{name}: expected sequences of ids, got a flat array; `format='id_stream'` learns it in windows"
        )
    return _as_stream(documents, name) if form == "id_stream" and not documents.is_stream else documents


def _documents(data: bytes, name: str) -> IdDocuments:
    if data.startswith(ZIP) or data.startswith(b"PK\5\6"):
        return _of_npz(read_npz(data, name, OF_NPZ), name)
    if data.startswith(NPY):
        return _of_array(read_npy(data, name), name)
    if data[:HEAD].lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[") and Path(name).suffix.lower() != ".bin":
        return _of_lines(data, name)
    if Path(name).suffix.lower() != ".bin" and _magic(data) is None:
        raise DataError(f"{name}: expected token ids, as .npz, .npy, JSON lines or .bin, got other contents")
    return checked(_stream(_numbers(data, name), name))


def _as_stream(documents: IdDocuments, name: str) -> IdDocuments:
    """The sequences one after the other, as one."""
    if documents.held_out is not None:
        raise DataError(f"{name}: split: expected none with `format='id_stream'`, whose end is held out")
    sequences = documents.sequences
    mask = None if sequences.mask is None else np.asarray(sequences.mask)
    joined = sequences_of(np.asarray(sequences.tokens), np.array([len(sequences.tokens)]), mask)
    return IdDocuments(joined, documents.vocab_size, is_stream=True, optimum=documents.optimum)


def _stream(tokens: Any, name: str, **more: Any) -> Parts:
    return Parts(tokens, np.array([len(tokens)]), is_stream=True, where=name, **more)


def _of_array(ids: Any, name: str, **more: Any) -> IdDocuments:
    """A table of ids, or a stream."""
    if ids.ndim == 1:
        return checked(_stream(ids, name, **more))
    if ids.ndim != 2:
        raise DataError(f"{name}: expected ids of shape (N, T), or (T) of a stream, got {ids.shape}")
    return checked(Parts(ids.reshape(-1), np.full(ids.shape[0], ids.shape[1]), where=name, **more))


def _of_npz(arrays: dict[str, Any], name: str) -> IdDocuments:
    scalars = {key: _scalar(arrays, key, name) for key in ("vocab_size", "optimum")}
    more: dict[str, Any] = {**scalars, "held_out": arrays.get("split")}
    mask = arrays.get("mask")
    if ("ids" in arrays) == ("tokens" in arrays or "offsets" in arrays):
        found = ", ".join(arrays) or "nothing"
        raise DataError(f"{name}: expected an array ids, or tokens and offsets, got {shortened(found)}")
    if "ids" in arrays:
        ids = arrays["ids"]
        if mask is not None and ids.ndim == mask.ndim:
            sizes, lengths = (
                np.full(one.shape[0], one.shape[-1]) if one.ndim == 2 else np.array([one.size])
                for one in (mask, ids)
            )
            mask = aligned(mask.reshape(-1), sizes, lengths, f"{name}: mask")
        return _of_array(ids, name, mask=mask, **more)
    tokens, offsets = arrays.get("tokens"), arrays.get("offsets")
    if tokens is None or offsets is None or tokens.ndim != 1 or offsets.ndim != 1:
        raise DataError(f"{name}: expected flat arrays tokens and offsets, got others")
    if offsets.dtype.kind not in "iu" or not len(offsets):
        raise DataError(f"{name}: offsets: expected integers, from 0 to the number of tokens")
    ends = offsets.astype(np.int64)
    if ends[0] != 0 or ends[-1] != len(tokens) or (np.diff(ends) < 0).any():
        raise DataError(f"{name}: offsets: expected them to rise from 0 to {len(tokens):,}, got others")
    lengths = np.diff(ends)
    if mask is not None and mask.shape == (len(tokens) - len(lengths),):
        mask = aligned(mask, lengths - 1, lengths, f"{name}: mask")
    return checked(Parts(tokens, lengths, mask, where=name, **more))


def _scalar(arrays: dict[str, Any], key: str, name: str) -> Any:
    """A single number of a .npz; None if it is absent."""
    if key not in arrays:
        return None
    if arrays[key].size != 1 or not np.isfinite(arrays[key]).all():
        raise DataError(f"{name}: {key}: expected one number, got {arrays[key].size:,}")
    value = arrays[key].reshape(-1)[0].item()
    return float(value) if key == "optimum" else value


def _of_lines(data: bytes, name: str) -> IdDocuments:
    rows, masks = list[Any](), list[Any]()
    for number, value in _values(data, name):
        row, mask = (value.get(IDS), value.get(MASK)) if isinstance(value, dict) else (value, None)
        if isinstance(value, dict) and (others := value.keys() - {IDS, MASK}):
            raise DataError(
                f"{name}: line {number}: expected the keys {IDS} and {MASK} alone, got "
                f"{shortened(min(others))}; leave it out, or name a key of texts with `column`"
            )
        given = ((IDS, row, "integers", INTEGERS), (MASK, mask, "numbers", NUMBERS))
        for key, values, expected, types in given[: 1 + (mask is not None)]:
            if not isinstance(values, list) or not {*map(type, values)} <= types:
                raise DataError(
                    f"{name}: line {number}: {key}: expected a list of {expected}, got {shortened(values)}"
                )
        rows.append(row)
        masks.append(mask)
    has_masks = any(mask is not None for mask in masks)
    whole = [[1] * len(row) if mask is None else mask for row, mask in zip(rows, masks, strict=True)]
    try:
        return ids_in_memory(rows, whole if has_masks else None)
    except DataError as error:
        raise DataError(f"{name}: {error}") from None


def _values(data: bytes, name: str) -> Iterator[tuple[int, Any]]:
    """The number and the value of each line that is not empty."""
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if line.strip():
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                value = None
            if not isinstance(value, dict | list):
                raise DataError(
                    f'{name}: line {number}: expected an object with ids, as {{"ids": [3, 1, 2]}}, got '
                    f"{shortened(line[:80].decode('utf-8', 'replace'))}"
                )
            yield number, value


def _magic(data: bytes) -> str | None:
    """The dtype of ids behind the header of llm.c, which may be truncated; None without one."""
    return MAGIC.get(int.from_bytes(data[:4], "little"))


def _numbers(data: bytes, name: str) -> Any:
    """The ids of a stream of 16 bits, or with the header of llm.c."""
    dtype = _magic(data)
    if dtype is not None:
        version, count = (int.from_bytes(data[at : at + 4], "little") for at in (4, 8))
        expected = HEADER_BYTES + count * int(dtype[-1])
        if version != VERSION:
            raise DataError(f"{name}: expected version {VERSION} in the header of llm.c, got {version}")
        if len(data) != expected:
            raise DataError(f"{name}: expected {expected:,} bytes, as its header says, got {len(data):,}")
        return np.frombuffer(data, dtype, offset=HEADER_BYTES)
    if len(data) % 2:
        raise DataError(f"{name}: expected ids of 16 bits, an even number of bytes, got {len(data):,}")
    return np.frombuffer(data, "<u2")
