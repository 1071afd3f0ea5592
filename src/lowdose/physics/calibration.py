"""What a scan tells about its own noise: its level, its spectrum, its directions, and the beam behind them.

Simulated noise must be the scan's own noise, only more of it. Level, spectrum and directions are measured in
flat soft tissue. The directions tell how the tube current followed the patient and how photons fell behind
thick parts; the pure-ramp noise that such a beam makes at the same places is measured in the same way, and
the ratio of the two spectra gives the photons per ray and the reconstruction kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lowdose.physics.beam import Beam
from lowdose.physics.beam_fit import BAND_FROM, BeamSearch, Seen, SliceLevel
from lowdose.physics.flat_regions import FlatPlace, find_flat_places
from lowdose.physics.geometry import Geometry
from lowdose.physics.kernel import Kernel, fitted_kernel, flat_kernel
from lowdose.physics.local_noise import sector_power, typical_rings
from lowdose.physics.reconstruction import fbp
from lowdose.physics.scan_projection import image_grid, line_integrals, sampled_slices
from lowdose.physics.scanner import Scanner
from lowdose.quality.spectra import noise_power_spectrum, radial_bins
from lowdose.scan import Acquisition, Scan
from lowdose.units import mu_difference_to_hu

Floats = NDArray[np.float64]

_SLICES = 12
_FEWEST_REGIONS = 12
_ROUNDS = 4
_DRAWS = 3
"""Of noise, for the contrast of its directions."""
_BEAM_ROUNDS = 2
"""After so many rounds modulation and hardening stay, and kernel and photons settle."""
_ANATOMY_BELOW = 0.12
"""1/mm: below it the power of a region tells how much anatomy is in it."""
_ANATOMY_SHARE = 0.5
"""Of the highest frequency, that anatomy is taken to reach at most."""
_KEPT_SHARE = 0.6
_SHADOW = 0.2
"""Line integral from which on a ray passes through the object: a centimetre of water."""
_ELECTRONIC_SHARE = 0.1
"""Largest share of the quantum noise that electronic noise has in a scan taken for diagnosis."""
_NOISELESS = 1e-6
"""HU^2: less than this is rounding."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """How well noise that is simulated with a calibration matches the scan's own, in the same places."""

    n_regions: int
    side: int
    """Pixels along a region."""
    frequencies: Floats
    """1/mm"""
    own_power: Floats
    """HU^2 mm^2, radial, of the scan: noise and what anatomy adds to it"""
    simulated_power: Floats
    """HU^2 mm^2, radial, of noise simulated at the scan's own dose"""
    own_directions: Floats
    """Noise power by direction over its mean, `[sector]`; NaN where small regions have no frequency"""
    simulated_directions: Floats

    @property
    def anatomy_below(self) -> float:
        """1/mm; below it anatomy adds to what is measured of the scan. Less where the pixels are large."""
        return min(BAND_FROM, _ANATOMY_SHARE * float(self.frequencies[-1]))

    @property
    def _noise_alone(self) -> NDArray[np.bool_]:
        return self.frequencies > self.anatomy_below

    @property
    def coarse_excess(self) -> float:
        """Standard deviation of the simulated noise over all that the scan has below `anatomy_below`: anatomy
        only adds to the scan, so that above one there is too much coarse noise."""
        below = ~self._noise_alone
        weights = self.frequencies[below]
        return float(np.sqrt((self.simulated_power[below] @ weights) / (self.own_power[below] @ weights)))

    @property
    def direction_mismatch(self) -> float:
        """RMS difference of the two curves by direction, each over its mean."""
        return float(np.sqrt(np.nanmean((self.simulated_directions - self.own_directions) ** 2)))

    @property
    def level_ratio(self) -> float:
        """Standard deviation, simulated over own, above the frequencies that anatomy reaches."""
        above = self._noise_alone
        weights = self.frequencies[above]
        ratio = (self.simulated_power[above] @ weights) / (self.own_power[above] @ weights)
        return float(np.sqrt(ratio))

    @property
    def spectrum_mismatch(self) -> float:
        """RMS difference of the two normalised spectra, over the RMS of the scan's, above those
        frequencies."""
        above = self._noise_alone
        weights = self.frequencies[above]
        own, simulated = (
            power[above] / (power[above] @ weights) for power in (self.own_power, self.simulated_power)
        )
        return float(np.linalg.norm(simulated - own) / np.linalg.norm(own))


