"""Logits -> probabilities -> id: the filters, in the order in which they act.

Each step takes the logits of all V tokens as a list and returns such a list, in double precision whatever
the engine computes in; a masked token has -inf. From finite logits every step is defined, whatever the
settings. cpp/motegpt/filters.hpp has the same steps, operation by operation, for the settings that
engines/native/engine.py lists.

A new filter is a function here, a row of FILTERS (or of PENALTIES) and a setting of SampleConfig.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from motegpt.config.text import concise
from motegpt.errors import MotegptError

if TYPE_CHECKING:
    from motegpt.model.rng import Rng

MASKED = -math.inf
LARGEST = sys.float_info.max
MIN_LOGIT = -708.0  # a token with less than e^-708 of the highest probability is masked


def apply_repetition_penalty(x: list[float], penalty: float, seen: Collection[int]) -> list[float]:
    """Logits of `seen` ids divided if positive and multiplied if negative (Keskar et al., 2019).

    A logit that leaves the range of numbers stops at its end.
    """
    x = list(x)
    for i in seen:
        x[i] = min(x[i] / penalty, LARGEST) if x[i] > 0.0 else max(x[i] * penalty, -LARGEST)
    return x


def apply_mask(x: list[float], masked: Collection[int]) -> list[float]:
    """The masked ids out."""
    if not masked:
        return x
    x = list(x)
    for i in masked:
        x[i] = MASKED
    return x


def apply_temperature(x: list[float], temperature: float) -> list[float]:
    """(x - max x) / temperature: the largest is 0 from here on; what is below MIN_LOGIT is masked."""
    highest, inverse = max(x), 1.0 / temperature
    y = [(logit - highest) * inverse for logit in x]
    return [logit if logit >= MIN_LOGIT else MASKED for logit in y]


def top_k(x: list[float], k: int) -> list[float]:
    """The k largest (Fan et al., 2018); of equals, those with the lower ids."""
    return _keep_only(x, sorted_ids(x)[:k])


def top_p(x: list[float], p: float) -> list[float]:
    """The fewest, largest first, that have the probability p together (Holtzman et al., 2020)."""
    return _keep_mass(x, sorted_ids(x), p)


def min_p(x: list[float], p: float) -> list[float]:
    """Those with at least p times the highest probability (Nguyen et al., 2024)."""
    return [logit if math.exp(logit) >= p else MASKED for logit in x]


def typical_p(x: list[float], p: float) -> list[float]:
    """The fewest, -log p nearest to the entropy first, that have the probability p together.

    Locally typical sampling (Meister et al., 2023); of equals, those with the lower ids first.
    """
    information = {i: -math.log(share) for i, share in enumerate(softmax(x)) if share > 0.0}
    entropy = sum(math.exp(-nats) * nats for nats in information.values())
    return _keep_mass(x, sorted(information, key=lambda i: (abs(information[i] - entropy), i)), p)


class Penalty(NamedTuple):
    """A setting that changes the logits of tokens which the text already has, before masks and temperature.

    off: its value where it does nothing; apply(x, value, seen) -> x, where `seen` are the text's ids.
    """

    setting: str
    off: float | None
    apply: Callable[[list[float], Any, Collection[int]], list[float]]


class Filter(NamedTuple):
    """A setting that masks tokens after the temperature.

    off: its value where it does nothing; apply(x, value) -> x. The first filter gets x with a largest of 0.
    """

    setting: str
    off: float | None
    apply: Callable[[list[float], Any], list[float]]


PENALTIES = (Penalty("repetition_penalty", off=1.0, apply=apply_repetition_penalty),)
FILTERS = (
    Filter("top_k", off=None, apply=top_k),
    Filter("top_p", off=None, apply=top_p),
    Filter("min_p", off=None, apply=min_p),
    Filter("typical_p", off=None, apply=typical_p),
)


def filter_rows() -> tuple[Penalty | Filter, ...]:
    """Every row that changes the distribution, in the order in which they act."""
    return (*PENALTIES, *FILTERS)


@dataclass(frozen=True, init=False)
class Filters:
    """The temperature of a request, and setting -> value of the rows that are on, in their order."""

    temperature: float
    on: Mapping[str, Any]

    def __init__(self, temperature: float, **values: Any) -> None:
        """values: by setting; a row that is left out is off. TypeError for a name that no row has."""
        rows = filter_rows()
        if unknown := values.keys() - {row.setting for row in rows}:
            raise TypeError(f"Filters: expected {[row.setting for row in rows]}, got {sorted(unknown)}")
        off = {row.setting: row.off for row in rows}
        given = {name: values.get(name, off[name]) for name in off}
        object.__setattr__(self, "temperature", temperature)
        object.__setattr__(self, "on", {name: given[name] for name in off if given[name] != off[name]})

    def __repr__(self) -> str:
        return concise(type(self).__name__, {"temperature": self.temperature, **self.on})


def distribution(
    logits: Sequence[float], filters: Filters, seen: Collection[int] = (), masked: Collection[int] = ()
) -> list[float]:
    """The probability of every token, all filters applied; the temperature must be one that is random.

    seen: ids that the text has already; masked: ids that may not come next.
    """
    x = apply_temperature(_allowed(logits, filters, seen, masked), filters.temperature)
    for row in FILTERS:
        if row.setting in filters.on:
            x = row.apply(x, filters.on[row.setting])
    return softmax(x)


def sample_token(
    logits: Sequence[float],
    filters: Filters,
    rng: Rng,
    seen: Collection[int] = (),
    masked: Collection[int] = (),
) -> int:
    """The next id: drawn, or at temperature 0 the most likely that is not masked (the first, if tied)."""
    if not is_random(filters.temperature):
        return argmax(_allowed(logits, filters, seen, masked))
    p = distribution(logits, filters, seen, masked)
    if 0.0 not in p:
        return rng.categorical(p)
    possible = [i for i, share in enumerate(p) if share > 0.0]
    return possible[rng.categorical([p[i] for i in possible])]


def _allowed(
    logits: Sequence[float], filters: Filters, seen: Collection[int], masked: Collection[int]
) -> list[float]:
    """The logits after penalties and masks; MotegptError if some were not finite."""
    x = checked_logits(logits)
    for row in PENALTIES:
        if row.setting in filters.on:
            x = row.apply(x, filters.on[row.setting], seen)
    return apply_mask(x, masked)


def is_random(temperature: float) -> bool:
    """Whether there is any chance at this temperature: not at zero, or as good as zero."""
    return temperature > 0.0 and math.isfinite(1.0 / temperature)


def checked_logits(logits: Sequence[float]) -> list[float]:
    """The logits as a list; MotegptError if some are not finite."""
    x = [float(logit) for logit in logits]
    if not all(map(math.isfinite, x)):
        raise non_finite_error()
    return x


def non_finite_error() -> MotegptError:
    """The error for logits that are infinite or not numbers, whoever finds them."""
    return MotegptError("sample: expected finite logits, got others; the model has diverged or is damaged")


def argmax(x: Sequence[float]) -> int:
    """The first of the largest."""
    return max(range(len(x)), key=lambda i: x[i])


def softmax(x: list[float]) -> list[float]:
    """The probabilities; what is not masked is between MIN_LOGIT and 0, so that no exponential overflows."""
    e = [math.exp(logit) for logit in x]
    total = sum(e)
    return [weight / total for weight in e]


def sorted_ids(x: list[float]) -> list[int]:
    """The ids that are not masked, the largest first; of equals, the lower id."""
    return sorted((i for i, logit in enumerate(x) if logit > MASKED), key=lambda i: (-x[i], i))


def _keep_mass(x: list[float], order: Sequence[int], p: float) -> list[float]:
    """x with the fewest ids, first in `order`, that have the probability p together."""
    if p == 1.0:
        return x
    weights = [math.exp(logit) for logit in x]
    wanted = p * sum(weights[i] for i in order)
    mass, kept = 0.0, 0
    while kept < len(order) and mass < wanted:
        mass += weights[order[kept]]
        kept += 1
    return _keep_only(x, order[:kept])


def _keep_only(x: list[float], kept: Sequence[int]) -> list[float]:
    """x with nothing but the ids `kept`."""
    y = [MASKED] * len(x)
    for i in kept:
        y[i] = x[i]
    return y
