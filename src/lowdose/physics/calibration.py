"""What a scan tells about its own noise: its level, its spectrum, and the photon count that explains both.

Simulated noise must be the scan's own noise, only more of it. The level and the radial spectrum are measured
in flat soft tissue; the pure-ramp noise that the simulator makes at the same places is measured the same way;
their ratio gives the photons per ray and the reconstruction kernel.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lowdose.physics.geometry import Geometry, ImageGrid
from lowdose.physics.noise import line_integral_variance
from lowdose.physics.projector import Projector
from lowdose.physics.reconstruction import fbp
from lowdose.quality.noise_level import flat_soft_tissue
from lowdose.quality.spectra import noise_power_spectrum, radial_bins
from lowdose.scan import Scan, Slice
from lowdose.units import hu_to_mu, mu_difference_to_hu

Floats = NDArray[np.float64]

_REGION_SIDES = (32, 24, 16)
"""Pixels. The largest that finds enough flat places is taken: small regions see coarse noise less well."""
_SLICES = 9
_REGIONS_PER_SLICE = 60
_FEWEST_REGIONS = 12
_FLAT_SHARE = 0.85
_ROUNDS = 2
_SHADOW = 0.8
"""Rays that lose a fifth of their photons pass through the object."""
_ELECTRONIC_SHARE = 0.05
_STRUCTURE_BELOW = 0.2
"""1/mm: below it anatomy may add to the measured spectrum."""
_NOTHING_BUT_STRUCTURE = 0.12
"""1/mm: below it anatomy and the removal of trends decide the measured spectrum."""

_NO_POWER = 1e-12
_NOISELESS = 1e-6
"""HU^2: less than this is rounding."""

DEFAULT_PHOTONS = 2.0e5
DEFAULT_ELECTRONIC = 8.0


@dataclass(frozen=True)
class Calibration:
    """The noise of one scan, in terms of the simulator."""

    photons: float
    """Per ray before the object, at the scan's mean tube current."""
    electronic: float
    """Standard deviation of the electronic noise in photons."""
    frequencies: Floats
    """1/mm"""
    kernel: Floats
    """Gain of the scan's reconstruction kernel over the pure ramp at `frequencies`, one at the lowest."""
    noise: float | None
    """Standard deviation in flat soft tissue in HU; None if there was too little of it to measure."""
    n_regions: int
    """How many flat regions were measured."""

    def apodisation(self, frequencies: Floats) -> Floats:
        """The kernel at any frequency in 1/mm; beyond the measured ones it stays at the last value.

        What lies above the pixels' Nyquist frequency is aliased in the scan as in the simulation.
        """
        return np.interp(frequencies, self.frequencies, self.kernel)


def calibrate(scan: Scan, geometry: Geometry, generator: np.random.Generator) -> Calibration:
    """Measure the noise of `scan` and find the photon count and the kernel that reproduce it.

    Noise is simulated at the same places, first with the pure ramp, then with what was found, so that
    what the measurement does to a spectrum cancels. Uses nine slices. Where less than a dozen
    flat soft-tissue regions are found (a phantom of air, a scan without noise) a typical clinical photon
    count and a pure ramp are assumed, and `noise` is None.
    """
    grid = image_grid(scan)
    side, places = _flat_places(sampled_slices(scan, _SLICES), generator)
    n_regions = sum(len(corners) for _, corners in places)
    if n_regions < _FEWEST_REGIONS:
        return _assumed(grid)
    own = np.concatenate([_region_power(one.hu, corners, side, grid.spacing) for one, corners in places])
    # Parseval: the power of all frequencies, corners of the plane included, is the variance.
    variance = own.sum(axis=(1, 2)) / (side**2 * grid.spacing[0] * grid.spacing[1])
    if np.median(variance) < _NOISELESS:
        return _assumed(grid)
    frequencies, members = radial_bins((side, side), grid.spacing)
    own_rings = _typical_rings(own, members)
    transmission = [np.exp(-_line_integrals(one, grid, geometry)) for one, _ in places]
    found = Calibration(
        photons=DEFAULT_PHOTONS,
        electronic=0.0,
        frequencies=frequencies,
        kernel=np.ones_like(frequencies),
        noise=float(np.sqrt(np.median(variance))),
        n_regions=n_regions,
    )
    seed = int(generator.integers(2**32))
    for _ in range(_ROUNDS):
        simulated = _simulated_power(found, places, transmission, side, grid, geometry, seed)
        found = _closer(found, own_rings / _typical_rings(simulated, members), transmission)
    return found


def image_grid(scan: Scan) -> ImageGrid:
    """The pixels of one slice of `scan`, centred on the rotation axis."""
    return ImageGrid(scan.shape[1:], scan.spacing[1:])


def sampled_slices(scan: Scan, n_slices: int) -> Iterator[Slice]:
    """At most `n_slices` slices, evenly spaced and away from the ends."""
    n_slices = min(n_slices, len(scan))
    for index in range(n_slices):
        yield scan.read(int((index + 0.5) * len(scan) / n_slices))