@dataclass(frozen=True, eq=False)
class Calibration:
    """The noise of one scan, in terms of the simulator."""

    beam: Beam
    kernel: Kernel
    """Gain over the pure ramp."""
    noise: float | None
    """Standard deviation in flat soft tissue in HU; None if there was too little of it to measure."""
    levels: tuple[SliceLevel, ...] = ()
    evidence: Evidence | None = None

    @property
    def photons(self) -> float:
        """Per central ray before the object, at the scan's mean tube current."""
        return self.beam.photons

    @property
    def electronic(self) -> float:
        """Standard deviation of the electronic noise in photons."""
        return self.beam.electronic

    def level(self, z: int) -> float:
        """Noise variance of slice `z` over what header and beam make of it, between the measured slices."""
        if not self.levels:
            return 1.0
        at = [level.z for level in self.levels]
        return float(np.exp(np.interp(z, at, [np.log(level.used) for level in self.levels])))


def calibrate(scan: Scan, scanner: Scanner, generator: np.random.Generator) -> Calibration:
    """Measure the noise of `scan` and find the beam and the kernel of `scanner` that reproduce it.

    Noise is simulated at the same places, first with the pure ramp, then with what was found, so that what
    the measurement does to a spectrum cancels. Uses a dozen slices. Where less than a dozen flat soft-tissue
    regions are found (a phantom of air, a scan without noise) the scanner's routine photon count and a pure
    ramp are assumed, and `noise` is None.
    """
    grid = image_grid(scan)
    side, places = find_flat_places(sampled_slices(scan, _SLICES), generator)
    n_regions = sum(len(place.corners) for place in places)
    if n_regions < _FEWEST_REGIONS:
        return _assumed(scanner)
    own = [region_power(place.slice_.hu, place.corners, side, grid.spacing) for place in places]
    # Parseval: the power of all frequencies, corners of the plane included, is the variance.
    variance = np.concatenate(own).sum(axis=(1, 2)) / (side**2 * grid.spacing[0] * grid.spacing[1])
    if np.median(variance) < _NOISELESS:
        return _assumed(scanner)
    places, own = _without_anatomy(places, own, grid.spacing)
    currents = relative_tube_current(scan.acquisition, len(scan))
    seen = Seen(grid, side, places, own, [currents[place.z] for place in places])
    seed = int(generator.integers(2**32))
    return _fitted(seen, scanner, float(np.sqrt(np.median(variance))), seed)


def relative_tube_current(acquisition: Acquisition, n_slices: int) -> tuple[float, ...]:
    """Tube current of every slice over the scan's mean; the exposure, or one for all, where there is none."""
    for values in (acquisition.tube_current, acquisition.exposure):
        if values is None or len(values) != n_slices:
            continue
        known = np.array([value if value is not None else 0.0 for value in values], dtype=np.float64)
        if (known > 0).all():
            return tuple(float(value) for value in known / known.mean())
    return (1.0,) * n_slices


def _fitted(seen: Seen, scanner: Scanner, noise: float, seed: int) -> Calibration:
    """Simulate, compare radial spectra and directions, correct kernel, photons and beam, and again."""
    geometry = scanner.plane
    frequencies, members = radial_bins((seen.side, seen.side), seen.grid.spacing)
    own_rings = typical_rings(np.concatenate(seen.own), members)
    projections = [
        line_integrals(place.slice_, seen.grid, geometry, scanner.water_mu) for place in seen.places
    ]
    search = BeamSearch(seen, scanner)
    beam, levels = search.likeliest()
    kernel = flat_kernel(frequencies)

    def simulate(beam: Beam, kernel: Kernel, currents: Sequence[float], draw: int) -> list[Floats]:
        return _simulated_power(seen, scanner, beam, kernel, projections, currents, seed + draw)

    for number in range(_ROUNDS):
        currents = [current / level.used for current, level in zip(seen.currents, levels, strict=True)]
        beam = replace(beam, electronic=_affordable(beam, geometry, projections, currents))
        simulated = simulate(beam, kernel, currents, 0)
        rings = typical_rings(np.concatenate(simulated), members)
        kernel, gain = fitted_kernel(frequencies, kernel, own_rings / rings, own_rings)
        photons = beam.photons / gain
        if number < _BEAM_ROUNDS:
            more = [simulate(beam, kernel, currents, draw) for draw in range(1, _DRAWS + 1)]
            beam, levels = search.likeliest(search.contrast(beam, more))
        beam = replace(beam, photons=photons)
    beam = replace(beam, electronic=_affordable(beam, geometry, projections, currents))
    simulated = simulate(beam, kernel, currents, 1)
    typical = [
        _typical_directions(seen, power) for power in (np.concatenate(seen.own), np.concatenate(simulated))
    ]
    evidence = Evidence(
        sum(len(place.corners) for place in seen.places),
        seen.side,
        frequencies,
        own_rings,
        typical_rings(np.concatenate(simulated), members),
        *typical,
    )
    return Calibration(beam, kernel, noise, levels, evidence)


