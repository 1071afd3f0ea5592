"""A scan as it would look at a lower dose: the noise that is missing, through the projections, added to the
image.

The image itself is never reconstructed anew, so nothing but noise changes: at a dose fraction of one the scan
comes back bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lowdose.physics.calibration import Calibration, calibrate, image_grid
from lowdose.physics.geometry import Geometry, ImageGrid, default_geometry
from lowdose.physics.noise import expected_counts, missing_variance
from lowdose.physics.projector import Projector
from lowdose.physics.reconstruction import fbp
from lowdose.provenance import Step
from lowdose.scan import Scan, Slice
from lowdose.units import checked_dose_fraction, hu_to_mu, mu_difference_to_hu


@dataclass(frozen=True)
class DoseSimulator:
    """Makes the noise that separates one scan from the same scan at a lower dose, slice by slice."""

    grid: ImageGrid
    geometry: Geometry
    calibration: Calibration
    relative_current: tuple[float, ...]
    """Tube current of every slice over the scan's mean."""

    def counts(self, slice_: Slice, z: int) -> NDArray[np.float32]:
        """Photons expected behind slice `z`, float32 `[view, channel]`, at the scan's own dose."""
        return expected_counts(
            self._line_integrals(slice_), self.calibration.photons * self.relative_current[z]
        )

    def missing_noise(
        self, counts: NDArray[np.float32], fraction: float, generator: np.random.Generator
    ) -> NDArray[np.float32]:
        """Noise in HU, float32 `[y, x]`, that takes a slice from its own dose to `fraction` of it.

        `counts` are the photons of its own dose. Rays that would end in fewer photons than the electronic
        noise get the noise of as many as that: the logarithm of a scanner is limited in the same way, and
        the first-order variance is not right there.
        """
        electronic = self.calibration.electronic
        counts = np.maximum(counts, np.float32(electronic / fraction))
        noise = generator.standard_normal(counts.shape, dtype=np.float32)
        noise *= np.sqrt(missing_variance(counts, fraction, electronic))
        image = fbp(self.geometry, self.grid, noise, self.calibration.apodisation)
        return mu_difference_to_hu(image)

    def _line_integrals(self, slice_: Slice) -> NDArray[np.float32]:
        """Line integrals of the slice, of pixels averaged two by two: the variance they give is smooth."""
        mu = hu_to_mu(slice_.without_padding())
        n_y, n_x = (2 * (n // 2) for n in mu.shape)
        halved = mu[:n_y, :n_x].reshape(n_y // 2, 2, n_x // 2, 2).mean(axis=(1, 3), dtype=np.float32)
        coarse = ImageGrid(halved.shape, (2 * self.grid.spacing[0], 2 * self.grid.spacing[1]))
        return Projector(coarse, self.geometry)(halved)


def dose_simulator(
    scan: Scan, generator: np.random.Generator, geometry: Geometry | None = None
) -> DoseSimulator:
    """Calibrate a simulator to the noise of `scan`; without a `geometry` a clinical one is assumed."""
    grid = image_grid(scan)
    geometry = geometry or default_geometry(grid)
    return DoseSimulator(grid, geometry, calibrate(scan, geometry, generator), relative_tube_current(scan))


def simulate(scan: Scan, fraction: float, *, seed: int, geometry: Geometry | None = None) -> Scan:
    """`scan` at `fraction` of its dose, computed slice by slice as it is read.

    Every slice has a random stream of its own, derived from `seed` and its index, so that a slice does not
    depend on which others were read. Padding is not touched. ValueError if `fraction` is not in (0, 1].
    """
    fraction = checked_dose_fraction(fraction)
    parameters: dict[str, object] = {"dose_fraction": fraction, "seed": seed}
    if fraction == 1.0:
        return scan.with_slices(scan.read, Step("simulate", parameters))
    simulator = dose_simulator(scan, np.random.default_rng([seed, len(scan)]), geometry)
    calibration = simulator.calibration
    parameters |= {
        "geometry": repr(simulator.geometry),
        "photons_per_ray": round(calibration.photons),
        "electronic_noise_photons": calibration.electronic,
        "noise_of_the_scan_hu": None if calibration.noise is None else round(calibration.noise, 2),
        "regions_measured": calibration.n_regions,
    }

    def read(z: int) -> Slice:
        original = scan.read(z)
        generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(z,)))
        noise = simulator.missing_noise(simulator.counts(original, z), fraction, generator)
        return Slice(np.where(original.padding, original.hu, original.hu + noise), original.padding)

    return scan.with_slices(read, Step("simulate", parameters))


def relative_tube_current(scan: Scan) -> tuple[float, ...]:
    """Tube current of every slice over the scan's mean; one for all where the header is silent."""
    current = scan.acquisition.tube_current
    if current is None or len(current) != len(scan):
        return (1.0,) * len(scan)
    values = [value if value is not None and value > 0 else None for value in current]
    if any(value is None for value in values):
        return (1.0,) * len(scan)
    known = np.array(values, dtype=np.float64)
    return tuple(float(value) for value in known / known.mean())
