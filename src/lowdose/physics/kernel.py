"""A reconstruction kernel as measured: its gain over the pure ramp.

The mean of an image must be right, so a kernel's gain is one at the frequency zero, and it is flat there.
Below the frequencies at which noise outweighs anatomy the kernel is continued by what these two facts and the
measured rest leave: a smooth even function.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_STRUCTURE_BELOW = 0.2
"""1/mm: below it anatomy adds to the measured spectrum."""
_STRUCTURE_SHARE = 0.5
"""Of the last frequency with power: a soft kernel leaves noise below it only, and its coarse noise is
strong."""
_NOISE_ABOVE = 1.4
"""Times that frequency: above it the measured spectrum is taken as it is."""
_LEAST_POWER = 0.05
"""Of the ring with the most."""
_FITTED_UP_TO = 0.5
"""1/mm"""
_FEWEST_RINGS = 4
_NO_POWER = 1e-12
_STEEPEST = -30.0
"""mm: of the logarithm of the squared gain beyond the last measured frequency."""


@dataclass(frozen=True, eq=False)
class Kernel:
    """Gain over the pure ramp at `frequencies` in 1/mm; callable as the apodisation of `fbp`."""

    frequencies: Floats
    gain: Floats

    def __call__(self, frequencies: Floats) -> Floats:
        """The gain at any frequency; beyond the measured ones it goes on falling as it did, and never rises.

        What lies above the pixels' Nyquist frequency is aliased in the scan as in the simulation.
        """
        inside = np.interp(frequencies, self.frequencies, self.gain)
        if len(self.frequencies) < 3:
            return inside
        last = self.frequencies[-1]
        logs = np.log(np.maximum(self.gain[-3:], _NO_POWER))
        slope = float(np.clip((logs[-1] - logs[0]) / (last - self.frequencies[-3]), _STEEPEST, 0.0))
        return np.where(frequencies > last, self.gain[-1] * np.exp(slope * (frequencies - last)), inside)


def flat_kernel(frequencies: Floats) -> Kernel:
    """The pure ramp."""
    return Kernel(frequencies, np.ones_like(frequencies))


def fitted_kernel(
    frequencies: Floats, assumed: Kernel, ratio: Floats, own_power: Floats
) -> tuple[Kernel, float]:
    """`assumed` corrected by what its noise lacks, and the squared gain that belongs to the photon count.

    `ratio` is the scan's noise power over the simulated, by ring of `frequencies`, and `own_power` that of
    the scan: where little is left of it, other frequencies have leaked in. The second value is the factor by
    which the noise variance at the frequency zero was too low.
    """
    last = float(frequencies[own_power > _LEAST_POWER * own_power.max()].max())
    anatomy = min(_STRUCTURE_BELOW, _STRUCTURE_SHARE * last)
    trusted = (frequencies >= anatomy) & (frequencies <= min(_FITTED_UP_TO, last))
    squared = np.log(np.maximum(assumed(frequencies) ** 2 * ratio, _NO_POWER))
    even = _even_continuation(frequencies, squared, np.where(trusted, own_power, 0.0))
    weight = np.clip((frequencies / anatomy - 1.0) / (_NOISE_ABOVE - 1.0), 0.0, 1.0)
    if even is None:
        first = min(int(np.searchsorted(frequencies, anatomy / 2)), len(squared) - 1)
        level = float(squared[first:].max())
        log_squared = np.where(frequencies < anatomy, level, _smooth(squared))
    else:
        level = float(even(0.0))
        log_squared = weight * _smooth(squared) + (1 - weight) * even(frequencies)
    # Anatomy only adds to the scan: where it has less power than the continuation, there is less noise.
    log_squared = np.minimum(log_squared, np.where(frequencies < anatomy, _smooth(squared), np.inf))
    level = min(level, float(log_squared[0]))
    at = np.concatenate([[0.0], frequencies])
    gain = np.exp((np.concatenate([[level], log_squared]) - level) / 2)
    return Kernel(at, gain), float(np.exp(level))


def _even_continuation(
    frequencies: Floats, log_squared: Floats, weights: Floats
) -> Callable[[float | Floats], Floats] | None:
    """The even polynomial through the rings of some weight; None if there are too few."""
    trusted = weights > 0
    if trusted.sum() < _FEWEST_RINGS:
        return None
    degree = 2 if trusted.sum() >= 6 else 1
    terms = np.vander(frequencies[trusted] ** 2, degree + 1)
    roots = np.sqrt(weights[trusted])
    solution = np.linalg.lstsq(terms * roots[:, None], log_squared[trusted] * roots, rcond=None)[0]
    return lambda f: np.polyval(solution, np.asarray(f) ** 2)


def _smooth(values: Floats) -> Floats:
    """Averaged with the neighbours, 1 : 4 : 1."""
    padded = np.pad(values, 1, mode="edge")
    padded[0], padded[-1] = 2 * values[0] - values[1], 2 * values[-1] - values[-2]
    return (padded[:-2] + 4 * padded[1:-1] + padded[2:]) / 6