def _typical_directions(seen: Seen, power: Floats) -> Floats:
    """Noise power by direction over its mean, the median over regions; NaN where there is no frequency."""
    found, counts = sector_power(power, seen.grid.spacing, seen.band)
    typical = np.where(counts > 0, np.median(found, axis=0), np.nan)
    return np.asarray(typical / np.nanmean(typical))


def _affordable(
    beam: Beam, geometry: Geometry, projections: Sequence[NDArray[np.float32]], currents: Sequence[float]
) -> float:
    """The electronic noise, held to the share of the quantum noise that a diagnostic scan can afford."""
    quantum, electronic = 0.0, 0.0
    for projection, current in zip(projections, currents, strict=True):
        inverse = 1.0 / beam.counts(geometry, projection, current)[projection > _SHADOW]
        quantum += float(inverse.mean())
        electronic += float((inverse**2).mean())
    return float(min(beam.electronic, np.sqrt(_ELECTRONIC_SHARE * quantum / electronic)))


def _assumed(scanner: Scanner) -> Calibration:
    return Calibration(scanner.beam(), flat_kernel(np.array([0.0, 1.0])), None)


def _without_anatomy(
    places: Sequence[FlatPlace], own: Sequence[Floats], spacing: tuple[float, float]
) -> tuple[list[FlatPlace], list[Floats]]:
    """The regions with the least power at low frequencies, where anatomy shows.

    Noise of different frequencies is independent, so this choice does not favour regions that happen to be
    quiet at the frequencies that are measured.
    """
    n_y, n_x = own[0].shape[1:]
    radius = np.hypot(np.fft.fftfreq(n_y, spacing[0])[:, None], np.fft.fftfreq(n_x, spacing[1])[None])
    low = (radius > 0) & (radius < max(_ANATOMY_BELOW, 1.5 / (n_y * spacing[0])))
    coarse = [power[:, low].mean(axis=1) for power in own]
    limit = np.quantile(np.concatenate(coarse), _KEPT_SHARE)
    kept = [
        (place._replace(corners=place.corners[power <= limit]), regions[power <= limit])
        for place, regions, power in zip(places, own, coarse, strict=True)
        if (power <= limit).any()
    ]
    return [place for place, _ in kept], [regions for _, regions in kept]


def region_power(
    hu: NDArray[np.float32], corners: NDArray[np.intp], side: int, spacing: tuple[float, float]
) -> Floats:
    """Power `[region, fy, fx]` in HU^2 mm^2 of the regions of `side` squared pixels at `corners`."""
    return noise_power_spectrum(np.stack([hu[y : y + side, x : x + side] for y, x in corners]), spacing)


def _simulated_power(
    seen: Seen,
    scanner: Scanner,
    beam: Beam,
    kernel: Kernel,
    projections: Sequence[NDArray[np.float32]],
    currents: Sequence[float],
    seed: int,
) -> list[Floats]:
    """Power `[region, fy, fx]` by slice of noise simulated at the places seen; the same draws for a
    `seed`."""
    generator = np.random.default_rng(seed)
    found = []
    for place, projection, current in zip(seen.places, projections, currents, strict=True):
        noise = generator.standard_normal(projection.shape, dtype=np.float32)
        noise *= np.sqrt(beam.variance(scanner.plane, projection, current))
        image = mu_difference_to_hu(fbp(scanner.plane, seen.grid, noise, kernel), scanner.water_mu)
        found.append(region_power(image, place.corners, seen.side, seen.grid.spacing))
    return found
