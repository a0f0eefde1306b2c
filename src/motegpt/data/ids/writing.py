"""Id sequences as a .npz."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from motegpt.data.ids.documents import IdDocuments


def npz_bytes(documents: IdDocuments) -> bytes:
    """The contents of a file with all that the data say; the same data give the same bytes.

    Sequences of one length are a table (N, T), others are flat with offsets; a stream is flat.
    """
    tokens, mask = np.asarray(documents.sequences.tokens), documents.mask
    shape: tuple[int, ...] = (-1,)
    arrays: dict[str, Any] = {}
    if documents.is_stream or len(set(documents.lengths)) == 1:
        shape = (-1,) if documents.is_stream else (len(documents), documents.lengths[0])
        arrays["ids"] = tokens.reshape(shape)
    else:
        arrays |= {"tokens": tokens, "offsets": np.asarray(documents.sequences.offsets)}
    if mask is not None:
        arrays["mask"] = np.asarray(mask).reshape(shape)
    optional = {"split": documents.held_out, "optimum": documents.optimum}
    arrays |= {name: np.asarray(value) for name, value in optional.items() if value is not None}
    arrays["vocab_size"] = np.asarray(documents.vocab_size)
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()