def flat_regions(
    slice_: Slice, side: int, generator: np.random.Generator, flat: NDArray[np.bool_] | None = None
) -> NDArray[np.intp]:
    """Corners `[region, (y, x)]` of regions of `side` squared pixels almost wholly in flat soft tissue.

    At most sixty, drawn at random; `flat` is the mask of such tissue where it is known already.
    """
    if flat is None:
        flat = flat_soft_tissue(slice_.hu, slice_.padding)
    n_y, n_x = flat.shape
    if n_y < side or n_x < side:
        return np.empty((0, 2), np.intp)
    total = np.pad(flat.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    stride = 3 * side // 8
    y, x = np.mgrid[0 : n_y - side + 1 : stride, 0 : n_x - side + 1 : stride]
    inside = total[y + side, x + side] - total[y, x + side] - total[y + side, x] + total[y, x]
    corners: NDArray[np.intp] = np.stack([y, x], axis=-1)[inside >= _FLAT_SHARE * side**2]
    if len(corners) > _REGIONS_PER_SLICE:
        corners = corners[generator.choice(len(corners), _REGIONS_PER_SLICE, replace=False)]
    return corners


def _flat_places(
    slices: Iterable[Slice], generator: np.random.Generator
) -> tuple[int, list[tuple[Slice, NDArray[np.intp]]]]:
    """The side of the regions to measure, and every slice that has some with their corners."""
    masked = [(slice_, flat_soft_tissue(slice_.hu, slice_.padding)) for slice_ in slices]
    for side in _REGION_SIDES:
        places = [(slice_, flat_regions(slice_, side, generator, mask)) for slice_, mask in masked]
        if sum(len(corners) for _, corners in places) >= _FEWEST_REGIONS:
            break
    return side, [(slice_, corners) for slice_, corners in places if len(corners)]


def _line_integrals(slice_: Slice, grid: ImageGrid, geometry: Geometry) -> NDArray[np.float32]:
    return Projector(grid, geometry)(hu_to_mu(slice_.without_padding()))


def _simulated_power(
    assumed: Calibration,
    places: Sequence[tuple[Slice, NDArray[np.intp]]],
    transmission: Sequence[NDArray[np.float32]],
    side: int,
    grid: ImageGrid,
    geometry: Geometry,
    seed: int,
) -> Floats:
    """Power `[region, fy, fx]` of noise simulated with `assumed` at `places`; the same draws for a `seed`."""
    generator = np.random.default_rng(seed)
    found = []
    for (_, corners), passed in zip(places, transmission, strict=True):
        counts = np.maximum(np.float32(assumed.photons) * passed, np.float32(max(1.0, assumed.electronic)))
        noise = generator.standard_normal(counts.shape, dtype=np.float32)
        noise *= np.sqrt(line_integral_variance(counts, assumed.electronic))
        image = mu_difference_to_hu(fbp(geometry, grid, noise, assumed.apodisation))
        found.append(_region_power(image, corners, side, grid.spacing))
    return np.concatenate(found)


def _closer(assumed: Calibration, ratio: Floats, transmission: Sequence[NDArray[np.float32]]) -> Calibration:
    """`assumed` corrected by what its noise lacks: `ratio` of the scan's power to the simulated, by ring.

    The electronic noise is held to a share of the variance that a scan taken for diagnosis can afford.
    """
    squared = _without_structure(assumed.frequencies, assumed.kernel**2 * ratio)
    photons = assumed.photons / squared[0]
    behind = photons / np.mean([float(np.mean(1.0 / passed[passed < _SHADOW])) for passed in transmission])
    return replace(
        assumed,
        photons=float(photons),
        electronic=float(min(DEFAULT_ELECTRONIC, np.sqrt(_ELECTRONIC_SHARE * behind))),
        kernel=np.sqrt(squared / squared[0]),
    )


def _region_power(
    hu: NDArray[np.float32], corners: NDArray[np.intp], side: int, spacing: tuple[float, float]
) -> Floats:
    """Power `[region, fy, fx]` in HU^2 mm^2 of the regions of `side` squared pixels at `corners`."""
    return noise_power_spectrum(np.stack([hu[y : y + side, x : x + side] for y, x in corners]), spacing)


def _typical_rings(power: Floats, members: list[tuple[NDArray[np.intp], ...]]) -> Floats:
    """Radial power `[ring]`, the median over regions: a few with anatomy in them do not matter.

    A median of noise alone lies below its mean, but by the same factor in the scan and in the simulation.
    """
    rings = np.stack([power[:, y, x].mean(axis=1) for y, x in members], axis=1)
    return np.asarray(np.median(rings, axis=0))


def _without_structure(frequencies: Floats, squared: Floats) -> Floats:
    """The squared kernel `[ring]`, smoothed, and continued below the frequencies that anatomy reaches.

    There it is at most what continues the straight line through its logarithm up to twice the frequency, and
    in the lowest rings no more than in the next: more power than that is vessels and fat, not noise.
    """
    padded = np.pad(np.log(np.maximum(squared, _NO_POWER)), 1, mode="edge")
    smooth = (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4
    trusted = (frequencies >= _STRUCTURE_BELOW) & (frequencies <= 2 * _STRUCTURE_BELOW)
    if trusted.sum() >= 3:
        slope, level = np.polyfit(frequencies[trusted], smooth[trusted], 1)
        below = frequencies < _STRUCTURE_BELOW
        smooth[below] = np.minimum(smooth[below], level + slope * frequencies[below])
    first = min(int(np.searchsorted(frequencies, _NOTHING_BUT_STRUCTURE)), len(smooth) - 2)
    smooth[:first] = smooth[first : first + 2].mean()
    return np.asarray(np.exp(smooth))


def _assumed(grid: ImageGrid) -> Calibration:
    nyquist = 0.5 / max(grid.spacing)
    return Calibration(
        photons=DEFAULT_PHOTONS,
        electronic=DEFAULT_ELECTRONIC,
        frequencies=np.array([0.0, nyquist]),
        kernel=np.array([1.0, 1.0]),
        noise=None,
        n_regions=0,
    )
