"""Logits -> probabilities -> token id: the sampling filters, in the order in which they are applied.

Each function maps a list of V logits to a new list, in double precision on every engine; a masked token has
logit -inf. All functions accept any finite logits. cpp/motegpt/filters.hpp implements the same operations for
the settings listed in engines/native/engine.py.

To add a filter, write a function here, a row of FILTERS (or PENALTIES) and a setting of SampleConfig.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from motegpt.config.text import concise
from motegpt.errors import MotegptError

if TYPE_CHECKING:
    from motegpt.model.rng import Rng

MASKED = -math.inf
MAX_FLOAT = sys.float_info.max
MIN_LOGIT = -708.0  # tokens with less than e^-708 of the highest probability are masked


def apply_repetition_penalty(x: list[float], penalty: float, seen: Collection[int]) -> list[float]:
    """Divide positive logits of the `seen` ids by the penalty, multiply negative ones (Keskar et al., 2019).

    Results are clamped to the finite range.
    """
    x = list(x)
    for i in seen:
        x[i] = min(x[i] / penalty, MAX_FLOAT) if x[i] > 0.0 else max(x[i] * penalty, -MAX_FLOAT)
    return x


def apply_mask(x: list[float], masked: Collection[int]) -> list[float]:
    """Set the logits of the masked ids to -inf."""
    if not masked:
        return x
    x = list(x)
    for i in masked:
        x[i] = MASKED
    return x


def apply_temperature(x: list[float], temperature: float) -> list[float]:
    """(x - max x) / temperature, so that the largest is 0; logits below MIN_LOGIT are masked."""
    highest, inverse = max(x), 1.0 / temperature
    y = [(logit - highest) * inverse for logit in x]
    return [logit if logit >= MIN_LOGIT else MASKED for logit in y]


def top_k(x: list[float], k: int) -> list[float]:
    """Keep the k largest logits (Fan et al., 2018); ties go to the lower ids."""
    return _keep_only(x, sorted_ids(x)[:k])


def top_p(x: list[float], p: float) -> list[float]:
    """Keep the fewest most likely tokens with total probability at least p (Holtzman et al., 2020)."""
    return _keep_mass(x, sorted_ids(x), p)


def min_p(x: list[float], p: float) -> list[float]:
    """Keep tokens with at least p times the highest probability (Nguyen et al., 2024)."""
    return [logit if math.exp(logit) >= p else MASKED for logit in x]


def typical_p(x: list[float], p: float) -> list[float]:
    """Keep the fewest tokens with total probability at least p whose -log p is nearest to the entropy.

    Locally typical sampling (Meister et al., 2023); ties go to the lower ids.
    """
    information = {i: -math.log(share) for i, share in enumerate(softmax(x)) if share > 0.0}
    entropy = sum(math.exp(-nats) * nats for nats in information.values())
    return _keep_mass(x, sorted(information, key=lambda i: (abs(information[i] - entropy), i)), p)


class Penalty(NamedTuple):
    """A setting that changes the logits of tokens already in the text, before masks and temperature.

    off: the value that disables it; apply(x, value, seen) -> x, where `seen` are the ids in the text.
    """

    setting: str
    off: float | None
    apply: Callable[[list[float], Any, Collection[int]], list[float]]


class Filter(NamedTuple):
    """A setting that masks tokens after the temperature.

    off: the value that disables it; apply(x, value) -> x. The first filter receives logits with maximum 0.
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
    """All penalties and filters, in the order of application."""
    return (*PENALTIES, *FILTERS)


