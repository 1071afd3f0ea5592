"""The parameter at which a reconstruction has a given noise, so that resolutions can be compared fairly."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import exp, isfinite, log
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

Image = TypeVar("Image")


class NoiseMatch(NamedTuple):
    """What `match_noise` found; `noise` and `target` in the unit of the measure."""

    parameter: float
    noise: float
    target: float
    n_trials: int


class NoiseMatchError(ValueError):
    """One sentence: which noise the reconstruction reaches, and which was asked for."""


def noise_in_regions(image: NDArray[np.floating], regions: NDArray[np.integer]) -> float:
    """Standard deviation of `image` about the mean of each of its flat regions, in its own unit.

    `regions` has the shape of the image: 0 where it is not flat, and a number from 1 on for each region. The
    variances of the regions are averaged with as many degrees of freedom as each has. ValueError if no region
    has two pixels.
    """
    labels = np.asarray(regions)
    if labels.shape != image.shape:
        raise ValueError(f"the regions are {labels.shape}, the image {image.shape}")
    chosen = labels > 0
    values, numbers = image[chosen].astype(np.float64), labels[chosen]
    counts = np.bincount(numbers)
    n_free = int(np.maximum(counts - 1, 0).sum())
    if n_free < 1:
        raise ValueError("there is no flat region of two pixels or more; mark some with numbers from 1 on")
    means = np.bincount(numbers, values) / np.maximum(counts, 1)
    return float(np.sqrt(((values - means[numbers]) ** 2).sum() / n_free))


def match_noise(
    reconstruct: Callable[[float], Image],
    noise: Callable[[Image], float],
    target: float,
    *,
    start: float,
    tolerance: float = 0.02,
    widest: float = 1e6,
    n_trials: int = 30,
) -> NoiseMatch:
    """The positive parameter at which ``noise(reconstruct(parameter))`` is `target` within `tolerance` of it.

    The noise must rise or fall with the parameter all along, as it does with the strength of a regularisation
    or the number of iterations; for instance
    ``match_noise(lambda s: fista_tv(operator, sinogram, strength=s), partial(noise_in_regions,
    regions=regions), 10.0, start=1.0)``. From `start` on the parameter is multiplied or divided until the
    target is between two trials, at most by `widest`; then their logarithms are interpolated. NoiseMatchError
    if the target is not reached, ValueError if it is not positive.
    """
    if not (isfinite(target) and target > 0):
        raise ValueError(f"the target noise is {target:g}; it must be above 0")
    trials: list[Trial] = []
    at = log(start)
    while len(trials) < n_trials and abs(at - log(start)) <= log(widest):
        level = noise(reconstruct(exp(at)))
        if not isfinite(level) or level < 0:
            raise NoiseMatchError(
                f"the noise is {level:g} at the parameter {exp(at):.4g}; it must be a number"
            )
        trials.append(Trial(at, log(max(level / target, _SILENT))))
        if abs(trials[-1].excess) <= log(1 + tolerance):
            return NoiseMatch(exp(at), level, target, len(trials))
        at = _next(trials)
    best = min(trials, key=lambda trial: abs(trial.excess))
    raise NoiseMatchError(
        f"the noise comes no closer than {exp(best.excess):.3g} times the {target:.4g} asked for, at the "
        f"parameter {exp(best.at):.4g}; ask for another noise"
    )


class Trial(NamedTuple):
    """The logarithms of a parameter, and of the noise there over the target."""

    at: float
    excess: float


_SILENT = 1e-12
"""Of the target: less noise than this is as little."""
_FACTOR = log(4.0)
"""Between the first two parameters; each further one that does not reach the target goes farther."""
_FARTHER = 1.5


def _next(trials: list[Trial]) -> float:
    """Where to try next: between two trials on either side of the target, else beyond the nearer one."""
    ordered = sorted(trials)
    for low, high in pairwise(ordered):
        if low.excess * high.excess < 0:
            one_sided = len({trial.excess > 0 for trial in trials[-3:]}) == 1
            share = 0.5 if one_sided else low.excess / (low.excess - high.excess)
            return low.at + share * (high.at - low.at)
    first, last = ordered[0], ordered[-1]
    step = _FACTOR * _FARTHER ** (len(trials) - 1)
    falls = last.excess <= first.excess
    return last.at + step if falls == (last.excess > 0) else first.at - step
