"""How far two engines may be apart, by dtype and quantity, and why.

Relative tolerances are relative to the largest number of the array compared, because a sum of numbers of
that size is what rounding errors come from.
"""

from __future__ import annotations

from typing import Any

import numpy as np

# A sum of a few hundred terms in another order moves the last three of sixteen digits.
GRADIENT = {"float64": 1e-10, "float32": 2e-4}
# Where the gradients of a matrix nearly cancel, the scale is at least this fraction of the largest gradient.
GRADIENT_FLOOR = 1e-4
# And 1 - p of a model that is certain has an absolute error, that of p, however small its gradients are.
PROBABILITY = 1e-14
# Central differences with h = 1e-5 leave h² of curvature and 1e-16 / h of rounding; with h = 1e-8, 1e-8.
DIFFERENCE, DIFFERENCE_CLOSE = 1e-7, 1e-5
# Logits are one product deep; float32 has seven digits, of which a residual stream keeps five.
LOGITS = {"float64": 1e-12, "float32": 2e-5}
# A short training multiplies rounding by about a hundred.
LOSSES = {"float64": 1e-9, "float32": 1e-3}


def relative_error(got: Any, expected: Any) -> float:
    """The largest difference, relative to the largest expected number."""
    scale = float(np.abs(expected).max())
    return float(np.abs(np.asarray(got) - np.asarray(expected)).max()) / (scale or 1.0)