@dataclass(frozen=True, init=False)
class Filters:
    """The temperature of a request, and the values of its active filters by setting, in table order."""

    temperature: float
    on: Mapping[str, Any]

    def __init__(
        self, temperature: float, on: Mapping[str, Any] = MappingProxyType({}), **values: Any
    ) -> None:
        """on, values: by setting; `values` take precedence. TypeError for an unknown setting."""
        given, off = {**on, **values}, {row.setting: row.off for row in filter_rows()}
        if unknown := given.keys() - off.keys():
            raise TypeError(f"Filters: expected {list(off)}, got {sorted(unknown)}")
        active = {name: given[name] for name in off if given.get(name, off[name]) != off[name]}
        object.__setattr__(self, "temperature", temperature)
        object.__setattr__(self, "on", active)

    def __hash__(self) -> int:
        return hash((self.temperature, *self.on.items()))

    def __repr__(self) -> str:
        return concise(type(self).__name__, {"temperature": self.temperature, **self.on})


def distribution(
    logits: Sequence[float], filters: Filters, seen: Collection[int] = (), masked: Collection[int] = ()
) -> list[float]:
    """The probability (V) of every token after all filters; requires `is_random(filters.temperature)`.

    seen: ids already in the text; masked: ids that may not come next.
    """
    x = apply_temperature(_penalized(logits, filters, seen, masked), filters.temperature)
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
    """Sample the next id; at temperature 0, the most likely unmasked id (the lowest, if tied)."""
    if not is_random(filters.temperature):
        return argmax(_penalized(logits, filters, seen, masked))
    p = distribution(logits, filters, seen, masked)
    if 0.0 not in p:
        return rng.categorical(p)
    support = [i for i, share in enumerate(p) if share > 0.0]
    return support[rng.categorical([p[i] for i in support])]


def _penalized(
    logits: Sequence[float], filters: Filters, seen: Collection[int], masked: Collection[int]
) -> list[float]:
    """The logits after penalties and masks; MotegptError unless all logits are finite."""
    x = checked_logits(logits)
    for row in PENALTIES:
        if row.setting in filters.on:
            x = row.apply(x, filters.on[row.setting], seen)
    return apply_mask(x, masked)


def is_random(temperature: float) -> bool:
    """Whether tokens are sampled at this temperature: not at 0, nor where 1 / temperature overflows."""
    return temperature > 0.0 and math.isfinite(1.0 / temperature)


def checked_logits(logits: Sequence[float]) -> list[float]:
    """The logits as a list of floats; MotegptError unless all are finite."""
    x = [float(logit) for logit in logits]
    if not all(map(math.isfinite, x)):
        raise non_finite_error()
    return x


def non_finite_error() -> MotegptError:
    """The error for logits that are NaN or infinite."""
    return MotegptError(
        "sample: expected finite logits, got NaN or infinity; the model has diverged or is damaged"
    )


def argmax(x: Sequence[float]) -> int:
    """The first index of the maximum."""
    return max(range(len(x)), key=lambda i: x[i])


def softmax(x: list[float]) -> list[float]:
    """Probabilities; unmasked logits are between MIN_LOGIT and 0, so no exponential overflows."""
    e = [math.exp(logit) for logit in x]
    total = sum(e)
    return [weight / total for weight in e]


def sorted_ids(x: list[float]) -> list[int]:
    """The unmasked ids by descending logit; ties go to the lower id."""
    return sorted((i for i, logit in enumerate(x) if logit > MASKED), key=lambda i: (-x[i], i))


def _keep_mass(x: list[float], order: Sequence[int], p: float) -> list[float]:
    """Mask all but the shortest prefix of `order` with total probability at least p."""
    if p == 1.0:
        return x
    weights = [math.exp(logit) for logit in x]
    target = p * sum(weights[i] for i in order)
    mass, count = 0.0, 0
    while count < len(order) and mass < target:
        mass += weights[order[count]]
        count += 1
    return _keep_only(x, order[:count])


def _keep_only(x: list[float], kept: Sequence[int]) -> list[float]:
    """Mask all ids but `kept`."""
    y = [MASKED] * len(x)
    for i in kept:
        y[i] = x[i]
    return y


def log_softmax(logits: Sequence[float]) -> list[float]:
    """log p of every token (V), in nats and double precision."""
    x = checked_logits(logits)
    highest = max(x)
    log_total = highest + math.log(sum(math.exp(logit - highest) for logit in x))
    return [logit - log_total for logit in x]
