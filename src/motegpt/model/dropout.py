"""Dropout masks (Srivastava et al., 2014): whether a number is kept depends only on where it is.

A mask is a function of (seed, step, site, document, position, channel), so that it is the same on every
engine, however the batch is divided among threads, processes and chunks, and however often it is computed.
document: index in the whole batch; site: a number per place in the model. Standard library only.
"""

from __future__ import annotations

from typing import Any

from motegpt.model.rng import MASK32, splitmix64

GOLDEN32 = 0x9E37_79B9  # 2^32 / φ, odd, so that products with different indices differ


def mask_key(seed: int, step: int, site: int, document: Any) -> Any:
    """The 32-bit key of the mask of one document; the three indices are hashed one after the other.

    document: an int, or a NumPy array of uint64 with the same results.
    """
    return splitmix64(splitmix64(splitmix64(seed, step), site), document) >> 32


def mask_hash(key: Any, index: Any) -> Any:
    """The 32-bit hash that decides about number `index` of a document: the finalizer of MurmurHash3.

    (Appleby, 2011.) key, index: ints, or NumPy arrays of uint64 with the same results.
    """
    h = (key + index * GOLDEN32) & MASK32
    h = ((h ^ (h >> 16)) * 0x85EB_CA6B) & MASK32
    h = ((h ^ (h >> 13)) * 0xC2B2_AE35) & MASK32
    return h ^ (h >> 16)


def threshold(probability: float) -> int:
    """Numbers whose hash is below this are dropped."""
    return round(probability * 2**32)
