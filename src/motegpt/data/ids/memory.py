"""Id sequences from lists and arrays, and the checks that files share with them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Set
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from motegpt.config.fields import plain
from motegpt.config.sections.bounds import LARGEST_SIZE
from motegpt.config.text import shortened
from motegpt.data.ids.documents import IdDocuments, sequences_of
from motegpt.data.sequences import positions
from motegpt.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

LIGHTEST, HEAVIEST = 1e-9, 1e9  # weights of a mask; they are divided by their sums
KINDS = {"ids": ("iub", "integers"), "mask": ("iubf", "numbers")}  # of dtypes, and their name
MAX_REASON = 80  # characters of another library's message
WIDTHS = (np.uint8, np.uint16, np.uint32)


class Parts(NamedTuple):
    """Id sequences before they are checked.

    tokens: flat ids; lengths (n): of the sequences; mask: per id; held_out (n); is_stream: whether they are
    one long sequence; where: their name in messages.
    """

    tokens: NDArray[Any]
    lengths: NDArray[Any]
    mask: NDArray[Any] | None = None
    vocab_size: Any = None
    held_out: NDArray[Any] | None = None
    is_stream: bool = False
    optimum: float | None = None
    where: str = "ids"


def ids_in_memory(ids: Any, mask: Any = None, vocab_size: int | None = None) -> IdDocuments:
    """Sequences of ids: an array (N, T) of integers or a list of lists; a flat one is one long stream.

    mask: for each id, or for each but the first of a sequence, whether it counts in the loss as a target, or
    its weight there; None: all are 1. vocab_size: above every id (default: one more than the largest). Raises
    DataError.
    """
    if isinstance(ids, IdDocuments):
        raise DataError("ids: expected lists or an array, got data that were read; give them as `docs`")
    tokens, lengths, is_stream = _flat("ids", ids)
    flat_mask = None
    if mask is not None:
        values, sizes, is_flat = _flat("mask", mask)
        if is_flat != is_stream:
            raise DataError("mask: expected the shape of the ids, got another number of axes")
        flat_mask = aligned(values, sizes, lengths)
    parts = Parts(tokens, lengths, flat_mask, plain(vocab_size), is_stream=is_stream)
    return checked(parts)


def _flat(name: str, values: Any) -> tuple[NDArray[Any], NDArray[Any], bool]:
    """Flat values, the lengths of the sequences, and whether there is only a flat list."""
    try:
        return _flat_array(name, _listed(values))
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:  # RuntimeError: of torch
        raise DataError(
            f"{name}: expected an array (N, T), or a list of lists, of {KINDS[name][1]}, got "
            f"{shortened(values)} ({' '.join(str(error).split())[:MAX_REASON]})"
        ) from None


def _listed(values: Any) -> Any:
    """An array as it is; anything else as a list, as arrays of objects, which columns of tables may be."""
    if isinstance(values, Set | Mapping | np.ma.MaskedArray):
        raise TypeError(f"a {type(values).__name__} is ambiguous")
    if not hasattr(values, "__array__"):
        return list(values)
    array = np.asarray(values)
    return array.tolist() if array.dtype == object and array.ndim else array


def _flat_array(name: str, values: Any) -> tuple[NDArray[Any], NDArray[Any], bool]:
    is_ragged = isinstance(values, list) and bool(values) and hasattr(values[0], "__len__")
    if is_ragged:
        rows = [np.asarray(row) for row in values]
        for i, row in enumerate(rows):
            if row.ndim != 1 or (len(row) and row.dtype.kind not in KINDS[name][0]):
                raise ValueError(f"sequence {i} has {row.ndim} axes, {row.dtype} values")
        filled = [_signed(row) for row in rows if len(row)]
        flat = np.concatenate(filled) if filled else np.empty(0, np.int64)
        return flat, np.array([*map(len, rows)], np.int64), False
    array = np.asarray(values)
    if array.ndim not in (1, 2):
        raise ValueError(f"{array.ndim} axes")
    rows_of = array.shape if array.ndim == 2 else (1, len(array))
    return array.reshape(-1), np.full(rows_of[0], rows_of[1], np.int64), array.ndim == 1


def _signed(row: NDArray[Any]) -> NDArray[Any]:
    """The same numbers without an unsigned type, with which NumPy joins signed ones as floats."""
    if row.dtype != np.uint64:
        return row.astype(np.int64) if row.dtype.kind == "u" else row
    signed: NDArray[Any] = np.minimum(row, np.iinfo(np.int64).max).astype(np.int64)
    return signed


def aligned(
    mask: NDArray[Any], sizes: NDArray[Any], lengths: NDArray[Any], where: str = "mask"
) -> NDArray[Any]:
    """The mask with one value per id. sizes: of its sequences; lengths: of those of the ids."""
    if len(sizes) != len(lengths):
        raise DataError(f"{where}: expected {len(lengths):,} sequences, as of ids, got {len(sizes):,}")
    is_whole = sizes == lengths
    wrong = np.flatnonzero(~is_whole & (sizes != lengths - 1))
    if len(wrong):
        i = int(wrong[0])
        raise DataError(
            f"{where}: expected a value per id or per target, {lengths[i]} or {lengths[i] - 1} in sequence "
            f"{i}, got {sizes[i]}"
        )
    if is_whole.all():
        return mask
    full = np.zeros(int(lengths.sum()), mask.dtype)
    full[positions(np.cumsum(lengths) - sizes, sizes)] = mask
    return full


def checked(parts: Parts) -> IdDocuments:
    """The sequences; DataError that names what is wrong with them."""
    where, ids, lengths = parts.where, parts.tokens, parts.lengths
    if len(lengths) == 0 or len(ids) == 0:
        raise DataError(f"{where}: expected at least one sequence of ids, got none")
    if ids.dtype.kind not in "iu":
        repair = "; convert whole numbers with astype(int)" if ids.dtype.kind == "f" else ""
        raise DataError(f"{where}: expected ids that are integers, got {ids.dtype} values{repair}")
    short = int(lengths.argmin())
    if lengths[short] < 2:
        raise DataError(
            f"{where}: expected at least 2 ids in every sequence, an input and a target, got "
            f"{lengths[short]} in sequence {short}"
        )
    vocab_size = _vocab_size(where, parts.vocab_size, int(ids.max()))
    for is_wrong, expected in ((ids < 0, "of at least 0"), (ids >= vocab_size, f"below {vocab_size:,}")):
        if is_wrong.any():
            at = int(is_wrong.argmax())
            raise DataError(f"{where}: expected ids {expected}, got {ids[at]} in {_place(at, lengths)}")
    kind = next(kind for kind in WIDTHS if vocab_size - 1 <= np.iinfo(kind).max)
    sequences = sequences_of(ids.astype(kind, copy=False), lengths, _mask(parts))
    counts = sequences.counted()
    if not counts.all():
        i = int(counts.argmin())
        raise DataError(
            f"{where}: expected an unmasked target in every sequence, got none in sequence {i}; leave it out"
        )
    return IdDocuments(
        sequences, vocab_size, is_stream=parts.is_stream, held_out=_held_out(parts), optimum=parts.optimum
    )


def _place(at: int, lengths: NDArray[Any]) -> str:
    """Where an id is: position 3 of sequence 12"""
    ends = np.cumsum(lengths)
    sequence = int(np.searchsorted(ends, at, side="right"))
    return f"position {at - int(ends[sequence] - lengths[sequence])} of sequence {sequence}"


def _vocab_size(where: str, given: Any, highest: int) -> int:
    """The given number of ids, or the smallest possible one."""
    found = plain(given)
    if found is None:
        return min(max(2, highest + 1), LARGEST_SIZE)
    if type(found) is not int or not 2 <= found <= LARGEST_SIZE:
        raise DataError(
            f"{where}: vocab_size: expected a whole number from 2 to {LARGEST_SIZE:,}, got {shortened(found)}"
        )
    return found


def _mask(parts: Parts) -> NDArray[Any] | None:
    """The weights, as bytes if all are 0 or 1; DataError for others than numbers of at least 0."""
    if parts.mask is None:
        return None
    where, mask, count = f"{parts.where}: mask", parts.mask, len(parts.tokens)
    _check_shape(where, mask, count, "value per id")
    if mask.dtype.kind not in "iubf":
        raise DataError(f"{where}: expected numbers, got {mask.dtype} values")
    if mask.dtype.kind == "f":
        mask = mask.astype(np.float64)  # in half precision both bounds are out of range
    is_wrong = ~((mask == 0) | ((mask >= LIGHTEST) & (mask <= HEAVIEST)))
    if is_wrong.any():
        at = int(is_wrong.argmax())
        raise DataError(
            f"{where}: expected 0 or 1, or weights of {LIGHTEST:g} to {HEAVIEST:g}, got {mask[at]} in "
            f"{_place(at, parts.lengths)}"
        )
    return mask.astype(np.uint8 if ((mask == 0) | (mask == 1)).all() else np.float64)


def _held_out(parts: Parts) -> NDArray[np.bool_] | None:
    if parts.held_out is None:
        return None
    where = f"{parts.where}: split"
    flags = _flags(where, parts.held_out, len(parts.lengths), "value per sequence").astype(bool)
    if flags.all() or not flags.any():
        raise DataError(
            f"{where}: expected 0 (training) and 1 (validation), got only {int(flags[0])}; leave it out, and "
            "set `val_fraction`"
        )
    return flags


def _flags(where: str, values: NDArray[Any], count: int, what: str) -> NDArray[Any]:
    """Values of 0 and 1; DataError for others or another number of them."""
    _check_shape(where, values, count, what)
    if values.dtype.kind not in "iub" or not ((values == 0) | (values == 1)).all():
        raise DataError(f"{where}: expected 0 or 1, got other values")
    return values


def _check_shape(where: str, values: NDArray[Any], count: int, what: str) -> None:
    if values.shape != (count,):
        shape = f"{values.size:,}" if values.ndim == 1 else f"an array of shape {values.shape}"
        raise DataError(f"{where}: expected a {what}, {count:,}, got {shape}")


def joined(parts: Iterable[IdDocuments], where: str) -> IdDocuments:
    """The sequences of several files, in order; DataError if some are streams and others are not."""
    found = list(parts)
    if len(found) == 1:
        return found[0]
    if len({one.is_stream for one in found}) > 1:
        raise DataError(f"{where}: expected sequences in all files, or a stream in each, got both")
    if any(one.held_out is not None for one in found):
        raise DataError(f"{where}: expected no split in one of several files, got one; give one file")
    tokens = np.concatenate([np.asarray(one.sequences.tokens) for one in found])
    masks = None
    if any(one.mask is not None for one in found):
        masks = np.concatenate([_whole_mask(one) for one in found])
    lengths = np.array([*chain.from_iterable(one.lengths for one in found)], np.int64)
    is_stream = found[0].is_stream
    lengths = np.array([len(tokens)]) if is_stream else lengths
    sequences = sequences_of(tokens, lengths, masks)
    return IdDocuments(sequences, max(one.vocab_size for one in found), is_stream=is_stream)


def _whole_mask(documents: IdDocuments) -> NDArray[Any]:
    if documents.mask is not None:
        return np.asarray(documents.mask)
    return np.ones(len(documents.sequences.tokens), np.uint8)


def digest_of(documents: IdDocuments) -> str:
    """SHA-256 of sequences in memory: of everything that they say."""
    total = hashlib.sha256(f"ids {documents.vocab_size} {documents.is_stream}\n".encode())
    total.update(np.asarray(documents.sequences.tokens).astype("<u4").tobytes())
    total.update(np.asarray(documents.sequences.offsets).astype("<i8").tobytes())
    for name, values in (("mask", documents.mask), ("split", documents.held_out)):
        if values is not None:
            numbers = np.asarray(values)
            total.update(name.encode())
            total.update(numbers.astype("<f8" if numbers.dtype.kind == "f" else "u1").tobytes())
    return total.hexdigest()
