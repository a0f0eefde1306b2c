"""Logits -> probabilities -> id, in the order that the package describes.

Each step takes the logits of all V tokens as a list and gives such a list back, in double precision
whatever the engine computes in; a token that is out has -inf. From finite logits every step is defined,
whatever the settings. cpp/motegpt/filters.hpp is the same, operation by operation.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from motegpt.errors import MotegptError

if TYPE_CHECKING:
    from motegpt.rng import Rng
    from motegpt.sampling.request import Filters

MASKED = -math.inf
LARGEST = sys.float_info.max
LOWEST = -708.0  # a token whose probability is less than e to this, relative to the likeliest, is out


def distribution(
    logits: Sequence[float], filters: Filters, seen: Collection[int] = (), masked: Collection[int] = ()
) -> list[float]:
    """The probability of every token, all filters applied; the temperature must be one that is random.

    seen: ids that the text has already; masked: ids that may not come next.
    """
    x = apply_mask(apply_repetition_penalty(finite(logits), seen, filters.repetition_penalty), masked)
    x = apply_temperature(x, filters.temperature)
    if filters.top_k is not None:
        x = top_k(x, filters.top_k)
    if filters.top_p is not None:
        x = top_p(x, filters.top_p)
    if filters.min_p is not None:
        x = min_p(x, filters.min_p)
    return softmax(x)


def choose(
    logits: Sequence[float],
    filters: Filters,
    rng: Rng,
    seen: Collection[int] = (),
    masked: Collection[int] = (),
) -> int:
    """The next id: drawn, or at temperature 0 the likeliest of what the masks leave (the first, if tied)."""
    if not is_random(filters.temperature):
        return argmax(
            apply_mask(apply_repetition_penalty(finite(logits), seen, filters.repetition_penalty), masked)
        )
    p = distribution(logits, filters, seen, masked)
    if 0.0 not in p:
        return rng.categorical(p)
    possible = [i for i, share in enumerate(p) if share > 0.0]
    return possible[rng.categorical([p[i] for i in possible])]


def is_random(temperature: float) -> bool:
    """Whether there is any chance at this temperature: not at zero, or as good as zero."""
    return temperature > 0.0 and math.isfinite(1.0 / temperature)


def finite(logits: Sequence[float]) -> list[float]:
    """The logits as a list; MotegptError if some are not finite."""
    x = [float(logit) for logit in logits]
    if not all(map(math.isfinite, x)):
        raise not_finite()
    return x


def not_finite() -> MotegptError:
    """The error for logits that are infinite or not numbers, whoever finds them."""
    return MotegptError("sample: expected finite logits, got others; the model has diverged or is damaged")


def argmax(x: Sequence[float]) -> int:
    """The first of the largest."""
    return max(range(len(x)), key=lambda i: x[i])


def apply_repetition_penalty(x: list[float], seen: Collection[int], penalty: float) -> list[float]:
    """Step 1: logits of `seen` ids, divided if positive and multiplied if negative (Keskar et al., 2019).

    A logit that leaves the range of numbers stops at its end.
    """
    if penalty == 1.0 or not seen:
        return x
    x = list(x)
    for i in seen:
        x[i] = min(x[i] / penalty, LARGEST) if x[i] > 0.0 else max(x[i] * penalty, -LARGEST)
    return x


def apply_mask(x: list[float], masked: Collection[int]) -> list[float]:
    """Step 2: the masked ids out."""
    if not masked:
        return x
    x = list(x)
    for i in masked:
        x[i] = MASKED
    return x


def apply_temperature(x: list[float], temperature: float) -> list[float]:
    """Step 3: (x - max x) / temperature; the largest is 0 from here on, and what is below LOWEST is out."""
    highest, inverse = max(x), 1.0 / temperature
    y = [(logit - highest) * inverse for logit in x]
    return [logit if logit >= LOWEST else MASKED for logit in y]


def top_k(x: list[float], k: int) -> list[float]:
    """Step 4: the k largest (Fan et al., 2018); of equals, those with the lower ids."""
    return _only(x, by_likelihood(x)[:k])


def top_p(x: list[float], p: float) -> list[float]:
    """Step 5: the fewest, largest first, that have the probability p together (Holtzman et al., 2020)."""
    if p == 1.0:
        return x
    weights = [math.exp(logit) for logit in x]
    order = by_likelihood(x)
    wanted = p * (sum(weights[i] for i in order))
    mass, kept = 0.0, 0
    while kept < len(order) and mass < wanted:
        mass += weights[order[kept]]
        kept += 1
    return _only(x, order[:kept])


def min_p(x: list[float], p: float) -> list[float]:
    """Step 6: those at least p times as likely as the likeliest (Nguyen et al., 2024)."""
    return [logit if math.exp(logit) >= p else MASKED for logit in x]


def softmax(x: list[float]) -> list[float]:
    """Step 7: the probabilities; the largest of x is 0."""
    e = [math.exp(logit) for logit in x]
    total = sum(e)
    return [weight / total for weight in e]


def by_likelihood(x: list[float]) -> list[int]:
    """The ids that are in, the largest first; of equals, the lower id."""
    return sorted((i for i, logit in enumerate(x) if logit > MASKED), key=lambda i: (-x[i], i))


def _only(x: list[float], kept: Sequence[int]) -> list[float]:
    """x with nothing but the ids `kept`."""
    y = [MASKED] * len(x)
    for i in kept:
        y[i] = x[i]
    return y
