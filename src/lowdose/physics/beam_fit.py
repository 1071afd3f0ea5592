"""The beam behind a scan's noise: how its directions tell of tube current and attenuation, and slices of
dose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from lowdose.physics.beam import Beam
from lowdose.physics.flat_regions import FlatPlace
from lowdose.physics.geometry import Geometry, ImageGrid
from lowdose.physics.local_noise import directional_variance, sector_power, typical_rings
from lowdose.physics.scan_projection import line_integrals
from lowdose.physics.scanner import Scanner
from lowdose.quality.spectra import radial_bins

Floats = NDArray[np.float64]

_COARSER = 4
"""By how much views and channels are thinned where only the directions of noise are looked at."""
BAND_FROM = 0.2
"""1/mm: below it anatomy adds to the measured noise."""
_BAND_TO = 0.65
"""Of the pixels' Nyquist frequency: above it noise is aliased."""
_LEAST_POWER = 0.05
"""Of the ring with the most: frequencies with less hold leaks of others."""
_MODULATIONS = (0.0, 0.25, 0.5, 0.75, 1.0)
_HARDENINGS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4)
_USUAL_HARDENING = 0.07
"""Standard deviation of the prior: without evidence there is none."""
_USUAL_MODULATION = (0.25, 0.35)
"""Mean and standard deviation of the prior."""
_LEVEL_ERROR = 0.12
"""Standard error of the logarithm of the noise variance measured in one slice."""
_FEWEST_REGIONS = 12
_CONTRASTS = tuple(np.arange(0.6, 1.21, 0.02))
_WIDTH = 0.7
"""Of a region: the part that counts most, as the noise within it is told apart by frequency."""


@dataclass(frozen=True)
class SliceLevel:
    """How noisy one slice is beside what the header and the beam make of it."""

    z: int
    n_regions: int
    measured: float
    """Noise variance over the expected, relative to the scan's typical slice."""
    used: float
    """The same, drawn towards one as far as the scatter between slices is what measuring alone gives."""


@dataclass(frozen=True)
class Seen:
    """What was measured of a scan: in which places, and the noise power there."""

    grid: ImageGrid
    side: int
    places: Sequence[FlatPlace]
    own: Sequence[Floats]
    """Per slice `[region, fy, fx]` in HU^2 mm^2."""
    currents: Sequence[float]
    """Relative tube current of each slice, from the header."""

    @property
    def band(self) -> tuple[float, float]:
        """Frequencies in 1/mm at which the noise is neither anatomy nor aliased nor gone."""
        frequencies, members = radial_bins((self.side, self.side), self.grid.spacing)
        rings = typical_rings(np.concatenate(self.own), members)
        strong = frequencies[rings > _LEAST_POWER * rings.max()]
        upper = min(_BAND_TO * 0.5 / max(self.grid.spacing), float(strong.max()))
        return min(BAND_FROM, 0.7 * upper), upper

    @property
    def independent_share(self) -> float:
        """Pixels in the regions over the pixels of all regions, which overlap."""
        covered, counted = 0, 0
        for place in self.places:
            mask = np.zeros(self.grid.shape, bool)
            for y, x in place.corners:
                mask[y : y + self.side, x : x + self.side] = True
            covered += int(mask.sum())
            counted += len(place.corners) * self.side**2
        return covered / counted

    def centres(self, place: FlatPlace) -> Floats:
        """(y, x) in mm from the axis of the middle of each region."""
        pixels = place.corners + (self.side - 1) / 2 - (np.array(self.grid.shape) - 1) / 2
        return np.asarray(pixels * np.array(self.grid.spacing))


