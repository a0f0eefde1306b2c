"""What a lens reads: texts or token ids as an array (B, T), and the targets of its loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from motegpt.config.text import shortened
from motegpt.errors import DataError

if TYPE_CHECKING:
    from motegpt.config.sections import ModelConfig
    from motegpt.engines.array.ops import Array, Ids

EXPECTED = "ids: expected a text, texts, or token ids of shape (T) or (B, T)"


def ids_of(given: Any, read: Callable[[str], Sequence[int]], model: ModelConfig) -> Ids:
    """A text, several, or ids (T) or (B, T) -> ids (B, T).

    DataError for sequences of different lengths or of more than block_size tokens, and for ids outside the
    vocabulary; `read` raises that for texts.
    """
    if isinstance(given, str):
        given = [given]
    if not isinstance(given, Sequence) and not np.ndim(given):
        raise DataError(f"{EXPECTED}, got {shortened(given)}")
    rows = [read(item) if isinstance(item, str) else item for item in given]
    lengths = {len(row) if hasattr(row, "__len__") and np.ndim(row) else 1 for row in rows}
    if len(lengths) > 1:
        raise DataError(
            f"ids: expected sequences of one length, got {min(lengths)} and {max(lengths)} tokens; run "
            "those of each length by themselves"
        )
    ids = _integers(rows, EXPECTED)
    ids = ids[None] if ids.ndim == 1 else ids
    if ids.ndim != 2 or 0 in ids.shape:
        raise DataError(f"{EXPECTED}, got an array of shape {ids.shape}")
    if ids.shape[1] > model.block_size:
        raise DataError(f"ids: expected at most block_size = {model.block_size} tokens, got {ids.shape[1]}")
    if ids.min() < 0 or ids.max() >= model.vocab_size:
        raise DataError(
            f"ids: expected token ids of 0 to {model.vocab_size - 1}, got {ids.min()} to {ids.max()}"
        )
    return ids


def targets_of(given: Any, ids: Ids, model: ModelConfig) -> tuple[Ids, Array]:
    """targets (N,) and their weights (N,), which sum to 1.

    given: ids (B, T), those below 0 being none; None: of each position the token after it.
    """
    if given is None:
        targets = np.concatenate([ids[:, 1:], np.full((len(ids), 1), -1)], axis=1)
    else:
        targets = _integers(given, "targets: expected token ids of the shape of ids")
        targets = targets[None] if targets.ndim == 1 else targets
    if targets.shape != ids.shape or targets.max() >= model.vocab_size:
        raise DataError(
            f"targets: expected ids below {model.vocab_size} in shape {ids.shape}, got {shortened(given)}"
        )
    there = (targets >= 0).ravel()
    if not there.any():
        raise DataError("targets: expected at least one, got none; one token alone has none after it")
    return np.where(there, targets.ravel(), 0), there / there.sum()


def token_ids(name: str, given: Any, shape: tuple[int, ...], model: ModelConfig) -> Ids:
    """One token id, or ids of a shape that broadcasts to (B, T) -> ids (B, T)."""
    found = _integers(given, f"{name}: expected token ids")
    try:
        found = np.broadcast_to(found, shape)
    except ValueError:
        raise DataError(
            f"{name}: expected one token id, or ids of shape {shape}, got {found.shape}"
        ) from None
    if found.min() < 0 or found.max() >= model.vocab_size:
        raise DataError(f"{name}: expected token ids of 0 to {model.vocab_size - 1}, got {shortened(given)}")
    return found


def _integers(given: Any, expected: str) -> Ids:
    try:
        found = np.asarray(given)
    except (TypeError, ValueError):  # ragged, or no array
        found = np.array(None)
    if found.dtype.kind not in "iu":
        raise DataError(f"{expected}, got {shortened(given)}")
    return found.astype(np.intp)
