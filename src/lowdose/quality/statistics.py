"""From one number per case to a mean with an interval. The case is the unit, never the slice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FEWEST_CASES = 3
"""With fewer cases than this no interval is given."""


def _mean(values: Floats) -> Floats:
    return np.asarray(np.mean(values, axis=-1))


@dataclass(frozen=True)
class Interval:
    """A confidence interval in the unit of its values."""

    low: float
    high: float
    level: float = 0.95


@dataclass(frozen=True)
class Summary:
    """The mean over cases; `interval` is None where there are too few of them."""

    mean: float
    n_cases: int
    interval: Interval | None

    @property
    def note(self) -> str:
        """What the numbers stand for, in words."""
        cases = f"{self.n_cases} case" if self.n_cases == 1 else f"{self.n_cases} cases"
        if self.interval is None:
            return f"{cases}: too few for an interval"
        return f"{cases}, {self.interval.level:.0%} bootstrap interval over cases"


def bootstrap_interval(
    values: Sequence[float] | Floats,
    generator: np.random.Generator,
    *,
    statistic: Callable[[Floats], Floats] = _mean,
    level: float = 0.95,
    n_resamples: int = 10_000,
) -> Interval:
    """Percentile bootstrap interval of `statistic` over cases (Efron, Ann Stat 1979;7:1).

    `values` holds one number per case; whole cases are drawn with replacement. `statistic` maps
    `[resample, case]` to `[resample]`. Raises ValueError for fewer than 3 cases, values that are not finite,
    or a level outside (0, 1). With few cases a percentile interval is too narrow: read it as a lower bound.
    """
    cases = np.asarray(values, np.float64)
    if cases.ndim != 1 or cases.size < FEWEST_CASES:
        raise ValueError(f"an interval over cases needs at least {FEWEST_CASES} of them, not {cases.size}")
    if not np.isfinite(cases).all():
        raise ValueError("an interval over cases needs a finite value from each")
    if not 0.0 < level < 1.0:
        raise ValueError(f"the confidence level is {level:g}; it must be between 0 and 1")
    drawn = generator.integers(0, cases.size, size=(n_resamples, cases.size))
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(statistic(cases[drawn]), (tail, 1.0 - tail))
    return Interval(float(low), float(high), level)


def summarise(values: Sequence[float] | Floats, generator: np.random.Generator) -> Summary:
    """Mean of one value per case, with a 95 % bootstrap interval from three cases on.

    Cases without a finite value are left out and not counted; with none left the mean is NaN.
    """
    cases = np.asarray(values, np.float64)
    cases = cases[np.isfinite(cases)]
    if cases.size == 0:
        return Summary(float("nan"), 0, None)
    interval = bootstrap_interval(cases, generator) if cases.size >= FEWEST_CASES else None
    return Summary(float(np.mean(cases)), int(cases.size), interval)
