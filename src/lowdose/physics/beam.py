"""How many photons every ray carries.

A tube does not shine equally on all rays: a bow-tie filter takes photons from the outer ones, and the current
follows the patient's thickness from slice to slice and from view to view.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lowdose.physics.geometry import ConeBeam, Geometry
from lowdose.physics.noise import expected_counts, line_integral_variance
from lowdose.units import WATER_MU_PER_MM

Sinogram = NDArray[np.float32]

_CURRENT_FOLLOWS_DEGREES = 5.0
"""Standard deviation of the angle over which the current can follow the patient."""


@dataclass(frozen=True)
class Bowtie:
    """A filter that makes up for a share of what a cylinder of water takes less from the outer rays."""

    cylinder_mm: float = 300.0
    """Diameter of the cylinder."""
    compensation: float = 0.3
    """The share: 0 is no filter, 1 leaves equal numbers of photons behind the cylinder."""

    def transmission(self, distances: NDArray[np.float64], water: float = WATER_MU_PER_MM) -> Sinogram:
        """Share of the photons that pass at rays `distances` mm from the axis: one at the axis."""
        chords = np.sqrt(np.maximum(self.cylinder_mm**2 - (2 * distances) ** 2, 0.0))
        passed = np.exp(-self.compensation * water * (self.cylinder_mm - chords))
        return np.asarray(passed, dtype=np.float32)


NO_BOWTIE = Bowtie(compensation=0.0)


@dataclass(frozen=True)
class Beam:
    """The photons of a scan, as its noise shows them: a ray of variance v has 1 / v of them."""

    photons: float
    """Per central ray before the object, averaged over the views, at the scan's mean tube current."""
    electronic: float = 0.0
    """Standard deviation of the electronic noise in photons."""
    bowtie: Bowtie = NO_BOWTIE
    modulation: float = 0.0
    """How the current follows the object from view to view: the logarithm of the current per line integral
    of the view's thickest ray. 0 is a constant current, 0.5 the least noise in the middle of an ellipse, 1 as
    many photons behind every side of it."""
    hardening: float = 0.0
    """By which share the logarithm of the attenuation falls short of the line integral. Beam hardening,
    scatter and the smoothing of starved rays all leave thick parts less noisy than the exponential law makes
    them."""

    def air_counts(
        self, geometry: Geometry | ConeBeam, line_integrals: Sinogram, relative_current: float = 1.0
    ) -> Sinogram:
        """Photons per ray without the object, `[view, channel]` or `[view, 1, channel]` for a cone beam.

        `line_integrals` of the object decide the modulation.
        """
        if isinstance(geometry, ConeBeam):
            offsets, full_turn = geometry.mid_plane.channel_offsets, not geometry.mid_plane.is_short
            thickest = line_integrals.max(axis=(1, 2))
        else:
            offsets = geometry.channel_offsets
            thickest = line_integrals.max(axis=1)
            full_turn = not getattr(geometry, "is_short", False)
        passed = self.bowtie.transmission(offsets)
        current = view_modulation(thickest, self.modulation, periodic=full_turn)
        counts = np.float32(self.photons * relative_current) * current[:, None] * passed[None]
        return counts[:, None] if isinstance(geometry, ConeBeam) else counts

    def counts(
        self, geometry: Geometry | ConeBeam, line_integrals: Sinogram, relative_current: float = 1.0
    ) -> Sinogram:
        """Photons expected behind the object; never less than one."""
        air = self.air_counts(geometry, line_integrals, relative_current)
        return expected_counts(np.float32(1.0 - self.hardening) * line_integrals, air)

    def variance(
        self, geometry: Geometry | ConeBeam, line_integrals: Sinogram, relative_current: float = 1.0
    ) -> Sinogram:
        """Variance of the noise in the line integrals behind the object."""
        return line_integral_variance(
            self.counts(geometry, line_integrals, relative_current), self.electronic
        )


def view_modulation(thickest: NDArray[np.float32], strength: float, *, periodic: bool = True) -> Sinogram:
    """Tube current of every view over its mean, `[view]`, from the `thickest` line integral of each.

    The current is ``exp(strength * thickest)``, smoothed as a tube follows (M. Gies et al. 1999, Med Phys
    26:2235: one half is best for the centre). `periodic` where the views cover a turn, or half of one in
    parallel beams.
    """
    if strength == 0.0:
        return np.ones(len(thickest), np.float32)
    width = _CURRENT_FOLLOWS_DEGREES / 360.0 * len(thickest)
    smooth = ndimage.gaussian_filter1d(
        thickest.astype(np.float64), width, mode="wrap" if periodic else "nearest"
    )
    current = np.exp(strength * (smooth - smooth.max()))
    return np.asarray(current / current.mean(), dtype=np.float32)