class BeamSearch:
    """The directions of a scan's noise beside those that beams of different modulation and hardening make.

    Whittle's likelihood of the periodograms by direction, with one free level for each slice, as regions that
    don't overlap would give it, and normal priors.
    """

    def __init__(self, seen: Seen, scanner: Scanner) -> None:
        self._seen = seen
        self._observed, self._counts = self._by_direction(seen.own)
        coarse = _thinned(scanner.plane)
        projections = [
            line_integrals(place.slice_, seen.grid, coarse, scanner.water_mu) for place in seen.places
        ]
        self._candidates = []
        for modulation, hardening in product(_MODULATIONS, _HARDENINGS):
            beam = replace(scanner.beam(), modulation=modulation, hardening=hardening)
            self._candidates.append((beam, self._expected(beam, coarse, projections)))

    def likeliest(self, contrast: float = 1.0) -> tuple[Beam, tuple[SliceLevel, ...]]:
        """The beam under which what was observed is the likeliest, and how noisy each slice is beside it.

        `contrast` is that with which directions show; see `contrast`.
        """
        scores = [
            _surprise(self._observed, expected, contrast, self._counts) for _, expected in self._candidates
        ]
        share = self._seen.independent_share
        doubts = [
            share * surprise
            + (beam.hardening / _USUAL_HARDENING) ** 2 / 2
            + ((beam.modulation - _USUAL_MODULATION[0]) / _USUAL_MODULATION[1]) ** 2 / 2
            for (surprise, _), (beam, _) in zip(scores, self._candidates, strict=True)
        ]
        best = int(np.argmin(doubts))
        return self._candidates[best][0], _shrunk(self._seen, scores[best][1])

    def contrast(self, beam: Beam, draws: Sequence[Sequence[Floats]]) -> float:
        """With what power of the expected variance noise simulated with `beam`, several
        `draws` of it, goes by direction.

        One, were a region and its spectrum small and sharp; the leaks between neighbouring places and
        frequencies, and what is folded over at the Nyquist frequency, take some of it.
        """
        expected = next(
            expected
            for candidate, expected in self._candidates
            if (candidate.modulation, candidate.hardening) == (beam.modulation, beam.hardening)
        )
        observed, counts = self._by_direction([np.concatenate(slices) for slices in zip(*draws, strict=True)])
        expected = [np.concatenate([variance] * len(draws)) for variance in expected]
        return min(_CONTRASTS, key=lambda contrast: _surprise(observed, expected, contrast, counts)[0])

    def _by_direction(self, power: Sequence[Floats]) -> tuple[list[Floats], NDArray[np.intp]]:
        powers, counts = sector_power(np.concatenate(power), self._seen.grid.spacing, self._seen.band)
        return np.split(powers, np.cumsum([len(regions) for regions in power])[:-1]), counts

    def _expected(
        self, beam: Beam, geometry: Geometry, projections: Sequence[NDArray[np.float32]]
    ) -> list[Floats]:
        seen = self._seen
        width = _WIDTH * seen.side * seen.grid.spacing[0]
        return [
            directional_variance(
                geometry, beam.variance(geometry, passed, current), seen.centres(place), width
            )
            for place, current, passed in zip(seen.places, seen.currents, projections, strict=True)
        ]


def _surprise(
    observed: Sequence[Floats], expected: Sequence[Floats], contrast: float, counts: NDArray[np.intp]
) -> tuple[float, Floats]:
    """The negative logarithm of the likelihood, and the level of each slice: power observed over expected."""
    total, levels = 0.0, []
    for power, variance in zip(observed, expected, strict=True):
        shape = variance**contrast
        shape *= variance.mean() / shape.mean()
        level = float(((power / shape) @ counts).mean() / counts.sum())
        model = shape * level
        total += float(((np.log(model) + power / model) * counts).sum())
        levels.append(level)
    return total, np.array(levels)


def _shrunk(seen: Seen, measured: Floats) -> tuple[SliceLevel, ...]:
    """Slice levels relative to their median, drawn towards one by their own uncertainty (empirical Bayes)."""
    n_regions = np.array([len(place.corners) for place in seen.places])
    logs = np.log(measured)
    logs = logs - _weighted_median(logs, n_regions)
    error = _LEVEL_ERROR**2 * (1 + _FEWEST_REGIONS / n_regions)
    between = max(0.0, float(np.average(logs**2 - error, weights=1 / error)))
    used = logs * between / (between + error)
    return tuple(
        SliceLevel(place.z, int(n), float(np.exp(log)), float(np.exp(drawn)))
        for place, n, log, drawn in zip(seen.places, n_regions, logs, used, strict=True)
    )


def _weighted_median(values: Floats, weights: NDArray[np.intp]) -> float:
    order = np.argsort(values)
    below = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(below, below[-1] / 2)])


def _thinned(geometry: Geometry) -> Geometry:
    """The same field with a quarter of the views and channels."""
    return replace(
        geometry,
        n_views=max(1, geometry.n_views // _COARSER),
        n_channels=max(1, geometry.n_channels // _COARSER),
        channel_spacing=geometry.channel_spacing
        * geometry.n_channels
        / max(1, geometry.n_channels // _COARSER),
        channel_shift=geometry.channel_shift / _COARSER,
    )
