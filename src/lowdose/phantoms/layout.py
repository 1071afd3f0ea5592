"""What a test object is made of: its modules, inserts and bars, written down once.

The digital twin is built from a layout and the measurement takes its regions from the same layout, so that
the two can't drift apart. Distances are in mm from the phantom's axis; angles are in degrees from +x (right)
towards +y (down), clockwise as one looks at an image, with the phantom as its maker wants it set up.
Positions along the axis are in mm from the middle of the module that holds `z` = 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Role = Literal["sensitometry", "resolution", "low contrast", "uniformity", "plain"]
"""What a module is for: it decides what is measured in it."""


@dataclass(frozen=True)
class Region:
    """A circle in the plane of a module."""

    name: str
    distance: float
    """mm from the axis to its centre"""
    angle: float
    """degrees"""
    diameter: float
    """mm"""

    @property
    def place(self) -> tuple[float, float]:
        """(y, x) of its centre in mm from the axis."""
        return polar_place(self.distance, self.angle)


@dataclass(frozen=True)
class Insert(Region):
    """A rod of another material."""

    hu: float
    """Nominal, at 120 kVp."""
    band: tuple[float, float] | None = None
    """HU between which its maker, or who accredits, expects it."""


@dataclass(frozen=True)
class Pin(Region):
    """A thin rod or hole that marks a place and is not measured."""

    hu: float


@dataclass(frozen=True)
class Bars:
    """Parallel bars that stand across the circle round the axis, as wide as the gaps between them."""

    line_pairs_per_cm: float
    n_bars: int
    distance: float
    """mm from the axis to the middle of the group"""
    angle: float
    """degrees, of the middle of the group"""
    length: float
    """mm along the radius"""
    depth: float
    """mm along the axis"""
    hu: float

    @property
    def width(self) -> float:
        """Of one bar, and of one gap, in mm."""
        return 5.0 / self.line_pairs_per_cm

    @property
    def extent(self) -> float:
        """From the first bar's outer edge to the last one's, in mm."""
        return (2 * self.n_bars - 1) * self.width

    @property
    def name(self) -> str:
        return f"{self.line_pairs_per_cm:g} lp/cm"

    @property
    def place(self) -> tuple[float, float]:
        """(y, x) of the middle of the group in mm from the axis."""
        return polar_place(self.distance, self.angle)


@dataclass(frozen=True)
class Module:
    """One section of a phantom."""

    name: str
    role: Role
    z: float
    """mm, of its middle"""
    depth: float
    """mm"""
    hu: float
    """Nominal, of its body."""
    inserts: tuple[Insert, ...] = ()
    pins: tuple[Pin, ...] = ()
    bars: tuple[Bars, ...] = ()
    backgrounds: tuple[Region, ...] = ()
    """Where the body itself is measured, for contrasts."""
    uniform: tuple[Region, ...] = ()
    """Where uniformity is measured: the centre first, then the edges."""


@dataclass(frozen=True)
class Layout:
    """A test object."""

    name: str
    """As the command line calls it."""
    title: str
    """As people call it."""
    diameter: float
    """mm, of the whole cylinder"""
    bore: float
    """mm, of the modules within the housing; the diameter itself where there is no housing."""
    housing_hu: float
    modules: tuple[Module, ...]

    def of_role(self, role: Role) -> Module | None:
        """The first module of this role."""
        return next((module for module in self.modules if module.role == role), None)

    @property
    def extent(self) -> tuple[float, float]:
        """First and last z in mm."""
        return (
            min(module.z - module.depth / 2 for module in self.modules),
            max(module.z + module.depth / 2 for module in self.modules),
        )


def polar_place(distance: float, angle: float) -> tuple[float, float]:
    """(y, x) in mm of a place given by its distance from the axis and its angle in degrees."""
    return distance * float(np.sin(np.deg2rad(angle))), distance * float(np.cos(np.deg2rad(angle)))


def five_regions(distance: float, diameter: float) -> tuple[Region, ...]:
    """The centre and the four edges, at which uniformity is measured."""
    edges = (("right", 0.0), ("bottom", 90.0), ("left", 180.0), ("top", -90.0))
    return (
        Region("centre", 0.0, 0.0, diameter),
        *(Region(name, distance, angle, diameter) for name, angle in edges),
    )
