"""The scaling law L = E + A · N^-α, fitted to the losses of models of several sizes N.

Kaplan et al., 2020, and Hoffmann et al., 2022 (equation 2, in one variable). For each α the best E and A are
those of a linear least-squares fit with E >= 0 and A >= 0; α minimizes what remains, on a grid refined around
its best point. What is fitted are the medians over seeds, as other pictures draw them. The interval is a
percentile bootstrap: the losses of each size are drawn again with replacement, and the medians fitted again.

Losses that a bound of the fit describes best determine no law: an α at the end of the grid stands for any
beyond it, and E = 0 for losses that fall as if E were below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from motegpt.errors import UsageError

MIN_SIZES = 4  # three parameters fit any three sizes
BOUNDS = (0.01, 3.0)  # of α
EXPONENTS = np.linspace(*BOUNDS, 300)
ROUNDING = 1e-3  # of the lowest loss: an E below zero by less is zero
REFINED, POINTS = 4, 33  # times that the grid is refined, and its points
DRAWS = 400  # of the bootstrap
INTERVAL = (0.05, 0.95)
Losses = Mapping[float, Sequence[float]]  # of each size, those of its seeds
Array = NDArray[np.float64]


class Law(NamedTuple):
    """E, A and α of L(N) = E + A · N^-α."""

    floor: float
    factor: float
    exponent: float

    def at(self, sizes: Array) -> Array:
        """The losses at some sizes."""
        return self.floor + self.factor * sizes**-self.exponent


class Fit(NamedTuple):
    """A law, and those of the bootstrap, (draws, 3); no draws if no size has several seeds."""

    law: Law
    draws: Array

    def interval(self, name: str) -> tuple[float, float] | None:
        """The ends of the 90 % interval of floor, factor or exponent.

        An end that the losses do not determine, as it lies on a bound of the fit, is -inf or inf.
        """
        if not len(self.draws):
            return None
        ends = dict(zip(Law._fields, np.quantile(self.draws, INTERVAL, axis=0).T.tolist(), strict=True))
        low, high = ends[name]
        lowest, highest = (end == bound for end, bound in zip(ends["exponent"], BOUNDS, strict=True))
        is_open_above = highest and name != "floor"  # the steeper the law, the closer E is to the last loss
        return -np.inf if lowest or low == 0 else low, np.inf if is_open_above else high


def fit_law(losses: Losses, vary: str = "`n_embd` or `n_layer`") -> Fit:
    """The law of the medians over seeds; vary: the settings that change the size, for messages.

    UsageError below MIN_SIZES sizes, if larger is not better, and if a bound of the fit is the best.
    """
    if len(losses) < MIN_SIZES:
        raise UsageError(
            f"plot: expected at least {MIN_SIZES} sizes for a law of three parameters, got {len(losses)}; "
            f"vary {vary} more"
        )
    sizes = np.array(sorted(losses), np.float64)
    seeds = [np.array(losses[size], np.float64) for size in sizes]
    medians = np.array([np.median(one) for one in seeds])
    law = Law(*map(float, _fitted(sizes, medians[None], -np.inf)[0]))
    if law.factor == 0:
        raise UsageError(
            "plot: expected losses that fall with the size for a scaling law, got others; draw lines instead"
        )
    if law.exponent in BOUNDS or law.floor < -ROUNDING * medians.min():
        bound = f"α = {law.exponent:g}" if law.exponent in BOUNDS else "E = 0"
        raise UsageError(
            f"plot: expected losses that determine a scaling law, got a best fit at {bound}, a bound of the "
            f"fit; vary {vary} over a wider range, or train more seeds"
        )
    law = law._replace(floor=max(law.floor, 0.0))
    if max(map(len, seeds)) < 2:
        return Fit(law, np.empty((0, 3)))
    chance = np.random.default_rng(0)
    drawn = [np.median(chance.choice(one, (DRAWS, len(one))), axis=1) for one in seeds]
    return Fit(law, _fitted(sizes, np.stack(drawn, axis=1)))


def _fitted(sizes: Array, losses: Array, lowest: float = 0.0) -> Array:
    """E >= lowest, A and α (D, 3) with the least squares, of D rows of losses (D, N)."""
    unit = float(np.exp(np.log(sizes).mean()))  # sizes near 1 condition the fit
    grid = np.broadcast_to(EXPONENTS, (len(losses), len(EXPONENTS)))
    rows = np.arange(len(losses))
    for _ in range(REFINED):
        best = _linear(sizes / unit, losses, grid, lowest)[2].argmin(axis=1)
        low, high = grid[rows, np.maximum(best - 1, 0)], grid[rows, np.minimum(best + 1, grid.shape[1] - 1)]
        grid = np.linspace(low, high, POINTS, axis=1)
    floor, factor, rest = _linear(sizes / unit, losses, grid, lowest)
    best = rest.argmin(axis=1)
    exponent = grid[rows, best]
    return np.stack([floor[rows, best], factor[rows, best] * unit**exponent, exponent], axis=1)


def _linear(sizes: Array, losses: Array, exponents: Array, lowest: float) -> tuple[Array, Array, Array]:
    """E >= lowest and A >= 0 of the least squares, and the sum of squares that is left, (D, K) each.

    losses: (D, N); exponents: (D, K); lowest: 0, or -inf.
    """
    powers = sizes ** -exponents[:, :, None]  # (D, K, N)
    mean, losses = losses.mean(axis=1)[:, None], losses[:, None, :]
    spread = powers - powers.mean(axis=2, keepdims=True)
    factor = np.maximum((spread * losses).sum(axis=2) / (spread**2).sum(axis=2), 0.0)
    floor = mean - factor * powers.mean(axis=2)
    alone = (powers * losses).sum(axis=2) / (powers**2).sum(axis=2)  # A without E
    factor, floor = np.where(floor < lowest, alone, factor), np.maximum(floor, lowest)
    rest = losses - floor[:, :, None] - factor[:, :, None] * powers
    return floor, factor, (rest**2).sum(axis=2)
