"""The average of a GPT with Kneser-Ney n-grams, p = (1 - w) · GPT + w · KN, and its weight w.

NumPy is imported when it is used.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from motegpt.ngrams.kneser_ney import KneserNey

    Floats = NDArray[np.float64]

MIN_FITTED = 1500  # targets, those of about 200 names: for fewer, the weight is a constant
EVEN, MOSTLY = 0.5, 0.7  # the weight where it is not fitted; MOSTLY where the GPT has learned little:
FEW_TARGETS = 400  # from fewer, those of about 50 names
STEPS = 40  # of the bisection
SMALLEST = sys.float_info.min


class Average(NamedTuple):
    """kneser_ney: the n-grams; weight: theirs, from 0 to 1."""

    kneser_ney: KneserNey
    weight: float

    def log_probabilities(self, logits: NDArray[np.floating], histories: NDArray[np.int64]) -> Floats:
        """log p of every id, at least that of the smallest number.

        logits (N, V): of the GPT, NaN where they are not finite; histories (N, order - 1): the tokens before
        """
        import numpy as np

        with np.errstate(all="ignore"):
            p = np.exp(logits - logits.max(axis=1, keepdims=True), dtype=np.float64)
            p *= (1.0 - self.weight) / p.sum(axis=1, keepdims=True)
            p += self.weight * self.kneser_ney.distribution(histories)
            log_p: Floats = np.log(np.maximum(p, SMALLEST))
            return log_p


def constant_weight(kneser_ney: KneserNey) -> float:
    """The weight without validation data."""
    return EVEN if kneser_ney.targets >= FEW_TARGETS else MOSTLY


def fitted_weight(gpt: Floats, kneser_ney: Floats) -> float:
    """The weight with the highest likelihood of some targets, given their probabilities under both.

    L(w) = Σ log(g + w (k - g)) is concave; bisection finds the zero of L'(w) = Σ (k - g) / (g + w (k - g)).
    """
    low, high, difference = 0.0, 1.0, kneser_ney - gpt
    for _ in range(STEPS):
        w = (low + high) / 2
        slope = float((difference / (gpt + w * difference)).sum())
        low, high = (w, high) if slope > 0 else (low, w)
    return round((low + high) / 2, 6)
