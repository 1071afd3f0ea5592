"""A CT scanner as a value: what dose simulation and phantom acquisition need to know of a machine."""

from __future__ import annotations

from dataclasses import dataclass, field

from lowdose.physics.beam import NO_BOWTIE, Beam, Bowtie
from lowdose.physics.geometry import ConeBeam, Geometry
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


@dataclass(frozen=True)
class ScannerChoice:
    """A scanner for a scan, and in sentences what was read and what was assumed."""

    scanner: Scanner
    read: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
