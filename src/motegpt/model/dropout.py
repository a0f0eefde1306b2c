"""Dropout masks (Srivastava et al., 2014): whether a number is kept depends only on where it is.

A mask is a function of (seed, step, site, document, position, channel), so that it is the same on every
engine, however the batch is divided among threads, processes and chunks, and however often it is computed.
document: index in the whole batch; site: a number per place in the model. Standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from motegpt.model.rng import MASK32, splitmix64

if TYPE_CHECKING:
    from motegpt.config.sections import TrainConfig

EMBEDDING_SITE = 0  # after the embedding and its norm
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
    """Numbers whose hash is below this are dropped; 32 bits."""
    return min(round(probability * 2**32), MASK32)


def attention_site(layer: int) -> int:
    """Where attention writes to the residual stream."""
    return 16 + 2 * layer


def mlp_site(layer: int) -> int:
    """Where the MLP writes to the residual stream."""
    return 17 + 2 * layer


def sites_of(n_layer: int) -> list[int]:
    """The sites of a model's `dropout`, in the order of its forward pass."""
    return [EMBEDDING_SITE, *range(attention_site(0), attention_site(n_layer))]


@dataclass(frozen=True)
class Masks:
    """The masks of one step: numbers are multiplied by 0 with a probability, and by `scale` otherwise."""

    seed: int
    step: int
    probability: float

    @property
    def scale(self) -> float:
        """1 / (1 - probability), so that the mean of a number stays the same."""
        return 1.0 / (1.0 - self.probability)

    def key(self, site: int, document: Any) -> Any:
        """See mask_key."""
        return mask_key(self.seed, self.step, site, document)

    def keeps(self, key: Any, index: Any) -> Any:
        """Whether number `index` under a key is kept. Ints, or arrays as in mask_hash."""
        return mask_hash(key, index) >= threshold(self.probability)


def masks_of(train: TrainConfig, step: int | None) -> Masks | None:
    """The masks of `dropout` at a step; None without dropout, or without a step, as in evaluation."""
    return None if step is None or train.dropout == 0.0 else Masks(train.seed, step, train.dropout)
