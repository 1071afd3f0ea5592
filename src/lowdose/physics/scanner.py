"""A CT scanner as a value: what dose simulation and phantom acquisition need to know of a machine."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from lowdose.physics.beam import NO_BOWTIE, Beam, Bowtie
from lowdose.physics.geometry import ConeBeam, FanBeam, Geometry
from lowdose.physics.redundancy import check_scan
from lowdose.units import WATER_MU_PER_MM


class ScannerError(ValueError):
    """One sentence: which scanner is not known, or what is wrong with its file."""


@dataclass(frozen=True)
class Scanner:
    """What dose simulation needs to know of a machine."""

    name: str
    title: str
    geometry: Geometry | ConeBeam
    photons: float
    """Per central ray before the object at a routine dose, where a scan's own noise does not tell."""
    electronic: float
    """Standard deviation of the electronic noise in photons."""
    bowtie: Bowtie = NO_BOWTIE
    crosstalk: float = 0.0
    """Share of a channel's signal that goes to each of its neighbours."""
    modulation: float = 0.0
    """See `Beam.modulation`; a scan's own noise tells better where there is one."""
    water_mu: float = WATER_MU_PER_MM
    """Linear attenuation of water in 1/mm at the beam's effective energy."""
    sources: tuple[str, ...] = ()
    """Where the numbers are from."""
    models: tuple[str, ...] = field(default=(), repr=False)
    """Words by which the model's name in a header is known, in lower case."""

    @property
    def plane(self) -> Geometry:
        """The geometry of a single slice; of a cone beam its mid-plane."""
        return self.geometry.mid_plane if isinstance(self.geometry, ConeBeam) else self.geometry

    def beam(self, dose: float = 1.0) -> Beam:
        """The beam at `dose` times the routine dose."""
        return Beam(self.photons * dose, self.electronic, self.bowtie, self.modulation)


def check_geometry(geometry: Geometry | ConeBeam) -> None:
    """ScannerError if no such machine can take projections: rays that miss each other, the axis or the
    detector, or a scan too short for its fan.
    """
    plane = geometry.mid_plane if isinstance(geometry, ConeBeam) else geometry
    if min(plane.n_views, plane.n_channels) < _FEWEST:
        raise ScannerError(
            f"{plane.n_views} views of {plane.n_channels} channels make no image; give at least {_FEWEST} "
            "of each"
        )
    if abs(plane.channel_shift) >= plane.n_channels / 2:
        raise ScannerError(
            f"the detector of {plane.n_channels} channels is shifted by {plane.channel_shift:g} of them and "
            "misses the axis; the shift is in channels and less than half of them"
        )
    if isinstance(plane, FanBeam):
        widest = float(np.rad2deg(np.abs(plane.channel_angles).max()))
        if widest >= _WIDEST_DEGREES:
            raise ScannerError(
                f"its outermost channel lies {widest:.0f} degrees beside the central ray, which is no fan; "
                "check "
                "the number of channels and their spacing in mm"
            )
        try:
            check_scan(plane)
        except ValueError as error:
            raise ScannerError(str(error)) from None


def check_fit(scanner: Scanner, radius: float, what: str) -> None:
    """ScannerError if `what`, which reaches `radius` mm from the axis, is where the source turns."""
    plane = scanner.plane
    if isinstance(plane, FanBeam) and radius >= plane.source_to_axis:
        raise ScannerError(
            f"{what} reaches {radius:.0f} mm from the axis, but the source of {scanner.title} turns at "
            f"{plane.source_to_axis:g} mm; name a scanner that it fits into"
        )


_FEWEST = 8
_WIDEST_DEGREES = 80.0


@dataclass(frozen=True)
class ScannerChoice:
    """A scanner for a scan, and in sentences what was read and what was assumed."""

    scanner: Scanner
    read: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
